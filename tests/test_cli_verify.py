"""``glacierflow batch verify`` as typed: matrix, files, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from runs_samples import put_attempt, some_manifest
from test_verify import put_manifest, put_product

from glacierflow.aws.names import find_places
from glacierflow.cli.app import run
from glacierflow.cli.batch import runs
from glacierflow.cli.context import CommandLine
from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, GlacierflowError, StoreError, UnavailableError, UsageError
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import Note
from glacierflow.settings import load_settings
from glacierflow.store import LocalStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A directory in the place of the bucket, and a working directory without settings."""
    store = LocalStore(tmp_path / "store")
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")

    def locate(name: str, _line: CommandLine) -> runs.Located:
        loaded = load_settings(environ={})
        return runs.Located(name, store, Cloud(), loaded, find_places(loaded, None))

    monkeypatch.setattr(runs, "locate_run", locate)
    return store


@pytest.fixture
def manifest(store: LocalStore) -> Manifest:
    manifest = some_manifest(3, str(store.root))
    put_manifest(store, manifest)
    for slot in (0, 1):
        put_attempt(store, manifest, slot, "done", products=(put_product(store, manifest, slot),))
    dark = Note(code="polar_night", text="the sun does not rise")
    put_attempt(store, manifest, 2, "no_data", counts={"found": 0}, notes=(dark,))
    return manifest


def test_complete_exits_0_and_shows_the_matrix(
    manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", "verify", manifest.run_id]) == 0
    said = capsys.readouterr().out
    assert "000_made_up  #\n001_made_up  #\n002_made_up  .\n" in said
    assert said.splitlines()[1].split() == ["2024-07"]
    assert said.endswith(
        "2 complete, 1 no_data; products: 2 new, 0 already there, 2 in all; compared by checksums\n"
    )


def test_what_is_wrong_is_named_and_exits_1(
    manifest: Manifest, store: LocalStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (product,) = list(store.list("1_download_merge_and_clip/sentinel2/clipped/001_made_up/"))
    (store.root / product.key).unlink()
    files = [str(tmp_path / "a.csv"), str(tmp_path / "a.png")]
    assert run(["batch", "verify", manifest.run_id, "--csv", files[0], "--png", files[1]]) == 1
    said = capsys.readouterr().out
    assert f"missing   slot 1  001_made_up  2024-07-01..2024-07-31  {product.key}: it is not there" in said
    assert ",001_made_up,2024-07,2024-07-01,2024-07-31,missing,1," in Path(files[0]).read_text()
    with Image.open(files[1]) as picture:
        assert picture.format == "PNG"


def test_json_has_everything(manifest: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "verify", manifest.run_id, "--json", "--quick"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["states"], facts["products"], facts["depth"]) == ({"complete": 2, "no_data": 1}, 2, "quick")
    assert facts["units"][2]["reason"] == "the sun does not rise"


def test_the_embedded_cloud_is_read_and_aws_is_not(
    manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, depth in ((["--local"], "read"), (["--read"], "read"), ([], "recorded")):
        assert run(["batch", "verify", manifest.run_id, "--json", *words]) == 0
        assert json.loads(capsys.readouterr().out)["depth"] == depth


def test_a_store_that_does_not_answer_exits_2(
    manifest: Manifest, store: LocalStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_prefix: str) -> None:
        raise StoreError("s3://bucket: S3 answers SlowDown")

    monkeypatch.setattr(store, "list", fail)
    assert run(["batch", "verify", manifest.run_id]) == 2
    assert capsys.readouterr().err == "glacierflow: could not check: s3://bucket: S3 answers SlowDown\n"


@pytest.mark.parametrize(
    "refusal",
    [
        UsageError("s3://bucket/runs: S3 answers AccessDenied"),
        UsageError("s3://bucket/runs: S3 answers NoSuchBucket"),
        CredentialsError("s3://bucket/runs needs AWS credentials and none were found"),
        UnavailableError("CloudFormation could not be reached"),
    ],
)
def test_what_stands_before_the_products_exits_2(
    manifest: Manifest,
    store: LocalStore,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    refusal: GlacierflowError,
) -> None:
    def fail(*_: object) -> None:
        raise refusal

    for broken in ("list", "get"):
        with monkeypatch.context() as patch:
            patch.setattr(store, broken, fail)
            assert run(["batch", "verify", manifest.run_id]) == 2
        assert capsys.readouterr().err == f"glacierflow: could not check: {refusal.message}\n"


def test_without_credentials_to_find_the_run_it_exits_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CredentialsError("there are no AWS credentials to describe the stack glacierflow")

    monkeypatch.setattr(runs, "locate_run", fail)
    assert run(["batch", "verify", "latest"]) == 2
    assert "could not check: there are no AWS credentials" in capsys.readouterr().err


def test_bad_options_are_refused(manifest: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "verify", manifest.run_id, "--quick", "--read"]) == 64
    assert "exclude each other" in capsys.readouterr().err
    assert run(["batch", "verify", manifest.run_id, "--csv", "nowhere/a.csv"]) == 64
    assert "--csv = nowhere/a.csv cannot be written: No such file" in capsys.readouterr().err
    assert run(["batch", "verify", "nothing"]) == 64
    assert "there is no run nothing" in capsys.readouterr().err
    assert run(["batch", "verify", manifest.run_id, "nothing"]) == 64
    assert "there is no run nothing" in capsys.readouterr().err
