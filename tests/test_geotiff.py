"""Headers against what rasterio reads from the same file."""

from __future__ import annotations

import contextlib
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from made_scenes import sentinel2_item
from samples import real_archive

from glacierflow.cloud import Cloud
from glacierflow.imagery.blocks import open_source
from glacierflow.imagery.geotiff import GeoTiff, NotTiff, TooLarge, Truncated, Unsupported, parse_geotiff
from glacierflow.imagery.ranges import Ranges
from glacierflow.model.records import Scene, StepSettings
from glacierflow.search.items import parse_item


def write(path: Path, **profile: Any) -> Path:
    wanted = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "height": 300,
        "width": 420,
        "crs": "EPSG:32622",
        "transform": Affine(10, 0, 399960, 0, -10, 7800000),
        "nodata": 0,
        "compress": "deflate",
        "predictor": 2,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 64,
    } | profile
    data = np.arange(300 * 420).reshape(300, 420) % 200 + 1
    with rasterio.open(
        path, "w", **{key: value for key, value in wanted.items() if value is not None}
    ) as out:
        for band in range(1, out.count + 1):
            out.write(data.astype(out.dtypes[0]), band)
    return path


def assert_same(path: Path) -> GeoTiff:
    ours = parse_geotiff(path.read_bytes())
    with rasterio.open(path) as source:
        assert ours.shape == source.shape
        assert ours.dtype.newbyteorder("=") == np.dtype(source.dtypes[0])
        assert ours.block == source.block_shapes[0]
        assert ours.transform.almost_equals(source.transform, 1e-9)
        assert ours.epsg == source.crs.to_epsg()
        assert ours.nodata == source.nodata
        rows, cols = ours.sizes.shape
        for i, j in itertools.product(range(rows), range(cols)):
            size, offset = (
                source.get_tag_item(f"BLOCK_{what}_{j}_{i}", "TIFF", bidx=1) for what in ("SIZE", "OFFSET")
            )
            assert int(size or 0) == ours.sizes[i, j]
            assert not size or int(offset) == ours.offsets[i, j]
    return ours


@pytest.mark.parametrize("name", ["*/*/*_B8.TIF", "*/*/B08.tif"])
def test_real_files(name: str) -> None:
    paths = sorted(real_archive().glob(name))
    assert len(paths) == 2
    for path in paths:
        assert assert_same(path).deflated


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"dtype": "uint8", "predictor": 1, "nodata": 7},
        {"compress": None, "predictor": None, "nodata": None},
        {"tiled": None, "blockxsize": None, "blockysize": 16},
        {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
        {"SPARSE_OK": "TRUE", "blockxsize": 512, "blockysize": 512},
        {"transform": Affine(9, 2, 399960, 2, -9, 7800000)},
        {"crs": "EPSG:3413"},
    ],
)
def test_every_kind_that_is_read_here(tmp_path: Path, profile: dict[str, Any]) -> None:
    assert_same(write(tmp_path / "a.tif", **profile))


def test_pixel_is_point_moves_the_corner_by_half_a_pixel(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as image:
        image.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(path) as image:
        assert image.tags()["AREA_OR_POINT"] == "Point"
    assert_same(path)


@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "lzw"},
        {"compress": "zstd"},
        {"count": 2},
        {"dtype": "float32", "predictor": 3},
        {"dtype": "int16"},
        {"crs": None},
        {"crs": "+proj=tmerc +lat_0=1 +lon_0=3 +datum=WGS84"},
    ],
)
def test_other_kinds_are_left_to_gdal(tmp_path: Path, profile: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        parse_geotiff(write(tmp_path / "a.tif", **profile).read_bytes())


@pytest.mark.parametrize("profile", [{}, {"BIGTIFF": "YES"}])
def test_a_cut_header_says_how_much_it_needs(tmp_path: Path, profile: dict[str, Any]) -> None:
    path = write(tmp_path / "a.tif", **profile)
    whole, length = path.read_bytes(), 16
    while True:
        try:
            parse_geotiff(whole[:length])
        except Truncated as error:
            needed = error.needed
        else:
            break
        assert length < needed <= len(whole)
        length = needed
    assert 16 < length < 4096


@pytest.mark.parametrize(
    "head", [b"", b"<html></html>", b"II*\0", b"II\x07\0" + bytes(40), b"PK" + bytes(60)]
)
def test_what_is_no_tiff(head: bytes) -> None:
    with pytest.raises(NotTiff):
        parse_geotiff(head)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("head") / "a.tif").read_bytes()[:1000]


@given(at=st.integers(0, 999), value=st.integers(0, 255))
def test_a_damaged_header_never_ends_in_another_error(head: bytes, at: int, value: int) -> None:
    damaged = bytearray(head)
    damaged[at] = value
    with contextlib.suppress(NotTiff, TooLarge, Truncated, Unsupported):
        parse_geotiff(bytes(damaged))


def patched(path: Path, damaged: int, **fields: int) -> bytes:
    """The file with another number, type or place of a tag's values, or another tag in its place."""
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    places = [start + 2 + 12 * number for number in range(count)]
    at = next(at for at in places if struct.unpack_from("<H", data, at) == (damaged,))
    entry = dict(zip(("tag", "kind", "number", "value"), struct.unpack_from("<HHII", data, at), strict=True))
    data[at : at + 12] = struct.pack("<HHII", *(entry | fields).values())
    return bytes(data)


@pytest.mark.parametrize(
    ("tag", "fields"),
    [
        (33922, {"number": 0}),  # no tie point
        (33550, {"number": 1}),  # half a pixel size
        (284, {"value": 12033}),  # planes in an order that there is not
        (317, {"tag": 387}),  # a predictor that would be overlooked, were the order of tags not looked at
    ],
)
def test_a_tag_that_was_damaged_is_never_overlooked(tmp_path: Path, tag: int, fields: dict[str, int]) -> None:
    with pytest.raises(Unsupported):
        parse_geotiff(patched(write(tmp_path / "a.tif"), tag, **fields))


def test_rows_go_south_whatever_the_sign_of_the_pixels_height(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    data = bytearray(path.read_bytes())
    (scale,) = struct.unpack_from(
        "<I", patched(path, 33550), data.index(struct.pack("<HHI", 33550, 12, 3)) + 8
    )
    (height,) = struct.unpack_from("<d", data, scale + 8)
    struct.pack_into("<d", data, scale + 8, -height)
    path.write_bytes(data)
    assert assert_same(path).transform.e == -height


def test_a_further_directory_beyond_the_file_leaves_it_to_gdal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", BIGTIFF="YES")
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<Q", data, 8)
    (count,) = struct.unpack_from("<Q", data, start)
    struct.pack_into("<Q", data, start + 8 + 20 * count, 0xFEFEFEFEFEFEFEFE)
    path.write_bytes(data)
    scene = parse_item(sentinel2_item(), "sentinel2")
    assert isinstance(scene, Scene)
    with pytest.raises(Unsupported, match="a directory that ends early"):
        open_source(scene.model_copy(update={"href": str(path)}), Ranges(Cloud(), StepSettings()))
