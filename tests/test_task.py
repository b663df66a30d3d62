"""A child from environment to receipt: on real pixels, in a real process, and when things go wrong."""

from __future__ import annotations

import copy
import csv
import datetime as dt
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from big_run import FakeCloud
from http_servers import Api, RangeServer
from refusals import refusal
from roles import Role
from s3_fake import S3Fake
from samples import make_unit, read_item, real_archive, real_region
from test_clouds import classification
from test_read import real_scenes, truth

from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError, UsageError
from glacierflow.imagery.budget import least_mb, peak_mb
from glacierflow.imagery.grid import geobox_of
from glacierflow.model.attempts import AttemptEntry, entry_of_name
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import ArrayRange, Manifest, fingerprint, make_run_id
from glacierflow.model.receipt import Receipt, Started
from glacierflow.model.records import StepSettings
from glacierflow.products import cog
from glacierflow.step import images, unit
from glacierflow.step.threads import in_order
from glacierflow.store import LocalStore, S3Store, Store
from glacierflow.task import process_slot, read_manifest, slot_of_child

pytestmark = pytest.mark.usefixtures("waits")


def local_items(satellite: str) -> list[dict[str, Any]]:
    """Items of the real archive whose assets are files on this disk."""
    folder, key = {"sentinel2": ("sentinel-2-l2a", "nir"), "landsat": ("landsat-c2l1", "pan")}[satellite]
    items = []
    for path in sorted((real_archive() / folder).glob("*/*.json")):
        item = read_item(path)
        asset = item["assets"][key]
        asset["href"] = str(path.parent / asset["href"])
        asset.pop("alternate", None)
        items.append(item)
    assert len(items) == 2, f"the real archive is not there: {real_archive()}"
    return items


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    api = Api()
    api.items = local_items("sentinel2")
    yield api
    api.server.shutdown()
    api.server.server_close()


def make_manifest(api: Api, where: Path, satellite: str = "sentinel2", **settings: Any) -> Manifest:
    region = real_region({"sentinel2": "902_Berlin", "landsat": "901_Yahtse"}[satellite])
    chosen = StepSettings(
        sentinel2_stac_url=api.url, landsat_stac_url=api.url, request_attempts=1, **settings
    )
    slots = ((make_unit(region.name, satellite),),)
    mark = fingerprint(slots, chosen, None)
    now = dt.datetime.now(dt.UTC)
    return Manifest(
        run_id=make_run_id(slots, {region.name: region}, mark, now),
        created_at=now,
        fingerprint=mark,
        code_version="test",
        catalogue_sha256="0" * 64,
        regions={region.name: region},
        settings=chosen,
        slots=slots,
        arrays=(ArrayRange(first_slot=0, size=1),),
        store=str(where),
    )


def process(manifest: Manifest, stop: threading.Event | None = None) -> Receipt:
    store = LocalStore(Path(manifest.store))
    return process_slot(manifest, 0, store, Cloud(), stop=stop or threading.Event())


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def reasons(receipt: Receipt) -> dict[str, str]:
    return {entry.item_id: entry.code for entry in receipt.left_out}


def test_a_sentinel2_unit_leaves_everything_the_layout_promises(api: Api, tmp_path: Path) -> None:
    manifest = make_manifest(api, tmp_path)
    receipt = process(manifest)
    assert (receipt.outcome, receipt.exit_code) == ("done", 0)
    assert receipt.counts.model_dump() == {"found": 2, "kept": 2, "written": 2, "skipped": 0, "failed": 0}
    base, run = "1_download_merge_and_clip/sentinel2", f"runs/{manifest.run_id}"
    stems = [f"S2A_MSIL2A_{day}T101032_N0202_R022" for day in ("20160529", "20160608")]
    assert files(tmp_path) == {
        *(f"{base}/clipped/902_Berlin/{stem}.tif" for stem in stems),
        *(f"{base}/metadata/individual_csv/902_Berlin/{stem}.csv" for stem in stems),
        f"{base}/metadata/combined_csv/902_Berlin.csv",
        f"{base}/template/902_Berlin.tif",
        *(f"1_download_merge_and_clip/stac/sentinel2/902_Berlin/{stem}.json" for stem in stems),
        "1_download_merge_and_clip/stac/collections/sentinel2/902_Berlin.json",
        "1_download_merge_and_clip/stac/catalog.json",
        f"{run}/attempts/0/1.started.json",
        f"{run}/attempts/0/1.done.json",
        *(f"{run}/report/quicklooks/902_Berlin/{stem}.png" for stem in stems),
    }
    for scene, product in zip(real_scenes("sentinel2"), receipt.products, strict=True):
        with rasterio.open(tmp_path / product.key) as image:
            difference = np.abs(
                image.read(1).astype(int) - truth(scene.href, real_region("902_Berlin"), "sentinel2")
            )
        assert (difference <= 1).mean() >= 0.999
        assert difference.max() <= 3
        assert (tmp_path / product.key).stat().st_size == product.size
    assert receipt.bytes_read > 1_000_000
    assert receipt.peak_memory_mb > 10
    assert {"search", "read", "warp", "write"} <= set(receipt.seconds)


def test_a_landsat_unit_leaves_products_template_and_query_results(api: Api, tmp_path: Path) -> None:
    api.items = local_items("landsat")
    receipt = process(make_manifest(api, tmp_path, "landsat"))
    assert receipt.outcome == "done"
    reference = tmp_path / "1_download_merge_and_clip/landsat/_reference"
    with rasterio.open(reference / "901_Yahtse.tif") as template:
        assert template.dtypes == ("uint8",)
        assert template.shape == (400, 400)
    with (reference / "901_Yahtse_stac_query_results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2
    names = [Path(product.key).name for product in receipt.products]
    assert names[0] == (
        "20160718203706_LC80630182016200LGN00_LC08_L1TP_063018_20160718_20200906_02_T1_ortho.tif"
    )


def test_a_second_run_makes_only_what_is_missing(api: Api, tmp_path: Path) -> None:
    first = process(make_manifest(api, tmp_path))
    kept, removed = (tmp_path / product.key for product in first.products)
    removed.unlink()
    before = kept.stat().st_mtime_ns
    second = process(make_manifest(api, tmp_path))
    assert second.counts.model_dump() == {"found": 2, "kept": 2, "written": 1, "skipped": 1, "failed": 0}
    assert kept.stat().st_mtime_ns == before
    assert removed.is_file()


def test_a_product_made_differently_stays_until_reprocess(api: Api, tmp_path: Path) -> None:
    first = process(make_manifest(api, tmp_path, resampling="nearest"))
    path = tmp_path / first.products[0].key
    before = path.read_bytes()
    second = process(make_manifest(api, tmp_path))
    assert set(reasons(second).values()) == {"made_differently"}
    assert path.read_bytes() == before
    third = process(make_manifest(api, tmp_path, reprocess=True))
    assert third.counts.written == 2
    assert path.read_bytes() != before


def test_a_product_of_another_baseline_is_seen_and_reported(api: Api, tmp_path: Path) -> None:
    process(make_manifest(api, tmp_path))
    for item in api.items:
        uri = item["properties"]["s2:product_uri"]
        item["properties"]["s2:product_uri"] = uri.replace("_N0202_", "_N0500_")
    second = process(make_manifest(api, tmp_path))
    assert set(reasons(second).values()) == {"made_differently"}
    assert second.counts.written == 0
    third = process(make_manifest(api, tmp_path, reprocess=True))
    assert third.counts.written == 2
    assert sorted(entry.code for entry in third.left_out) == ["superseded", "superseded"]
    assert "_N0202_" in third.left_out[0].item_id


def test_a_template_on_another_grid_is_reported_and_replaced_only_on_request(
    api: Api, tmp_path: Path
) -> None:
    manifest = make_manifest(api, tmp_path)
    template = tmp_path / "1_download_merge_and_clip/sentinel2/template/902_Berlin.tif"
    template.parent.mkdir(parents=True)
    template.write_bytes(b"the predecessor's")
    assert "template_differs" in reasons(process(manifest)).values()
    assert template.read_bytes() == b"the predecessor's"
    process(make_manifest(api, tmp_path, reprocess=True))
    with rasterio.open(template) as replaced:
        assert tuple(replaced.bounds) == real_region("902_Berlin").bounds


def test_download_flag_keeps_the_native_window(api: Api, tmp_path: Path) -> None:
    process(make_manifest(api, tmp_path, keep_downloads=True))
    folder = tmp_path / "1_download_merge_and_clip/sentinel2/download/2016/902_Berlin"
    windows = sorted(folder.iterdir())
    assert [path.name[:45] for path in windows] == [
        "S2A_MSIL2A_20160529T101032_N0202_R022_T33UUU_",
        "S2A_MSIL2A_20160608T101032_N0202_R022_T33UUU_",
    ]
    with rasterio.open(windows[0]) as window, rasterio.open(real_scenes("sentinel2")[0].href) as source:
        assert window.crs.to_epsg() == 32633
        wanted = rasterio.windows.from_bounds(*window.bounds, source.transform)
        np.testing.assert_array_equal(window.read(1), source.read(1, window=wanted))


def test_one_unreadable_scene_is_that_scenes_failure(api: Api, tmp_path: Path) -> None:
    page = tmp_path / "page.tif"
    page.write_text("<html>not an image</html>")
    api.items[0]["assets"]["nir"]["href"] = str(page)
    receipt = process(make_manifest(api, tmp_path / "out"))
    assert (receipt.outcome, receipt.exit_code) == ("partial", 0)
    assert reasons(receipt) == {"S2A_33UUU_20160529_0_L2A": "unreadable"}
    assert receipt.error is not None
    assert "page.tif" in receipt.error
    assert len(receipt.products) == 1


def test_a_unit_all_of_whose_scenes_fail_exits_65(api: Api, tmp_path: Path) -> None:
    for item in api.items:
        item["assets"]["nir"]["href"] = str(tmp_path / "gone.tif")
    receipt = process(make_manifest(api, tmp_path / "out"))
    assert (receipt.outcome, receipt.exit_code) == ("failed", 65)
    assert receipt.counts.failed == 2


def test_a_service_that_stays_down_is_worth_another_attempt(api: Api, tmp_path: Path) -> None:
    api.faults = [503] * 5
    receipt = process(make_manifest(api, tmp_path))
    assert (receipt.outcome, receipt.exit_code) == ("unavailable", 75)


def test_nothing_found_is_done_with_no_data(api: Api, tmp_path: Path) -> None:
    api.items = []
    receipt = process(make_manifest(api, tmp_path))
    assert (receipt.outcome, receipt.exit_code) == ("no_data", 0)
    # 2016, from which not every Sentinel-2 image exists as Level-2A
    assert [note.code for note in receipt.notes] == ["archive_gap"]


def test_too_little_coverage_is_left_out_with_the_numbers(api: Api, tmp_path: Path) -> None:
    receipt = process(make_manifest(api, tmp_path, sentinel2_min_coverage=1.1))
    assert receipt.outcome == "no_data"
    assert set(reasons(receipt).values()) == {"low_coverage"}
    assert "100.0%" in receipt.left_out[0].reason
    (note,) = receipt.notes
    assert (note.code, note.text) == (
        "all_left_out",
        "2 STAC items found, none became an image: 2 low_coverage",
    )
    assert not list((tmp_path / "1_download_merge_and_clip/sentinel2").glob("clipped/**/*.tif"))


def test_a_bug_leaves_a_receipt_and_exits_70(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        msg = "on purpose"
        raise RuntimeError(msg)

    monkeypatch.setattr(images, "geobox_of", broken)
    receipt = process(make_manifest(api, tmp_path))
    assert (receipt.outcome, receipt.exit_code) == ("failed", 70)
    assert "RuntimeError: on purpose" in (receipt.error or "")


def test_landsat_without_credentials_says_so_before_it_searches(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    receipt = process(make_manifest(api, tmp_path / "out", "landsat"))
    assert (receipt.outcome, receipt.exit_code) == ("failed", 64)
    assert "requester-pays" in (receipt.error or "")
    assert api.searches == []


@pytest.fixture
def bucket(api: Api, tmp_path: Path) -> Iterator[RangeServer]:
    """The Landsat archive behind s3:// addresses whose endpoint may refuse to serve."""
    folder = tmp_path / "bucket"
    api.items = local_items("landsat")
    for item in api.items:
        asset = item["assets"]["pan"]
        path = Path(asset["href"])
        target = folder / "usgs-landsat" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
        asset["alternate"] = {
            "s3": {"href": f"s3://usgs-landsat/{path.name}", "storage:requester_pays": True}
        }
        asset["href"] = "https://landsatlook.usgs.gov/needs/an/authorisation/of/its/own.TIF"
    server = RangeServer(folder)
    handler: Any = server.server.RequestHandlerClass
    # as S3 words it
    handler.func.error_content_type = "application/xml"
    handler.func.error_message_format = (
        "<Error><Code>%(message)s</Code><Message>%(explain)s</Message></Error>"
    )
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_paid_images_that_are_refused_are_one_error_and_not_many(
    api: Api, bucket: RangeServer, tmp_path: Path
) -> None:
    first = api.items[0]
    name = Path(first["assets"]["pan"]["alternate"]["s3"]["href"]).name
    bucket.faults = {f"/usgs-landsat/{name}": 403}
    api.items, api.page_size = [], 100
    for day in range(1, 21):
        other = copy.deepcopy(first)
        other["id"] = f"{first['id']}-{day}"
        other["properties"]["datetime"] = f"2016-06-{day:02d}T20:37:06Z"
        api.items.append(other)
    receipt = process(make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url))
    assert (receipt.outcome, receipt.exit_code) == ("failed", 64)
    assert (receipt.error or "").startswith("requester-pays images may not be read: s3://usgs-landsat/")
    assert receipt.counts.failed == 0
    # those that were in hand already
    assert 1 <= len(bucket.paths) < 12


def test_a_bucket_that_refuses_is_known_before_anything_is_searched(
    api: Api, bucket: RangeServer, tmp_path: Path
) -> None:
    bucket.faults = {"/usgs-landsat/collection02/catalog.json": 403}
    receipt = process(make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url))
    assert (receipt.outcome, receipt.exit_code) == ("failed", 64)
    assert "requester-pays images may not be read: s3://usgs-landsat/" in (receipt.error or "")
    assert "access was refused (HTTP 403 Forbidden)" in (receipt.error or "")
    assert (api.searches, len(bucket.paths)) == ([], 2), "a lone refusal proves nothing"


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_bucket_that_is_busy_or_lacks_the_object_refuses_nothing(
    api: Api, bucket: RangeServer, tmp_path: Path, status: int
) -> None:
    bucket.faults = {"/usgs-landsat/collection02/catalog.json": status}
    receipt = process(make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url))
    assert (receipt.outcome, receipt.counts.written) == ("done", 2)
    asked = [path for path in bucket.paths if path.endswith("catalog.json")]
    assert len(asked) == 2, "and not for ever"


def test_one_refusal_after_products_that_are_there_is_that_scenes_failure(
    api: Api, bucket: RangeServer, tmp_path: Path
) -> None:
    name = Path(api.items[1]["assets"]["pan"]["alternate"]["s3"]["href"]).name
    manifest = make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url)
    bucket.faults = {f"/usgs-landsat/{name}": 403}
    process(manifest)
    again = process(manifest)
    assert (again.outcome, again.counts.skipped, again.counts.failed) == ("partial", 1, 1)


def test_one_refusal_among_paid_images_is_that_scenes_failure(
    api: Api, bucket: RangeServer, tmp_path: Path
) -> None:
    name = Path(api.items[1]["assets"]["pan"]["alternate"]["s3"]["href"]).name
    bucket.faults = {f"/usgs-landsat/{name}": 403}
    receipt = process(make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url))
    assert (receipt.outcome, receipt.exit_code) == ("partial", 0)
    assert reasons(receipt) == {api.items[1]["id"]: "unreadable"}


def test_a_scene_that_time_may_heal_is_the_next_attempts(
    api: Api, bucket: RangeServer, tmp_path: Path
) -> None:
    lost = api.items[1]
    name = Path(lost["assets"]["pan"]["alternate"]["s3"]["href"]).name
    manifest = make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url)
    bucket.faults = {f"/usgs-landsat/{name}": 503}
    receipt = process(manifest)
    assert (receipt.outcome, receipt.exit_code) == ("unavailable", 75)
    assert (receipt.counts.written, receipt.counts.failed, len(receipt.products)) == (1, 1, 1)
    assert reasons(receipt) == {lost["id"]: "unreadable"}
    assert "1 of 2 acquisitions could not be read" in (receipt.error or "")
    bucket.faults = {}
    again = process(manifest)
    assert (again.outcome, again.counts.written, again.counts.skipped) == ("done", 1, 1)


def test_what_passes_weighs_more_than_what_stays(api: Api, bucket: RangeServer, tmp_path: Path) -> None:
    """Nothing was made, and one of the two scenes may come yet: not bad data."""
    names = [Path(item["assets"]["pan"]["alternate"]["s3"]["href"]).name for item in api.items]
    manifest = make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url)
    bucket.faults = {f"/usgs-landsat/{names[0]}": 404, f"/usgs-landsat/{names[1]}": 503}
    receipt = process(manifest)
    assert (receipt.outcome, receipt.exit_code) == ("unavailable", 75)
    assert "HTTP 503" in (receipt.error or "")


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    role = Role(monkeypatch)
    yield role
    role.close()


@pytest.mark.parametrize("unset", [None, ""], ids=["no keys", "empty keys"])
def test_a_slot_asks_for_the_credentials_of_its_role_once(
    api: Api,
    bucket: RangeServer,
    role: Role,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unset: str | None,
) -> None:
    """Also where keys are set to nothing, which rasterio takes for a session of its own."""
    if unset is not None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", unset)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", unset)
    receipt = process(make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url))
    assert (receipt.outcome, receipt.counts.written, role.fetches) == ("done", 2, 1)


def test_a_role_that_is_away_for_a_moment_costs_nothing(
    api: Api, bucket: RangeServer, role: Role, tmp_path: Path
) -> None:
    role.fails = 9  # three rounds of botocore's own
    receipt = process(make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url))
    assert (receipt.outcome, receipt.counts.written, role.fetches) == ("done", 2, 10)


def test_a_role_that_stays_away_is_worth_another_attempt(
    api: Api, bucket: RangeServer, role: Role, tmp_path: Path
) -> None:
    role.fails = 10_000
    receipt = process(make_manifest(api, tmp_path / "out", "landsat", imagery_s3_endpoint=bucket.url))
    assert (receipt.outcome, receipt.exit_code) == ("unavailable", 75)
    assert "could not be fetched" in (receipt.error or "")


def test_cloud_over_the_region_is_measured_recorded_and_a_reason(api: Api, tmp_path: Path) -> None:
    for item, cloudy in zip(api.items, (9, 4), strict=True):
        href = classification(tmp_path / f"scl{cloudy}.tif", west=4, east=cloudy)
        item["assets"]["scl"] = {"href": href}
    receipt = process(make_manifest(api, tmp_path / "out", max_region_cloud=0.1))
    assert reasons(receipt) == {"S2A_33UUU_20160529_0_L2A": "region_cloudy"}
    (product,) = receipt.products
    with rasterio.open(tmp_path / "out" / product.key) as image:
        assert image.tags()["GLACIERFLOW_REGION_CLOUD"] == "0.0000"
    (tmp_path / "scl9.tif").unlink()
    again = process(make_manifest(api, tmp_path / "out", max_region_cloud=0.1))
    assert again.counts.written == 1
    assert [note.code for note in again.notes] == ["cloud_not_measured"]


def test_asked_to_stop_before_the_first_acquisition(api: Api, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    receipt = process(make_manifest(api, tmp_path), stop)
    assert (receipt.outcome, receipt.exit_code) == ("interrupted", 75)
    assert receipt.counts.written == 0


def test_a_second_attempt_takes_the_next_free_number(api: Api, tmp_path: Path) -> None:
    manifest = make_manifest(api, tmp_path)
    assert process(manifest).attempt == 1
    assert process(manifest).attempt == 2


# -- the real process --------------------------------------------------------------------------------------


def child(manifest: Manifest, folder: Path, **environ: str) -> subprocess.Popen[str]:
    path = folder / "manifest.json"
    path.write_text(manifest.model_dump_json())
    return subprocess.Popen(
        [sys.executable, "-m", "glacierflow.task"],
        env={**os.environ, "GLACIERFLOW_MANIFEST": str(path), "GLACIERFLOW_INDEX": "0", **environ},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_child_process_reads_its_environment(api: Api, tmp_path: Path) -> None:
    manifest = make_manifest(api, tmp_path / "out")
    process = child(
        manifest, tmp_path, AWS_BATCH_JOB_ID="job:0", AWS_BATCH_JOB_ATTEMPT="2", AWS_BATCH_JQ_NAME="q"
    )
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    started = Started.model_validate_json(
        (tmp_path / "out" / RunLayout(manifest.run_id).started(0, 2)).read_text()
    )
    assert started.batch.job_id == "job:0"
    assert started.batch.job_queue == "q"


def test_a_child_that_fails_writes_the_line_the_metric_filter_counts(api: Api, tmp_path: Path) -> None:
    """The filter's words: test_template.py."""
    for item in api.items:
        item["assets"]["nir"]["href"] = str(tmp_path / "gone.tif")
    process = child(make_manifest(api, tmp_path / "out"), tmp_path)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 65, said
    assert "ERROR failed:" in said


def test_sigterm_saves_what_is_finished_and_exits_75(api: Api, tmp_path: Path) -> None:
    """A source that never answers holds the second acquisition; SIGTERM must not wait for it for ever."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        api.items[1]["assets"]["nir"]["href"] = f"http://127.0.0.1:{silent.getsockname()[1]}/b.tif"
        manifest = make_manifest(api, tmp_path / "out", request_timeout_s=600.0)
        process = child(manifest, tmp_path)
        clipped = tmp_path / "out/1_download_merge_and_clip/sentinel2/clipped/902_Berlin"
        deadline = time.monotonic() + 60
        while not list(clipped.glob("*.tif")):
            assert time.monotonic() < deadline, "the first product did not appear"
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 75, said
    receipt = Receipt.model_validate_json(
        (tmp_path / "out" / RunLayout(manifest.run_id).receipt(0, 1, "interrupted")).read_text()
    )
    assert receipt.counts.written == 1


def test_sigterm_during_the_search_does_not_wait_for_the_api(api: Api, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        manifest = make_manifest(api, tmp_path / "out")
        dumb = manifest.settings.model_copy(
            update={"sentinel2_stac_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        )
        manifest = manifest.model_copy(update={"settings": dumb})
        process = child(manifest, tmp_path)
        started = tmp_path / "out" / RunLayout(manifest.run_id).started(0, 1)
        deadline = time.monotonic() + 60
        while not started.is_file():
            assert time.monotonic() < deadline, "the child did not start"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 75, said
    assert (tmp_path / "out" / RunLayout(manifest.run_id).receipt(0, 1, "interrupted")).is_file()


def test_a_store_that_fails_while_reading_is_not_the_scenes_failure(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        msg = "no space left"
        raise StoreError(msg)

    monkeypatch.setattr(cog, "native_window", full)
    receipt = process(make_manifest(api, tmp_path, keep_downloads=True))
    assert (receipt.outcome, receipt.exit_code) == ("unavailable", 75)


BASE = "1_download_merge_and_clip/sentinel2"
FAILING = {
    "template": f"{BASE}/template/902_Berlin.tif",
    "product": f"{BASE}/clipped/902_Berlin/S2A_MSIL2A_20160608T101032_N0202_R022.tif",
    "sidecar": f"{BASE}/metadata/individual_csv/902_Berlin/S2A_MSIL2A_20160608T101032_N0202_R022.csv",
    "item": "1_download_merge_and_clip/stac/sentinel2/902_Berlin/S2A_MSIL2A_20160608T101032_N0202_R022.json",
    "table": f"{BASE}/metadata/combined_csv/902_Berlin.csv",
    "receipt": "attempts/0/1.",
}


@pytest.fixture
def unbroken(api: Api, tmp_path: Path) -> dict[str, str]:
    """SHA-256 of what one run without any trouble leaves."""
    process(make_manifest(api, tmp_path / "unbroken"))
    return hashes(LocalStore(tmp_path / "unbroken"))


def hashes(store: Store) -> dict[str, str]:
    """Of products, template and tables."""
    return {
        entry.key: hashlib.sha256(store.get(entry.key) or b"").hexdigest()
        for entry in store.list(BASE)
        if entry.key.endswith((".tif", ".csv"))
    }


def broken_then_again(manifest: Manifest, store: Store, what: str, outcome: str) -> None:
    """The first attempt ends as it should, the second completes."""

    def attempt() -> Receipt:
        return process_slot(manifest, 0, store, Cloud(), stop=threading.Event())

    if what == "receipt":
        with pytest.raises((StoreError, UsageError)):
            attempt()
    else:
        assert attempt().outcome == outcome
    again = attempt()
    assert (again.outcome, again.attempt) == ("done", 2)
    assert again.counts.written + again.counts.skipped == 2


@pytest.mark.parametrize("what", FAILING)
def test_a_full_disk_ends_an_attempt_and_the_next_completes(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, str], what: str
) -> None:
    """As the kernel tells it: when bytes are written to the file aside."""
    left, rename = [True], Path.replace

    def replace(aside: Path, target: Path) -> Path:
        if FAILING[what] in str(target) and left:
            left.clear()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(aside, target)

    monkeypatch.setattr(Path, "replace", replace)
    manifest, store = make_manifest(api, tmp_path / "out"), LocalStore(tmp_path / "out")
    broken_then_again(manifest, store, what, "unavailable")
    assert not left
    assert hashes(store) == unbroken
    assert not list((tmp_path / "out").rglob(".part-*"))


def test_a_full_scratch_disk_ends_an_attempt_and_the_next_completes(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: dict[str, str]
) -> None:
    left, add = [True], cog.CogFile.add

    def full(file: cog.CogFile, rows: Any) -> None:
        if rows.dtype == np.uint16 and left:
            left.clear()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(file, rows)

    monkeypatch.setattr(cog.CogFile, "add", full)
    manifest, store = make_manifest(api, tmp_path / "out"), LocalStore(tmp_path / "out")
    broken_then_again(manifest, store, "product", "unavailable")
    assert not left
    assert hashes(store) == unbroken


class Refusing(S3Fake):
    """A bucket that refuses the put of one object."""

    def __init__(self, where: str, code: str, status: int) -> None:
        super().__init__()
        self.where, self.code, self.status = where, code, status
        # a lone refusal is not believed
        self.left = [True] * (2 if code == "AccessDenied" else 1)

    def put_object(self, *, Key: str, **rest: Any) -> dict[str, Any]:  # noqa: N803
        # the receipt, not what is left when an attempt starts
        if self.where in Key and not Key.endswith("started.json") and self.left:
            self.left.pop()
            raise refusal("PutObject", self.code, self.status)
        return super().put_object(Key=Key, **rest)


@pytest.mark.parametrize("what", FAILING)
@pytest.mark.parametrize(
    ("code", "status", "outcome"), [("SlowDown", 503, "unavailable"), ("AccessDenied", 403, "failed")]
)
def test_a_put_that_s3_refuses_ends_an_attempt_and_the_next_completes(
    api: Api, unbroken: dict[str, str], what: str, code: str, status: int, outcome: str
) -> None:
    s3 = Refusing(FAILING[what], code, status)
    store = S3Store("made-up", FakeCloud(clients={"s3": s3}))
    broken_then_again(make_manifest(api, Path("unused")), store, what, outcome)
    assert not s3.left
    assert hashes(store) == unbroken


class Silent(S3Fake):
    """A bucket in which no attempt can be told by a name."""

    def put_object(self, *, Key: str, **rest: Any) -> dict[str, Any]:  # noqa: N803
        if "/told/" in Key:
            raise refusal("PutObject", "AccessDenied", 403)
        return super().put_object(Key=Key, **rest)


@pytest.mark.parametrize("kind", [S3Fake, Silent])
def test_what_a_child_did_is_told_by_two_names_and_a_refused_one_harms_nothing(
    api: Api, kind: type[S3Fake]
) -> None:
    s3 = kind()
    store = S3Store("made-up", FakeCloud(clients={"s3": s3}))
    receipt = process_slot(make_manifest(api, Path("unused")), 0, store, Cloud(), stop=threading.Event())
    assert (receipt.outcome, receipt.exit_code) == ("done", 0)
    start = Started(**{name: getattr(receipt, name) for name in Started.model_fields})
    told = [key for key in sorted(s3.objects) if "/told/" in key]
    records = [receipt, start] if kind is S3Fake else []
    assert [entry_of_name(key) for key in told] == [AttemptEntry.of(record) for record in records]
    assert all(s3.objects[key] == b"" for key in told)


def test_in_a_directory_nothing_is_told_by_names(api: Api, tmp_path: Path) -> None:
    process(make_manifest(api, tmp_path))
    assert not [name for name in files(tmp_path) if "/told/" in name]


def test_memory_that_is_short_makes_bands_and_is_told(api: Api, tmp_path: Path) -> None:
    shape = tuple(geobox_of(real_region("902_Berlin"), "sentinel2").shape)
    whole, least = peak_mb(shape[0] * shape[1], 1), least_mb((shape[0], shape[1]), cog.BLOCK)
    assert 100 < least <= whole
    for memory_mb, codes in ((100, ["memory_short"]), (round(whole + 1), [])):
        receipt = process(make_manifest(api, tmp_path / str(memory_mb), memory_mb=memory_mb))
        assert (receipt.outcome, receipt.counts.written) == ("done", 2)
        assert [note.code for note in receipt.notes] == codes
        for note in receipt.notes:
            assert f"902_Berlin needs about {whole:,.0f} MB with one whole image at a time" in note.text
            assert "more than the 100 MB" in note.text
            assert f"512 rows at a time, which takes longer; at least {least:,.0f} MB" in note.text
    banded, at_once = (hashes(LocalStore(folder)) for folder in sorted(tmp_path.iterdir()))
    assert banded == at_once


def test_products_are_the_same_whatever_is_in_flight(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = api.items
    for day in range(1, 4):
        text = (
            json.dumps(second).replace("20160608", f"2016060{day}").replace("2016-06-08", f"2016-06-0{day}")
        )
        item = json.loads(text)
        item["assets"]["nir"]["href"] = (first, second)[day % 2]["assets"]["nir"]["href"]
        api.items.append(item)
    limits: list[int] = []

    def watched(*given: Any, limit: int, **rest: Any) -> Any:
        limits.append(limit)
        return in_order(*given, limit=limit, **rest)

    monkeypatch.setattr(unit, "in_order", watched)
    found = []
    for memory_mb in (1, 4000):
        folder = tmp_path / str(memory_mb)
        assert process(make_manifest(api, folder, memory_mb=memory_mb)).counts.written == 5
        found.append(hashes(LocalStore(folder)))
    assert limits == [1, 4]
    assert found[0] == found[1]
    assert len([key for key in found[0] if "/clipped/" in key]) == 5


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "neither AWS_BATCH_JOB_ARRAY_INDEX nor GLACIERFLOW_INDEX is set"),
        ({"GLACIERFLOW_INDEX": "one"}, "array index = one is not a whole number"),
        ({"GLACIERFLOW_INDEX": "1", "GLACIERFLOW_SLOT_OFFSET": "-2"}, "GLACIERFLOW_SLOT_OFFSET = -2"),
    ],
)
def test_a_bad_index_is_named(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        slot_of_child(environ)


def test_offset_and_array_index_add_up() -> None:
    assert slot_of_child({"AWS_BATCH_JOB_ARRAY_INDEX": "7", "GLACIERFLOW_SLOT_OFFSET": "10000"}) == 10007


def test_a_missing_or_broken_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="GLACIERFLOW_MANIFEST is not set"):
        read_manifest("", Cloud())
    with pytest.raises(UsageError, match="there is no such object"):
        read_manifest(str(tmp_path / "gone.json"), Cloud())
    (tmp_path / "broken.json").write_text('{"run_id": "x"}')
    with pytest.raises(UsageError, match="is not a manifest: created_at"):
        read_manifest(str(tmp_path / "broken.json"), Cloud())


def test_a_slot_outside_the_run_is_refused(api: Api, tmp_path: Path) -> None:
    manifest = make_manifest(api, tmp_path)
    with pytest.raises(UsageError, match="slot 5 is outside the run"):
        manifest.units_of(5)
