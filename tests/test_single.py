"""A child without a manifest: settings and an index are enough; what it makes is what ``run`` makes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedded
import numpy as np
import pytest
import rasterio

from glacierflow.cloud import Cloud
from glacierflow.errors import GlacierflowError
from glacierflow.local import control
from glacierflow.model.manifest import Manifest
from glacierflow.step.single import begin_single
from glacierflow.store import open_store

DATES = {"GLACIERFLOW_DATE1": "2024-07-01", "GLACIERFLOW_DATE2": "2024-07-06"}
TYPED_DATES = ("--date1", "2024-07-01", "--date2", "2024-07-06")
ARSUK = 133
"""Index of 134_Arsuk, the smallest region."""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.User]:
    one = embedded.User(tmp_path_factory.mktemp("user"))
    one.typed("local", "up")
    yield one
    control.down(one.folder / "home" / "local")


def task(folder: Path, environ: dict[str, str], expect: int = 0) -> str:
    """``python -m glacierflow.task`` with nothing but these variables; its log."""
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "glacierflow.task"],
        cwd=folder,
        env={**bare, "AWS_EC2_METADATA_DISABLED": "true", **environ},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def images(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.rglob("*.tif")):
        with rasterio.open(path) as image:
            found[path.relative_to(folder).as_posix()] = image.read(1)
    return found


def test_an_index_and_settings_make_what_run_makes(user: embedded.User) -> None:
    plain, bare = user.folder / "plain", user.folder / "bare"
    bare.mkdir()
    asked = ("--satellite", "sentinel2", "--start-end-index", f"{ARSUK}:{ARSUK + 1}", *TYPED_DATES)
    user.typed("run", *asked, "--local", "--base-dir", str(plain))
    url = json.loads(user.typed("local", "status", "--json")[0])["url"]
    # offset and index as in an array job
    where = {"AWS_BATCH_JOB_ARRAY_INDEX": "3", "GLACIERFLOW_SLOT_OFFSET": str(ARSUK - 3)}
    settings = {"SATELLITE": "sentinel2", "SENTINEL2_STAC_URL": f"{url}/stac", "BASE_DIR": "out"}
    told = task(bare, {f"GLACIERFLOW_{key}": value for key, value in settings.items()} | where | DATES)
    assert f"region {ARSUK}: sentinel2 134_Arsuk 2024-07-01 to 2024-07-06, to {bare / 'out'}" in told
    expected, made = images(plain), images(bare / "out")
    assert list(made) == list(expected)
    assert len(made) >= 2
    for name, image in expected.items():
        np.testing.assert_array_equal(made[name], image, err_msg=name)
    (path,) = (bare / "out" / "runs").glob("*/manifest.json")
    manifest = Manifest.model_validate_json(path.read_text())
    assert (manifest.order, manifest.service, manifest.store) == ("catalogue", "local", str(bare / "out"))
    (receipt,) = path.parent.glob("attempts/0/1.done.json")
    assert json.loads(receipt.read_text())["counts"]["written"] == len(made) - 1  # and a template


def test_settings_of_a_bucket_and_products_to_a_bucket(user: embedded.User) -> None:
    asked = ("--satellite", "landsat", "--start-end-index", f"{ARSUK}:{ARSUK + 1}", *TYPED_DATES)
    plain = user.folder / "plain-landsat"
    user.typed("run", *asked, "--local", "--base-dir", str(plain))
    url = json.loads(user.typed("local", "status", "--json")[0])["url"]
    store = open_store(f"s3://{control.DEFAULT_BUCKET}", Cloud(endpoint_url=url, embedded=True))
    config = (
        "[SETTINGS]\nsatellite = landsat\n[DATES]\ndate1 = 2024-07-01\ndate2 = 2024-07-06\n"
        "[REGIONS]\nstart_end_index = 0:23\n[PATHS]\nbase_dir = /not/used\n"
        f"[IMAGERY]\nlandsat_stac_url = {url}/stac\nimagery_s3_endpoint = {url}\n"
    )
    store.put("settings/config.ini", config.encode())
    environ = {
        "GLACIERFLOW_INDEX": str(ARSUK),
        "GLACIERFLOW_CONFIG": f"s3://{control.DEFAULT_BUCKET}/settings/config.ini",
        "GLACIERFLOW_S3_BUCKET": control.DEFAULT_BUCKET,
        "GLACIERFLOW_EMBEDDED": "1",
        "AWS_ENDPOINT_URL": url,
    }
    told = task(user.folder, environ)
    assert f"start_end_index has no effect here: the index {ARSUK} is the catalogue's" in told
    assert f"to s3://{control.DEFAULT_BUCKET}" in told
    keys = [name for name in images(plain) if "_ortho" in name]
    assert keys
    for key in keys:
        content = store.get(key)
        assert content is not None
        with rasterio.MemoryFile(content) as file, file.open() as image:
            np.testing.assert_array_equal(image.read(1), images(plain)[key])
    (key,) = [entry.key for entry in store.list("runs/") if entry.key.endswith("manifest.json")]
    source = Manifest.model_validate_json(store.get(key) or b"").settings_source
    assert source is not None
    assert source.uri.endswith("settings/config.ini")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        pytest.param({}, "neither AWS_BATCH_JOB_ARRAY_INDEX nor GLACIERFLOW_INDEX is set", id="no-index"),
        pytest.param(
            {"AWS_BATCH_JOB_ARRAY_INDEX": "2", "GLACIERFLOW_SLOT_OFFSET": "190"},
            "index 192 is outside the catalogue, which has the regions 0..191",
            id="outside",
        ),
        pytest.param(
            {"GLACIERFLOW_INDEX": "5", "GLACIERFLOW_SATELLITE": "spot"},
            "GLACIERFLOW_SATELLITE: [SETTINGS] satellite = spot is refused",
            id="satellite",
        ),
        pytest.param(
            {"GLACIERFLOW_INDEX": "5", "GLACIERFLOW_CONFIG": "gone.ini"},
            "there is no file gone.ini",
            id="file",
        ),
        pytest.param(
            {"GLACIERFLOW_INDEX": "5", "GLACIERFLOW_BASE_DIR": "/proc/out"},
            'docker run --user "$(id -u):$(id -g)"',
            id="not-writable",
        ),
    ],
)
def test_nonsense_ends_with_64_and_a_sentence(tmp_path: Path, environ: dict[str, str], told: str) -> None:
    assert told in task(tmp_path, environ, 64)
    assert list(tmp_path.iterdir()) == []


def test_what_lies_in_the_folder_is_not_meant_for_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The aws_config.ini of a checkout names a bucket; a test of one index must not fill it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aws_config.ini").write_text("[STORAGE]\ns3_bucket = somebodys\n")
    (tmp_path / "own.ini").write_text("[SETTINGS]\ndry_run = true\nsatellite = landsat\n")
    caplog.set_level(logging.INFO)
    begun = begin_single(0, {}, Cloud())
    assert begun is not None
    manifest, _ = begun
    assert manifest.store == str(tmp_path / "output")
    assert [unit.region for slot in manifest.slots for unit in slot] == ["001_alison"]
    assert "notice" not in caplog.text
    assert begin_single(0, {"GLACIERFLOW_CONFIG": "own.ini"}, Cloud()) is None
    assert "landsat 001_alison" in caplog.text
    assert "dry run: nothing was read or written" in caplog.text
    with pytest.raises(GlacierflowError, match="there is no file gone"):
        begin_single(0, {"GLACIERFLOW_AWS_CONFIG": "gone.ini"}, Cloud())


def test_settings_of_aws_decide_where_and_as_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aws.ini").write_text("[AWS_ACCOUNT]\naws_region = eu-north-1\naws_profile = me\n")
    for environ, region in (({"GLACIERFLOW_AWS_CONFIG": "aws.ini"}, "eu-north-1"), ({}, "us-east-2")):
        begun = begin_single(1, environ, Cloud(region="us-east-2"))
        assert begun is not None
        assert begun[1].region == region
        assert begun[1].profile == ("me" if environ else None)
