from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_info, cog_validate
from samples import make_region

from glacierflow.cog import HEAD_BYTES, file_sha256, read_header, write_cog
from glacierflow.grid import geobox_of
from glacierflow.mosaic import valid_share
from glacierflow.quicklook import quicklook_png


def write(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    geobox = geobox_of(make_region(), "sentinel2")
    image = np.random.default_rng(2).integers(0, 9000, geobox.shape).astype(np.uint16)
    write_cog(path, image, geobox, {"A": "b", "LONG": "x" * 5000})
    return image


def test_a_product_is_a_valid_cog_with_the_contracts_profile(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif")
    valid, errors, _ = cog_validate(tmp_path / "a.tif")
    assert valid, errors
    info = cog_info(tmp_path / "a.tif")
    assert info.Compression == "DEFLATE"
    with rasterio.open(tmp_path / "a.tif") as product:
        np.testing.assert_array_equal(product.read(1), image)
        assert product.crs.to_epsg() == 3413
        assert (product.count, product.dtypes[0], product.nodata) == (1, "uint16", 0)
        assert product.block_shapes == [(512, 512)]
        assert tuple(product.bounds) == make_region().bounds
        assert product.res == (10, 10)
        assert product.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert product.tags()["A"] == "b"


def test_tags_are_read_from_the_head_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    assert len(data) > HEAD_BYTES
    header = read_header(data[:HEAD_BYTES])
    assert header is not None
    assert header.tags["A"] == "b"
    assert header.bounds == make_region().bounds
    assert header.shape == (900, 900)


def test_what_is_no_geotiff_has_no_tags() -> None:
    assert read_header(b"<html></html>") is None
    assert read_header(b"") is None


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif")
    assert file_sha256(tmp_path / "a.tif") == file_sha256(tmp_path / "b.tif")


def test_a_quicklook_is_small_and_transparent_where_nothing_is() -> None:
    image = np.zeros((1500, 900), np.uint16)
    image[:, 450:] = np.linspace(1000, 9000, 1500).astype(np.uint16)[:, None]
    with (
        pytest.warns(NotGeoreferencedWarning),
        MemoryFile(quicklook_png(image)) as memory,
        memory.open(driver="PNG") as png,
    ):
        grey, alpha = png.read()
    assert max(grey.shape) <= 512
    assert set(np.unique(alpha[:, :140])) == {0}
    assert alpha[:, -10:].min() == 255
    assert grey[5, -1] < 20
    assert grey[-5, -1] > 235


def test_a_quicklook_of_nothing_is_still_a_picture() -> None:
    assert quicklook_png(np.zeros((10, 10), np.uint16)).startswith(b"\x89PNG")


def test_valid_share() -> None:
    assert valid_share(np.array([[0, 1], [2, 3]], np.uint16)) == 0.75
