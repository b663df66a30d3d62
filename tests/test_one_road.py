"""A child computes the lazy array that ``open_region`` returns, and its products do not depend on how."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import distributed
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from exact import Tile, to_utm
from http_servers import Api
from range_faults import FaultyServer
from samples import make_region, make_unit, real_region, real_regions
from test_clouds import classification
from test_exact import PLACES, WIDE, written
from test_task import api as api
from test_task import local_items, make_manifest

import glacierflow
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.imagery.budget import least_mb, peak_mb
from glacierflow.imagery.cache import Shared
from glacierflow.imagery.geotiff import parse_geotiff
from glacierflow.imagery.grid import Chunks
from glacierflow.imagery.lazy import MosaicJob, lazy_mosaics
from glacierflow.imagery.mosaic import Imagery
from glacierflow.model.layout import RunLayout
from glacierflow.model.records import StepSettings
from glacierflow.products.cog import BLOCK
from glacierflow.step.context import StepContext, UnitResult
from glacierflow.step.unit import process_unit
from glacierflow.store import LocalStore

REGION = "902_Berlin"
DATES = ("2016-05-01", "2016-06-30")
# untyped
Client: Any = distributed.Client
LocalCluster: Any = distributed.LocalCluster


def open_berlin(api: Api, **more: Any) -> xr.DataArray:
    where: Any = {"regions_file": real_regions(), "sentinel2_stac_url": api.url}
    return glacierflow.open_region(REGION, "sentinel2", dates=DATES, **where, **more)


def run_unit(api: Api, folder: Path, client: Any = None, **settings: Any) -> tuple[xr.DataArray, UnitResult]:
    """A unit by the step: the array it computed, and what became of it."""
    shown: list[xr.DataArray] = []
    context = StepContext(
        StepSettings(sentinel2_stac_url=api.url, request_attempts=1, **settings),
        LocalStore(folder), Cloud(), RunLayout("run"), threading.Event(), lambda _: None,
        cluster=client, show=shown.append,
    )  # fmt: skip
    result = UnitResult(0)
    process_unit(make_unit(REGION, "sentinel2"), real_region(REGION), context, result)
    (array,) = shown
    return array, result


def clipped(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.suffix in {".tif", ".png"}
    }


def test_the_array_a_child_computes_is_the_one_open_region_returns(api: Api, tmp_path: Path) -> None:
    computed, result = run_unit(api, tmp_path)
    returned = open_berlin(api)
    assert isinstance(computed, xr.DataArray)
    assert isinstance(computed.data, da.Array)
    assert computed.chunks == returned.chunks
    xr.testing.assert_identical(computed, returned.drop_vars("coverage"))
    assert returned.coverage.values.tolist() == pytest.approx([p.coverage for p in result.products], abs=1e-6)
    assert len(result.products) == returned.sizes["time"] == 2
    for product, image in zip(result.products, returned, strict=True):
        with rasterio.open(tmp_path / product.key) as written_image:
            np.testing.assert_array_equal(written_image.read(1), image.to_numpy())


def test_products_are_the_same_bytes_whoever_computes_them(api: Api, tmp_path: Path) -> None:
    """Threads, one thread, bands of 512 rows, the workers of a cluster."""
    whole, _ = run_unit(api, tmp_path / "threads")
    run_unit(api, tmp_path / "one", memory_mb=365)
    banded, _ = run_unit(api, tmp_path / "bands", memory_mb=1)
    assert whole.chunks is not None
    assert banded.chunks is not None
    assert (whole.chunks[1:], banded.chunks[1:]) == (((900,), (900,)), ((512, 388), (900,)))
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for name, memory_mb in (("cluster", 4000), ("bands of a cluster", 1)):
            _, result = run_unit(api, tmp_path / name, client, memory_mb=memory_mb)
            assert result.bytes_read > 1_000_000
            assert result.requests > 2
            assert {"read", "warp", "write"} <= result.seconds.keys()
    first = clipped(tmp_path / "threads")
    assert len(first) == 5
    for name in ("one", "bands", "cluster", "bands of a cluster"):
        assert clipped(tmp_path / name) == first, name


@pytest.mark.parametrize("place", ["two tiles", "two zones"])
@pytest.mark.parametrize("room", [0.0, 1e9])
def test_seams_of_chunks_alter_nothing_where_tiles_and_zones_meet(
    place: str, room: float, tmp_path: Path
) -> None:
    scenes = written(PLACES[place], tmp_path)
    once = Imagery(Cloud(), StepSettings()).mosaic(scenes, WIDE)
    rows, cols = WIDE.shape
    for tall, wide in ((64, cols), (192, cols), (256, 256)):
        chunks = Chunks(
            WIDE,
            tuple(min(tall, rows - top) for top in range(0, rows, tall)),
            tuple(min(wide, cols - left) for left in range(0, cols, wide)),
        )
        job = MosaicJob.new(Cloud(), StepSettings())
        shared = Shared(chunk_room=room)
        job.serve(Imagery(Cloud(), StepSettings(), shared=shared))
        (image,) = lazy_mosaics(job, [scenes], chunks).compute(scheduler="synchronous")
        job.withdraw()
        np.testing.assert_array_equal(image, once)


def test_no_block_is_fetched_twice_for_bands_where_there_is_room(tmp_path: Path) -> None:
    tile: Tile = PLACES["one tile"][0]
    scene = tile.write(tmp_path / "a.tif")
    data = Path(scene.href).read_bytes()
    chunks = Chunks(WIDE, (192, 192, 192, 124), (620,))
    fetched = {}
    for room in (0.0, 1e9):
        server = FaultyServer({"a.tif": data})
        shared = Shared(chunk_room=room)
        imagery = Imagery(Cloud(), StepSettings(), shared=shared)
        there = [scene.model_copy(update={"href": f"{server.url}/a.tif"})]
        for i in range(4):
            imagery.mosaic(there, chunks.part(i, 0), chunks)
        spans = [header["Range"].removeprefix("bytes=").split("-") for header in server.headers]
        tiff = parse_geotiff(data)
        fetched[room] = max(
            sum(
                int(first) <= offset and offset + size <= int(last) + 1 for first, last in spans if int(first)
            )
            for offset, size in zip(tiff.offsets.flat, tiff.sizes.flat, strict=True)
        )
        assert shared.held == 0, "the last chunk takes a block away"
        server.close()
    assert fetched[0.0] > 1
    assert fetched[1e9] == 1


def test_open_region_leaves_out_what_a_run_leaves_out(api: Api, tmp_path: Path) -> None:
    for item, cloudy in zip(api.items, (9, 4), strict=True):
        item["assets"]["scl"] = {"href": classification(tmp_path / f"scl{cloudy}.tif", west=4, east=cloudy)}
    for settings in (
        {"max_region_cloud": 0.1},
        {"sentinel2_min_coverage": 0.9999999},
        {"measure_cloud": True},
    ):
        _, result = run_unit(api, tmp_path / next(iter(settings)), **settings)
        array = open_berlin(api, **settings)
        assert json.loads(array.attrs["left_out"]) == [entry.model_dump() for entry in result.left_out]
        assert list(array.stem.values) == [Path(product.key).stem for product in result.products]
        if "sentinel2_min_coverage" not in settings:
            assert array.region_cloud.values[-1] == 0.0
    assert array.sizes["time"] == 2
    assert 0.2 < array.region_cloud.values[0] < 0.8


def test_without_a_threshold_nothing_is_read_before(api: Api, tmp_path: Path) -> None:
    page = tmp_path / "page.tif"
    page.write_text("<html>not an image</html>")
    api.items[0]["assets"]["nir"]["href"] = str(page)
    assert open_berlin(api, sentinel2_min_coverage=0).sizes["time"] == 2
    array = open_berlin(api)
    assert array.sizes["time"] == 1
    (entry,) = json.loads(array.attrs["left_out"])
    assert (entry["item_id"], entry["code"]) == ("S2A_33UUU_20160529_0_L2A", "unreadable")


def test_memory_is_that_of_a_chunk_and_settings_of_files_are_refused(api: Api) -> None:
    assert open_berlin(api, memory_mb=1, sentinel2_min_coverage=0).data.chunks[1] == (512, 388)
    with pytest.raises(UsageError, match="overviews = True is about files"):
        open_berlin(api, overviews=True)


_CHILD = """
import json, sys, threading
from pathlib import Path
from glacierflow.cloud import Cloud
from glacierflow.model.manifest import Manifest
from glacierflow.store import LocalStore
from glacierflow.task import process_slot
manifest = Manifest.model_validate_json(Path(sys.argv[1]).read_text())
receipt = process_slot(manifest, 0, LocalStore(Path(manifest.store)), Cloud(), stop=threading.Event())
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
modules = sorted({"xarray", "dask.array", "pandas", "distributed"} & sys.modules.keys())
# of this program alone: what getrusage tells begins with the peak of the process that started it
peak_mb = int(status["VmHWM"].split()[0]) * 1024 / 1e6
codes = [note.code for note in receipt.notes]
print(json.dumps([receipt.outcome, receipt.counts.written, modules, peak_mb, codes]))
sys.stdout.flush()
"""


def child(manifest: Any, folder: Path) -> Any:
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    command = [sys.executable, "-c", _CHILD, str(folder / "manifest.json")]
    done = subprocess.run(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def nothing() -> Iterator[Api]:
    empty = Api()
    yield empty
    empty.server.shutdown()
    empty.server.server_close()


def test_xarray_and_dask_are_imported_only_where_something_is_made(
    api: Api, nothing: Api, tmp_path: Path
) -> None:
    # the bare package dask, without arrays, comes with odc-geo
    assert child(make_manifest(nothing, tmp_path / "out"), tmp_path)[:3] == ["no_data", 0, []]
    made = child(make_manifest(api, tmp_path / "out"), tmp_path)
    assert made[:3] == ["done", 2, ["dask.array", "pandas", "xarray"]]
    assert child(make_manifest(api, tmp_path / "out"), tmp_path)[:3] == ["done", 0, []]


SIDE = 4800
"""Pixels: a whole image and its source's window take about 140 MB, a band with its borders about 50."""


def of_a_large_region(api: Api, folder: Path, memory_mb: int) -> Any:
    """A manifest of one image of a square around Berlin, inside a tile of 7,000 pixels."""
    small, half = real_region(REGION), 5 * SIDE
    x, y = (small.xmin + small.xmax) / 2, (small.ymin + small.ymax) / 2
    bounds = (x - half, y - half, x + half, y + half)
    east, north = to_utm(32633).transform(x, y)
    noise = np.random.default_rng(0).integers(5000, 5200, (500, 500), np.uint16)
    corner = Affine(10, 0, round(east, -1) - 35_000, 0, -10, round(north, -1) + 35_000)
    path = folder / "tile.tif"
    if not path.exists():
        Tile(np.tile(noise, (14, 14)), corner, 32633).write(path, 512)
    del api.items[1:]
    api.items[0]["assets"]["nir"]["href"] = str(path)
    manifest = make_manifest(api, folder / str(memory_mb), memory_mb=memory_mb, quicklooks=False)
    return manifest.model_copy(update={"regions": {REGION: make_region(REGION, small.mgrs_tiles, bounds)}})


def test_a_child_with_200_mb_never_holds_a_whole_image(api: Api, tmp_path: Path) -> None:
    """Peaks of whole processes, as the kernel counted them, above that of one with a small image."""
    whole = child(of_a_large_region(api, tmp_path, 4000), tmp_path)
    bands = child(of_a_large_region(api, tmp_path, 200), tmp_path)
    api.items[0] = local_items("sentinel2")[0]
    floor = child(make_manifest(api, tmp_path / "small", quicklooks=False), tmp_path)
    for made, codes in ((whole, []), (bands, ["memory_short"]), (floor, [])):
        assert (made[0], made[1], made[4]) == ("done", 1, codes)
    assert bands[3] - floor[3] < least_mb((SIDE, SIDE), BLOCK) - peak_mb(0, 1) < 60
    assert whole[3] - floor[3] > 80, "what a band is held to would not be noticed"
