"""Text from outside: names, keys, addresses, terminals and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from http_servers import Api, RangeServer
from moto import mock_aws
from pydantic import ValidationError
from rich.console import Console
from runs_samples import make_receipt, some_manifest
from samples import real_archive
from test_task import api, local_items, make_manifest, process, reasons
from test_verify import a_run

from glacierflow.cli.run import receipts_table
from glacierflow.cloud import Cloud
from glacierflow.errors import Finding, SettingsError, StoreError, UsageError
from glacierflow.faults import Fault, Remedy
from glacierflow.model.layout import Layout
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import LeftOut
from glacierflow.outside import cell, leaves_root, printable, without_secrets
from glacierflow.runs.family import read_family
from glacierflow.runs.methods import exclusions_csv, methods_of
from glacierflow.runs.records import read_run_manifest
from glacierflow.settings import load_settings
from glacierflow.store import LocalStore, S3Store, Store
from glacierflow.sync.pull import plan_pull, pull
from glacierflow.sync.remote import Bucket, RemoteFile

__all__ = ["api"]

pytestmark = pytest.mark.usefixtures("waits")

OUT = ("../x", "a/../../x", "/etc/x", "a/..", "..\\x", "a\x00b", "a/\x1b[2Jb")
"""Keys that lead out of their folder, or that no folder can hold."""


@pytest.mark.parametrize("key", OUT)
def test_a_directory_refuses_every_key_that_leaves_it(key: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a secret")
    store = LocalStore(tmp_path / "root")
    _refuses_all(store, key, tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} <= {"x", "root"}


def test_a_bucket_refuses_them_too_and_leaves_them_out_of_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws():
        cloud = Cloud()
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        for key in ("runs/a", "runs/../../x"):
            s3.put_object(Bucket="bucket", Key=key, Body=b"")
        store = S3Store("bucket", cloud)
        for key in OUT:
            _refuses_all(store, key, tmp_path)
        assert [entry.key for entry in store.list("runs/")] == ["runs/a"]
    assert "not a path: s3://bucket/runs/../../x" in caplog.text


def _refuses_all(store: Store, key: str, folder: Path) -> None:
    file = folder / "file"
    file.write_bytes(b"")
    for work in (
        lambda: store.get(key),
        lambda: store.get_head(key, 1),
        lambda: store.exists(key),
        lambda: store.put(key, b""),
        lambda: store.put(key, b"", if_absent=True),
        lambda: store.replace(key, b"", "tag"),
        lambda: store.put_file(key, file),
        lambda: store.sha256(key),
    ):
        with pytest.raises(UsageError, match="leaves"):
            work()
    file.unlink()


def test_a_pull_stays_in_its_folder_and_names_what_it_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    bad, good = "base/landsat/134_Arsuk/../../../../evil.tif", "base/landsat/134_Arsuk/good_ortho.tif"
    with mock_aws():
        cloud = Cloud()
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        for key in (bad, good):
            s3.put_object(Bucket="bucket", Key=key, Body=b"pixels")
        bucket, folder = Bucket("bucket", cloud), tmp_path / "a" / "b"
        plan = plan_pull(
            bucket, Layout("base"), folder, satellites=["landsat"], regions=["134_Arsuk"], downloads=True
        )
        assert ([one.key for one in plan.refused], [one.key for one in plan.missing]) == ([bad], [good])
        handed = (*plan.missing, RemoteFile(bad, 6, ""))
        failed = pull(handed, bucket, folder, lambda _: None)
    assert [(one.key, "leads out of" in why) for one, why in failed] == [(bad, True)]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["good_ortho.tif"]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("id",), "../../../../evil"),
        (("id",), "/etc/evil"),
        (("id",), "a\nb"),
        (("id",), "=cmd"),
        (("properties", "landsat:scene_id"), "../../evil"),
        (("properties", "landsat:wrs_path"), "../"),
    ],
)
def test_an_item_whose_name_is_a_path_costs_itself_and_writes_nowhere_else(
    where: tuple[str, ...], value: str, api: Api, tmp_path: Path
) -> None:
    api.items = local_items("landsat")
    place: Any = api.items[0]
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = value
    receipt = process(make_manifest(api, tmp_path / "base", "landsat"))
    assert (receipt.outcome, receipt.counts.written) == ("done", 1)
    assert set(reasons(receipt).values()) <= {"unsafe_name", "malformed_item"}
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name or "\n" in path.name]


def test_passwords_and_signatures_are_used_and_kept_nowhere(api: Api, tmp_path: Path) -> None:
    server = RangeServer(real_archive() / "landsat-c2l1")
    api.items = local_items("landsat")
    for item in api.items:
        asset = item["assets"]["pan"]
        file = Path(asset["href"]).relative_to(real_archive() / "landsat-c2l1")
        host = server.url.removeprefix("http://")
        asset["href"] = f"http://me:hunter2@{host}/{file}?X-Amz-Signature=hunter3&X-Amz-Expires=9"
    server.faults[f"/{file}?X-Amz-Signature=hunter3&X-Amz-Expires=9"] = 404
    receipt = process(make_manifest(api, tmp_path, "landsat"))
    server.server.shutdown()
    server.server.server_close()
    assert (receipt.outcome, receipt.counts.written) == ("partial", 1), "one of them is missing, and told of"
    assert any("hunter3" in path for path in server.paths), "they are what the address needs"
    kept = {path for path in tmp_path.rglob("*") if path.is_file() and b"hunter" in path.read_bytes()}
    assert kept == set()
    (made,) = tmp_path.glob("*/stac/landsat/*/*.json")
    source = json.loads(made.read_text())["properties"]["glacierflow:sources"][0]
    assert source["href"].startswith(f"http://{host}/")
    assert source["href"].endswith(".TIF")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("see https://me:pw@host/a b", "see https://host/a b"),
        ("https://h/a?sv=1&sig=abc", "https://h/a"),
        ("https://h/a?X-Goog-Signature=abc#x", "https://h/a#x"),
        ("https://h/a?access_token=abc&page=2", "https://h/a"),
        ("https://h/a?page=2", "https://h/a?page=2"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://[broken", "http://(not an address)"),
        ("no address @ all", "no address @ all"),
    ],
)
def test_addresses_lose_their_secrets_and_nothing_else(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


def test_an_address_with_a_password_is_refused_as_a_setting_without_being_quoted() -> None:
    overrides = {"IMAGERY.landsat_stac_url": "https://me:hunter2@host/stac"}
    with pytest.raises(SettingsError, match="without user, password and signature") as caught:
        load_settings(overrides=overrides, environ={})
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "../../x"},
        {"settings": {"base_path": "a/../../b"}},
        {"settings": {"base_path": "/etc"}},
        {"root_run_id": "/x"},
        {"remake": ["../x.tif"]},
    ],
)
def test_a_manifest_that_names_a_place_elsewhere_is_none(change: dict[str, Any], tmp_path: Path) -> None:
    manifest = some_manifest(1)
    content = json.loads(manifest.model_dump_json())
    settings = content["settings"] | change.get("settings", {})
    with pytest.raises(ValidationError):
        Manifest.model_validate(content | change | {"settings": settings})
    store = LocalStore(tmp_path)
    store.put("runs/r/manifest.json", json.dumps(content | change | {"settings": settings}).encode())
    with pytest.raises(StoreError, match="is not a manifest"):
        read_run_manifest(store, "r")


def test_terminals_are_not_steered() -> None:
    steering = "\x1b]0;owned\x07 \x9b2J \u202egnp"
    assert printable(steering) == r"\x1b]0;owned\x07 \x9b2J \u202egnp"
    assert printable("Jakobshavn Isbræ\tx\ny") == "Jakobshavn Isbræ\tx\ny"
    assert leaves_root("a/\x1b")
    assert not leaves_root("a/b..c/d")
    for cleaned in (
        UsageError(steering, next_step=steering).next_step,
        Fault(Remedy.AGAIN, steering).reason,
        LeftOut(item_id=steering, code="x", reason="r").item_id,
        Finding("n", "ok", steering).text,
        make_receipt(some_manifest(1), 0, "failed", error=steering).error,
    ):
        assert cleaned == printable(steering)


def test_brackets_in_a_reason_are_shown_as_they_are() -> None:
    shown = io.StringIO()
    receipt = make_receipt(some_manifest(1), 0, "failed", error="[/] [bold]red[/bold] [link=x]y")
    receipts_table([receipt], Console(file=shown, width=200))
    assert "[/] [bold]red[/bold] [link=x]y" in shown.getvalue()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("\tx", "'\tx"),
        ("-1.5e3", "-1.5e3"),
        (-1, -1),
        ("plain = text", "plain = text"),
    ],
)
def test_spreadsheets_run_no_text_of_others(value: object, written: object) -> None:
    assert cell(value) == written


def test_tables_for_spreadsheets_are_made_of_such_cells(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    manifest = a_run(store, 1)
    entry = LeftOut(item_id='=HYPERLINK("http://x")', code="low_coverage", reason="@evil")
    left = {"left_out": [entry.model_dump()]}
    receipt = make_receipt(manifest, 0, "no_data")
    key = f"runs/{manifest.run_id}/attempts/0/1.no_data.json"
    store.put(key, json.dumps(json.loads(receipt.model_dump_json()) | left).encode())
    (row,) = csv.DictReader(io.StringIO(exclusions_csv(methods_of(read_family(store, manifest.run_id)))))
    assert (row["item"], row["reason"]) == ('\'=HYPERLINK("http://x")', "'@evil")
