from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rio_cogeo.cogeo import cog_info, cog_validate
from samples import make_region

from glacierflow.imagery.geotiff import parse_geotiff
from glacierflow.imagery.grid import geobox_of, valid_share
from glacierflow.products.cog import HEAD_BYTES, CogFile, file_sha256, read_header, write_cog
from glacierflow.step.sidecars import Overview, quicklook_png, square_sums


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


@pytest.mark.parametrize("shape", [(900, 900), (512, 1024), (40, 30), (513, 511), (1500, 700)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_our_blocks_are_in_the_file_that_gdal_would_have_made(
    tmp_path: Path, shape: tuple[int, int], dtype: Any
) -> None:
    """All tags, the layout GDAL promises to readers, and the pixels, against the COG driver's own file."""
    rows, cols = shape
    region = make_region(bounds=(3525300, -2236200, 3525300 + 10 * cols, -2236200 + 10 * rows))
    geobox = geobox_of(region, "sentinel2")
    image = np.random.default_rng(2).integers(0, 250, shape).astype(dtype)
    tags = {"A": "b", "ODD": "x" * 4999, "TIFFTAG_DATETIME": "2024:07:01 10:00:00", "TIFFTAG_SOFTWARE": "us"}
    write_cog(tmp_path / "ours.tif", image, geobox, tags)
    profile = {"count": 1, "dtype": dtype, "height": rows, "width": cols, "nodata": 0, "crs": "EPSG:3413"}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", transform=geobox.affine, **profile) as target:
            target.write(image, 1)
            target.update_tags(**tags)
        options = {"COMPRESS": "DEFLATE", "LEVEL": "1", "PREDICTOR": "STANDARD", "BLOCKSIZE": "512"}
        copy(memory.name, tmp_path / "gdals.tif", driver="COG", OVERVIEWS="NONE", **options)
    assert cog_validate(tmp_path / "ours.tif", quiet=True)[0]
    with rasterio.open(tmp_path / "ours.tif") as ours, rasterio.open(tmp_path / "gdals.tif") as gdals:
        assert ours.profile == gdals.profile
        assert ours.tags() == gdals.tags()
        for space in ("IMAGE_STRUCTURE", "TIFF"):
            assert ours.tags(ns=space) == gdals.tags(ns=space)
        np.testing.assert_array_equal(ours.read(1), image)
        np.testing.assert_array_equal(gdals.read(1), image)
    data = (tmp_path / "ours.tif").read_bytes()
    tiff = parse_geotiff(data)
    for offset, size in zip(tiff.offsets.ravel().tolist(), tiff.sizes.ravel().tolist(), strict=True):
        assert int.from_bytes(data[offset - 4 : offset], "little") == size
        assert data[offset + size : offset + size + 4] == data[offset + size - 4 : offset + size]


@pytest.mark.parametrize("overviews", [False, True])
@pytest.mark.parametrize("rows", [512, 1024, 1500])
def test_in_bands_and_with_tags_that_come_last_the_file_is_the_same(
    tmp_path: Path, rows: int, overviews: bool
) -> None:
    region = make_region(bounds=(3525300, -2236200, 3525300 + 7000, -2236200 + 15000))
    geobox = geobox_of(region, "sentinel2")
    image = np.random.default_rng(2).integers(0, 250, geobox.shape).astype(np.uint16)
    write_cog(tmp_path / "whole.tif", image, geobox, {"SHARE": "0.9876"}, overviews=overviews)
    banded = CogFile(tmp_path / "a.tif", geobox, np.uint16, {"SHARE": "0.0000"}, overviews=overviews)
    with banded as file:
        for top in range(0, 1500, rows):
            file.add(image[top : top + rows])
        file.finish({"SHARE": "0.9876"})
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "whole.tif"}


def test_a_file_that_lacks_rows_or_whose_tags_grew_is_refused(tmp_path: Path) -> None:
    geobox = geobox_of(make_region(), "sentinel2")
    image = np.ones(geobox.shape, np.uint16)
    for rows, tags in ((512, {"A": "b"}), (900, {"A": "b" * 100})):
        with CogFile(tmp_path / "a.tif", geobox, np.uint16, {"A": "c"}) as file:
            file.add(image[:rows])
            with pytest.raises(ValueError, match="rows"):
                file.finish(tags)


def test_overviews_on_request(tmp_path: Path) -> None:
    region = make_region(bounds=(3525300, -2236200, 3537300, -2224200))
    image = np.full((1200, 1200), 700, np.uint16)
    image[:, :600] = 0
    write_cog(tmp_path / "a.tif", image, geobox_of(region, "sentinel2"), {"A": "b"}, overviews=True)
    assert cog_validate(tmp_path / "a.tif", strict=True)[0]
    with rasterio.open(tmp_path / "a.tif") as product:
        assert product.overviews(1)
        np.testing.assert_array_equal(product.read(1), image)
        # nodata does not darken what is beside it
        assert set(np.unique(product.read(1, out_shape=(600, 600)))) == {0, 700}


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


@pytest.mark.parametrize("rows", [64, 512, 700])
def test_a_quicklook_is_the_same_from_bands(rows: int) -> None:
    image = np.random.default_rng(1).integers(0, 60_000, (1700, 900)).astype(np.uint16)
    image[300:800, :400] = 0
    small = Overview(image.shape)
    assert small.step == 4
    for top in range(0, 1700, rows):
        small.add(square_sums(image[top : top + rows], top, small.step))
    assert small.png() == quicklook_png(image)
    # by hand: means of 16 values that are uniform to 60,000, where they are valid
    low, high = small.stretch()
    assert 15_000 < low < 26_000
    assert 34_000 < high < 45_000


def test_a_quicklook_of_nothing_is_still_a_picture() -> None:
    assert quicklook_png(np.zeros((10, 10), np.uint16)).startswith(b"\x89PNG")


def test_valid_share() -> None:
    assert valid_share(np.array([[0, 1], [2, 3]], np.uint16)) == 0.75
