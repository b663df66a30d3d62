"""Headers against what rasterio reads from the same file."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from samples import real_archive

from glacierflow.imagery.geotiff import GeoTiff, NotTiff, TooLarge, Truncated, Unsupported, parse_geotiff


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
