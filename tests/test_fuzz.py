"""Headers and items changed by chance: an error of ours or the right values, in bounded memory.

The truth of a changed image is what GDAL reads of it, where GDAL reads it.
"""

from __future__ import annotations

import copy
import json
import random
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from made_scenes import landsat_item, sentinel2_item
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow
from samples import make_region

from glacierflow import net
from glacierflow.cloud import Cloud
from glacierflow.errors import DataError
from glacierflow.imagery.blocks import open_source, read_blocks
from glacierflow.imagery.geotiff import Unsupported
from glacierflow.imagery.grid import Window
from glacierflow.imagery.ranges import Ranges
from glacierflow.model.records import LeftOut, Satellite, Scene, StepSettings
from glacierflow.products.lineage import query_results, source_of
from glacierflow.search.acquisitions import group_scenes
from glacierflow.search.footprints import overlap_share
from glacierflow.search.items import parse_item, processed_at, strip_began, view_of, zero_dn

FEW, MANY = 300, 10_000
COUNTS = [FEW, pytest.param(MANY, marks=pytest.mark.rehearsal)]
MOST_BYTES = 300e6
SIDE = 200


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Tiles and strips, both byte orders, classic and BigTIFF, with smaller copies."""
    data = np.random.default_rng(7).integers(1, 9000, (SIDE, SIDE), np.uint16)
    kinds: list[dict[str, Any]] = [
        {"tiled": True, "blockxsize": 64, "blockysize": 64},
        {"tiled": True, "blockxsize": 64, "blockysize": 64, "BIGTIFF": "YES", "ENDIANNESS": "BIG"},
        {"blockysize": 16, "nodata": 7},
    ]
    contents = []
    for number, kind in enumerate(kinds):
        path = tmp_path_factory.mktemp("images") / f"{number}.tif"
        profile = {
            "driver": "GTiff",
            "width": SIDE,
            "height": SIDE,
            "count": 1,
            "dtype": "uint16",
            "nodata": 0,
        }
        where = {"crs": "EPSG:32622", "transform": Affine(10, 0, 499980, 0, -10, 7700040)}
        with rasterio.open(
            path, "w", **profile | where | {"compress": "deflate", "predictor": 2} | kind
        ) as out:
            out.write(data, 1)
            out.build_overviews([2])
        contents.append(path.read_bytes())
    return contents


def changed(content: bytes, chance: random.Random) -> bytes:
    """Some bytes of the header, a field of a tag, or the end."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at = chance.randrange(chance.choice([16, 400, 400, len(data)]))
        kind = chance.randrange(4)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice([0, 1, 127, 255])
        elif kind == 2:
            number = chance.choice([0, 1, 60_000, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF, chance.getrandbits(32)])
            data[at : at + 4] = struct.pack("<I", number)
        else:
            del data[len(data) - chance.randrange(1, len(data)) :]
            break
    return bytes(data)


def ours(path: Path, scene: Scene, pool: ThreadPoolExecutor) -> tuple[Any, NDArray[np.uint16]]:
    """The grid, and the first pixels."""
    ranges = Ranges(Cloud(), StepSettings())
    source = open_source(scene.model_copy(update={"href": str(path)}), ranges)
    tiff = source.tiff
    window = Window(0, 0, min(SIDE, tiff.shape[0]), min(SIDE, tiff.shape[1]))
    needed = np.zeros(tiff.sizes.shape, bool)
    needed[: -(-window.rows // tiff.block[0]), : -(-window.cols // tiff.block[1])] = True
    pixels = read_blocks(source, window, needed, ranges, pool)
    return (tiff.shape, tiff.transform, tiff.epsg), pixels


def gdals(path: Path) -> tuple[Any, NDArray[np.uint16]] | None:
    try:
        with rasterio.open(path, driver="GTiff") as source:
            grid = source.shape, source.transform, source.crs.to_epsg() if source.crs else None
            window = RasterioWindow(0, 0, min(SIDE, source.width), min(SIDE, source.height))
            data = source.read(1, window=window)
            if source.nodata is not None:
                data[data == source.nodata] = 0
            return grid, data
    except (RasterioError, ValueError, OverflowError, MemoryError):
        return None


@pytest.mark.parametrize("count", COUNTS)
def test_a_changed_image_is_an_error_or_what_gdal_reads(
    images: list[bytes], tmp_path: Path, count: int
) -> None:
    chance, path = random.Random(12), tmp_path / "a.tif"  # noqa: S311
    scene = parse_item(sentinel2_item(), "sentinel2")
    assert isinstance(scene, Scene)
    read = refused = 0
    tracemalloc.start()
    with ThreadPoolExecutor(1) as pool:
        for number in range(count):
            content = images[number % len(images)]
            path.write_bytes(changed(content, chance))
            try:
                grid, pixels = ours(path, scene, pool)
            except (DataError, Unsupported):
                refused += 1
                continue
            truth = gdals(path)
            if truth is None:
                # what GDAL refuses is nothing that a pixel is made from
                path.write_bytes(content)
                truth = gdals(path)
                assert truth is not None
            assert grid[0] == truth[0][0], number
            np.testing.assert_array_equal(pixels, truth[1], str(number))
            np.testing.assert_allclose(grid[1], truth[0][1], err_msg=str(number))
            read += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert min(read, refused) > count // 20
    assert peak < MOST_BYTES


ODD: list[Any] = [
    None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**30, "", "x" * 5000, "\0", "2024-13-45", "../../a",
    [], [[]], {}, {"a": 1}, [None], "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "s3://", "http://[",
]  # fmt: skip


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [place for key in keys for place in ((value, key), *places_in(value[key]))]


def changed_item(item: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """With some fields gone, odd, or in each other's place."""
    item = copy.deepcopy(item)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        places = places_in(item)
        if not places:
            break
        container, key = chance.choice(places)
        kind = chance.randrange(4)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container[key], str) and container[key]:
            text = list(container[key])
            text[chance.randrange(len(text))] = chr(chance.choice([0, 47, 48, 57, 65, 0x661, 0x1F600]))
            container[key] = "".join(text)
        elif kind == 2:
            other, its = chance.choice(places)
            container[key] = (
                copy.deepcopy(other[its])
                if its in (other if isinstance(other, dict) else range(len(other)))
                else None
            )
        else:
            container[key] = copy.deepcopy(chance.choice(ODD))
    return item


@pytest.mark.parametrize("count", COUNTS)
def test_a_changed_item_is_a_scene_or_left_out(count: int) -> None:
    chance, region = random.Random(9), make_region()  # noqa: S311
    kinds: list[tuple[Satellite, dict[str, Any]]] = [
        ("sentinel2", sentinel2_item()),
        ("landsat", landsat_item()),
    ]
    scenes = 0
    for number in range(count):
        satellite, item = kinds[number % 2]
        text = json.dumps(changed_item(item, chance)).encode()
        if number % 5 == 0:
            data = bytearray(text)
            data[chance.randrange(len(data))] = chance.getrandbits(8)
            text = bytes(data)
        try:
            given = net.read_json(net.shallow(text))
        except ValueError:
            continue
        if not isinstance(given, dict):
            continue
        scene = parse_item(given, satellite)
        if isinstance(scene, LeftOut):
            assert scene.reason
            continue
        scenes += 1
        assert 0 <= overlap_share(scene.footprint, region) <= 1 + 1e-9
        (acquisition,) = group_scenes([scene], satellite, (scene.place,))
        json.dumps([view_of(acquisition), source_of(scene)], allow_nan=False)
        processed_at(scene), strip_began(scene), zero_dn(scene)
        if satellite == "landsat":
            query_results([scene], region)
    assert scenes > count // 4
