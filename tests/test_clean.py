"""Cleaning: exactly the products and lineage of the regions named, and never what a run recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from glacierflow.cli import clean as clean_cli
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError
from glacierflow.model.layout import Layout
from glacierflow.model.records import FolderStructure, Satellite
from glacierflow.store import S3Store
from glacierflow.sync import clean
from glacierflow.sync.clean import delete_objects, find_objects

BUCKET = "made-up"
CLOUD = Cloud(embedded=True)
REGION, OTHER = "134_Arsuk", "134_Arsuk_north"
STEM = "S2A_MSIL2A_20240715T152911_N0511_R068"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    with mock_aws():
        client = CLOUD.session().client("s3")
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        monkeypatch.setattr(
            clean_cli, "cloud_for", lambda loaded, line: (CLOUD, loaded.settings.step_settings())
        )
        yield client


def of_region(layout: Layout, satellite: Satellite, region: str) -> list[str]:
    """Every key the step writes for a region."""
    keys = [
        layout.product(satellite, region, STEM),
        layout.template(satellite, region),
        layout.stac_item(satellite, region, STEM),
        layout.stac_collection(satellite, region),
    ]
    if satellite == "sentinel2":
        keys += [layout.individual_csv(region, STEM), layout.combined_csv(region)]
        keys += [layout.download(region, year, "T22_x") for year in (2023, 2024)]
    else:
        keys += [layout.query_results(region), f"{layout.query_parts_prefix(region)}a.csv"]
    return keys


def fill(client: Any, layout: Layout) -> None:
    satellites: tuple[Satellite, ...] = ("sentinel2", "landsat")
    keys = [key for one in satellites for region in (REGION, OTHER) for key in of_region(layout, one, region)]
    for key in [*keys, f"runs/x-{REGION}/manifest.json", "scripts/config.ini", layout.stac_catalog]:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"12345")


def keys_left(client: Any) -> set[str]:
    return {one["Key"] for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}


@pytest.mark.parametrize("satellite", ["sentinel2", "landsat"])
@pytest.mark.parametrize("structure", ["new", "old"])
def test_all_of_the_region_and_nothing_else_is_found(
    s3: Any, satellite: Satellite, structure: FolderStructure
) -> None:
    layout = Layout("base", structure)
    fill(s3, layout)
    (found,) = find_objects(S3Store(BUCKET, CLOUD), layout, satellite, [REGION])
    assert sorted(entry.key for entry in found.entries) == sorted(set(of_region(layout, satellite, REGION)))
    assert found.size == 5 * len(found.entries)


def test_a_dry_run_deletes_nothing_and_yes_deletes(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout("1_download_merge_and_clip")
    fill(s3, layout)
    before = keys_left(s3)
    words = ["clean", "--satellite", "landsat", "--regions", REGION, "--s3-bucket", BUCKET]
    assert run([*words, "--dry-run"]) == 0
    assert "dry run: nothing was deleted" in capsys.readouterr().out
    assert run(words) == 64
    assert "6 objects would be deleted\n  next: add --yes" in capsys.readouterr().err
    assert keys_left(s3) == before
    assert run([*words, "--yes", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["deleted"] == 6
    assert "versioned" not in captured.err
    assert before - keys_left(s3) == set(of_region(layout, "landsat", REGION))
    assert run([*words, "--yes"]) == 0
    assert "0 objects in" in capsys.readouterr().out


def test_a_versioned_bucket_keeps_what_is_deleted_and_says_so(
    s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    layout = Layout("1_download_merge_and_clip")
    fill(s3, layout)
    assert (
        run(["clean", "--satellite", "sentinel2", "--regions", REGION, "--yes", "--s3-bucket", BUCKET]) == 0
    )
    assert "stays behind as an earlier version" in capsys.readouterr().err
    key = layout.product("sentinel2", REGION, STEM)
    assert key not in keys_left(s3)
    versions = s3.list_object_versions(Bucket=BUCKET, Prefix=key)
    assert len(versions["Versions"]) == len(versions["DeleteMarkers"]) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--regions", REGION], "needs a satellite"),
        (["--satellite", "landsat"], "needs regions"),
        (["--satellite", "landsat", "--regions", "nowhere"], "there is no region nowhere"),
    ],
)
def test_what_is_deleted_has_to_be_typed(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.ini").write_text(f"[REGIONS]\nregions = {REGION}\n[SETTINGS]\nsatellite = landsat\n")
    assert run(["clean", *words, "--yes"]) == 64
    assert sentence in capsys.readouterr().err


def test_records_of_runs_are_never_deleted(s3: Any) -> None:
    fill(s3, Layout("base"))
    with pytest.raises(StoreError, match="never deleted"):
        delete_objects(f"s3://{BUCKET}", ["base/x", f"runs/x-{REGION}/manifest.json"], CLOUD)


def test_thousands_are_deleted_in_thousands_and_a_refusal_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Client:
        def delete_objects(self, **request: Any) -> dict[str, Any]:
            objects = request["Delete"]["Objects"]
            sizes.append(len(objects))
            return {"Errors": [{"Key": objects[0]["Key"], "Code": "AccessDenied"}]} if len(sizes) == 2 else {}

    monkeypatch.setattr(Cloud, "client", lambda _self, service: Client())
    with pytest.raises(StoreError, match="1 of 2001 objects could not be deleted, first base/1000"):
        delete_objects("s3://x", [f"base/{number}" for number in range(2001)], CLOUD)
    assert sizes == [clean._AT_ONCE, clean._AT_ONCE, 1]
