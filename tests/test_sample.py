from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from samples import recorded
from shapely.geometry import box, shape

from glacierflow.errors import RegionError, StoreError, UsageError
from glacierflow.local.archive.files import load_archive
from glacierflow.local.sample import SampleSummary, frames, sample_bundle, write_sample
from glacierflow.local.sample.frames import make_pass, project
from glacierflow.model.records import Region, Satellite, Scene
from glacierflow.search.items import parse_item

FIRST, LAST = dt.date(2024, 7, 1), dt.date(2024, 7, 31)


def region(name: str, tiles: str, xmin: float, ymin: float, xmax: float, ymax: float) -> Region:
    return Region(
        name=name,
        index=0,
        mgrs_tiles=tuple(tiles.split()),
        xmin=xmin,
        ymin=ymin,
        xmax=xmax,
        ymax=ymax,
        outline=(),
    )


ARSUK = region("134_Arsuk", "22VFP", -159850, -3173900, -150850, -3164300)
NEIGHBOUR = region("beside", "22VFP", -149850, -3170900, -146850, -3167900)
# a corner of 122_upernavik_central where its tiles of zones 21 and 22 meet
TWO_ZONES = region("two_zones", "21XWB 21XWA 22XDG", -296000, -1836000, -290000, -1830000)


def items_of(directory: Path, collection: str) -> list[dict[str, Any]]:
    items = [json.loads(file.read_text()) for file in sorted(directory.glob(f"{collection}/*/*.json"))]
    return sorted(items, key=lambda item: (item["properties"]["datetime"], item["id"]))


def image_of(directory: Path, item: dict[str, Any]) -> Path:
    (asset,) = item["assets"].values()
    return Path(directory / item["collection"] / item["id"] / asset["href"])


def digests(directory: Path) -> dict[str, str]:
    files = (file for file in sorted(directory.rglob("*")) if file.is_file())
    return {str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def arsuk(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("arsuk"), [ARSUK], FIRST, LAST)


@pytest.mark.parametrize(
    ("collection", "pattern", "asset"),
    [
        ("sentinel-2-l2a", "*/**/sentinel-2-l2a", "nir"),
        ("landsat-c2l1", "stac_items/landsatlook/landsat-c2l1", "pan"),
    ],
)
def test_items_have_the_keys_of_recorded_ones(
    arsuk: SampleSummary, collection: str, pattern: str, asset: str
) -> None:
    real = [item for item in recorded(pattern) if asset in item["assets"]]
    always = set.intersection(*(set(item["properties"]) for item in real))
    ever = set.union(*(set(item["properties"]) for item in real))
    always_asset = set.intersection(*(set(item["assets"][asset]) for item in real))
    made = items_of(arsuk.directory, collection)
    assert len(made) >= 4
    for item in made:
        assert set(item) == set(real[0])
        assert always <= set(item["properties"])
        assert set(item["properties"]) - ever == {"glacierflow:sample"}
        assert always_asset == set(item["assets"][asset])
        for key in always & set(real[0]["properties"]):
            assert type(item["properties"][key]) in {type(one["properties"][key]) for one in real} | {
                float
            }, key


def parsed(directory: Path, satellite: Satellite) -> list[Scene]:
    collection = {"sentinel2": "sentinel-2-l2a", "landsat": "landsat-c2l1"}[satellite]
    scenes = [parse_item(item, satellite) for item in items_of(directory, collection)]
    for scene in scenes:
        assert isinstance(scene, Scene), scene
    return [scene for scene in scenes if isinstance(scene, Scene)]


def test_product_parses_every_item_and_sees_one_reprocessed_acquisition(arsuk: SampleSummary) -> None:
    scenes = parsed(arsuk.directory, "sentinel2")
    assert len(scenes) == arsuk.passes["sentinel2"] + 1 == 6
    doubled = [
        [scene for scene in scenes if scene.acquisition == key]
        for key in {scene.acquisition for scene in scenes}
        if sum(scene.acquisition == key for scene in scenes) > 1
    ]
    ((old, new),) = doubled
    assert (old.baseline, new.baseline) == ("05.10", "05.11")
    assert old.item_id.endswith("_0_L2A")
    assert new.item_id.endswith("_1_L2A")
    assert old.source_name != new.source_name
    assert all((scene.offset, scene.scale, scene.offset_applied) == (-0.1, 0.0001, True) for scene in scenes)
    assert all(scene.requester_pays for scene in parsed(arsuk.directory, "landsat"))


def test_archive_mounts_landsat_at_its_s3_keys(arsuk: SampleSummary) -> None:
    archive = load_archive(arsuk.directory, "http://x")
    assert archive.problems == ()
    assert len(archive.items) == arsuk.items == arsuk.written == 10
    assert {bucket for bucket, _, _ in archive.mounts} == {"usgs-landsat"}
    assert len(archive.mounts) == arsuk.passes["landsat"] == 4


def test_images_are_full_size_sparse_and_lie_where_the_item_says(arsuk: SampleSummary) -> None:
    for collection, block, size in (("sentinel-2-l2a", 1024, 10_980), ("landsat-c2l1", 256, 15_001)):
        for item in items_of(arsuk.directory, collection):
            path = image_of(arsuk.directory, item)
            assert path.stat().st_size < 2_000_000  # whole grids would be hundreds of megabytes
            (asset,) = item["assets"].values()
            with rasterio.open(path) as image:
                assert image.shape == tuple(asset["proj:shape"]) == (size, size)
                assert list(image.transform)[:6] == asset["proj:transform"]
                assert image.crs.to_epsg() == item["properties"]["proj:epsg"]
                assert (image.dtypes, image.nodata) == (("uint16",), 0)
                assert image.block_shapes == [(block, block)]
                assert image.profile["compress"] == "deflate"
                assert image.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"


def on_region(path: Path, where: Region, pixel: int) -> npt.NDArray[np.float64]:
    """The image on the region's grid, exact cubic."""
    width, height = round((where.xmax - where.xmin) / pixel), round((where.ymax - where.ymin) / pixel)
    with (
        rasterio.open(path) as image,
        WarpedVRT(
            image,
            crs="EPSG:3413",
            transform=from_origin(where.xmin, where.ymax, pixel, pixel),
            width=width,
            height=height,
            resampling=rasterio.enums.Resampling.cubic,
            tolerance=5e-5,
            warp_extras={"XSCALE": 1, "YSCALE": 1},
        ) as warped,
    ):
        pixels: npt.NDArray[np.float64] = warped.read(1).astype(float)
        return pixels


def centres(where: Region, pixel: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    columns = np.arange(where.xmin + pixel / 2, where.xmax, pixel)
    rows = np.arange(where.ymax - pixel / 2, where.ymin, -pixel)
    x, y = np.meshgrid(columns, rows)
    return x, y


def test_brightness_cloud_and_swath_edge(arsuk: SampleSummary) -> None:
    x, y = centres(ARSUK, 10)
    height = frames.rock_height(x, y)
    for item in items_of(arsuk.directory, "sentinel-2-l2a"):
        pixels = on_region(image_of(arsuk.directory, item), ARSUK, 10)
        overflight = make_pass("sentinel2", dt.datetime.fromisoformat(item["properties"]["datetime"]).date())
        share = float((pixels > 0).mean())
        seen = shapely.area(project(shape(item["geometry"]), 4326, 3413).intersection(box(*ARSUK.bounds)))
        assert share == pytest.approx(seen / (ARSUK.area_km2 * 1e6), abs=0.002)
        if overflight.is_cut:
            assert 0.55 < share < 0.9
            continue
        assert share == 1
        assert (item["properties"]["eo:cloud_cover"] > 1) == overflight.is_cloudy
        if overflight.is_cloudy:
            assert (pixels > 9900).mean() > 0.02
            continue
        assert 500 < np.percentile(pixels[height > 0.05], 1) < np.percentile(pixels[height > 0.05], 99) < 2100
        assert (
            4000 < np.percentile(pixels[height < -0.05], 1) < np.percentile(pixels[height < -0.05], 99) < 9500
        )


def test_tiles_of_two_zones_share_a_datatake_and_see_the_same_ground(tmp_path: Path) -> None:
    day = dt.date(2024, 7, 16)
    write_sample(tmp_path, [TWO_ZONES], day, day, satellites=["sentinel2"])
    scenes = [scene for scene in parsed(tmp_path, "sentinel2") if scene.baseline == "05.10"]
    assert {scene.epsg for scene in scenes} == {32621, 32622}
    assert len({scene.acquisition for scene in scenes}) == 1
    assert len({scene.datetime for scene in scenes}) == len(scenes)
    assert max(scene.datetime for scene in scenes) - min(scene.datetime for scene in scenes) < dt.timedelta(
        seconds=60
    )
    items = {item["id"]: item for item in items_of(tmp_path, "sentinel-2-l2a")}
    by_zone: dict[int, npt.NDArray[np.float64]] = {}
    for scene in scenes:
        pixels = on_region(image_of(tmp_path, items[scene.item_id]), TWO_ZONES, 10)
        assert scene.epsg is not None
        by_zone[scene.epsg] = np.maximum(pixels, by_zone.get(scene.epsg, np.zeros_like(pixels)))
    both = (by_zone[32621] > 0) & (by_zone[32622] > 0)
    assert both.mean() > 0.05
    x, y = centres(TWO_ZONES, 10)
    plain = both & (np.abs(frames.rock_height(x, y)) > 0.05)
    difference = (by_zone[32621] - by_zone[32622])[plain]
    # two grids sample the same continuous ground; half a pixel of shift would give some hundred DN
    assert float(np.sqrt((difference**2).mean())) < 60


def test_second_call_writes_nothing_and_another_directory_gets_the_same_bytes(
    arsuk: SampleSummary, tmp_path: Path
) -> None:
    before = digests(arsuk.directory)
    again = write_sample(arsuk.directory, [ARSUK], FIRST, LAST)
    assert (again.items, again.written, again.bytes) == (arsuk.items, 0, arsuk.bytes)
    seen: list[tuple[int, int]] = []
    elsewhere = write_sample(
        tmp_path, [ARSUK], FIRST, LAST, on_progress=lambda done, of: seen.append((done, of))
    )
    assert digests(elsewhere.directory) == digests(arsuk.directory) == before
    assert seen == [(done, 10) for done in range(1, 11)]


def test_region_added_later_shares_the_tile_and_nothing_is_lost(tmp_path: Path) -> None:
    day = dt.date(2024, 7, 23)
    write_sample(tmp_path / "a", [ARSUK], day, day, satellites=["sentinel2"])
    added = write_sample(tmp_path / "a", [NEIGHBOUR], day, day, satellites=["sentinel2"])
    assert (added.items, added.written) == (1, 1)
    (item,) = items_of(tmp_path / "a", "sentinel-2-l2a")
    for one in (ARSUK, NEIGHBOUR):
        assert (on_region(image_of(tmp_path / "a", item), one, 10) > 0).all()
    write_sample(tmp_path / "b", [NEIGHBOUR, ARSUK], day, day, satellites=["sentinel2"])
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert write_sample(tmp_path / "a", [ARSUK], day, day, satellites=["sentinel2"]).written == 0
    seen = project(shape(item["geometry"]), 4326, 3413)
    assert shapely.area(box(*NEIGHBOUR.bounds).difference(seen)) < 1000


def test_lost_image_and_broken_item_are_written_anew(tmp_path: Path) -> None:
    day = dt.date(2024, 7, 23)
    write_sample(tmp_path, [NEIGHBOUR], day, day, satellites=["sentinel2"])
    before = digests(tmp_path)
    (item,) = items_of(tmp_path, "sentinel-2-l2a")
    image_of(tmp_path, item).unlink()
    assert write_sample(tmp_path, [NEIGHBOUR], day, day, satellites=["sentinel2"]).written == 1
    assert digests(tmp_path) == before
    next(tmp_path.rglob("*.json")).write_text("{")
    assert write_sample(tmp_path, [NEIGHBOUR], day, day, satellites=["sentinel2"]).written == 1
    assert digests(tmp_path) == before


def test_bundle_is_kept_under_home(tmp_path: Path) -> None:
    day = dt.date(2024, 7, 19)
    directory = sample_bundle(tmp_path, [NEIGHBOUR], day, day, ["landsat"])
    assert directory.is_relative_to(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in directory.rglob("*.TIF")}
    assert len(before) == 1
    assert sample_bundle(tmp_path, [NEIGHBOUR], day, day, ["landsat"]) == directory
    assert {file: file.stat().st_mtime_ns for file in directory.rglob("*.TIF")} == before


def test_bad_requests_write_nothing(tmp_path: Path) -> None:
    target = tmp_path / "archive"
    with pytest.raises(UsageError, match="date2 2024-07-01 lies before date1 2024-07-31"):
        write_sample(target, [ARSUK], LAST, FIRST)
    with pytest.raises(UsageError, match="at least one region"):
        write_sample(target, [], FIRST, LAST)
    assert not target.exists()
    with pytest.raises(RegionError, match="22VIP is not the name"):
        write_sample(target, [region("x", "22VIP", 0, 0, 1, 1)], FIRST, LAST)
    assert [file for file in target.rglob("*") if file.suffix] == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        write_sample(tmp_path / "file", [ARSUK], FIRST, LAST)


def test_region_that_only_touches_the_end_of_a_chunk_is_drawn_whole(tmp_path: Path) -> None:
    """The part of 049_jakobshavn that reaches just the last lattice nodes of one chunk."""
    part = region("part", "22WEB", -197580, -2259350, -194580, -2256350)
    day = dt.date(2024, 7, 2)
    write_sample(tmp_path, [part], day, day, satellites=("sentinel2",))
    item = items_of(tmp_path, "sentinel-2-l2a")[0]
    assert (on_region(image_of(tmp_path, item), part, 10) > 0).all()
