"""Images that only GDAL reads: no damaged block and no mixture of two files becomes a pixel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from exact import Tile, assert_exact, exact
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from test_exact import PLACES, WIDE

from glacierflow.cloud import Cloud
from glacierflow.errors import DataError
from glacierflow.imagery import gdal
from glacierflow.imagery.geotiff import Unsupported, parse_geotiff
from glacierflow.imagery.mosaic import Imagery
from glacierflow.imagery.ranges import Ranges, Version
from glacierflow.model.records import Scene, StepSettings

WHOLE = PLACES["one tile"][0]
TILE = Tile(WHOLE.data // 16 + 1, WHOLE.transform, WHOLE.epsg)
"""12 bits hold its values."""


def write(folder: Path, **profile: Any) -> Scene:
    scene = TILE.write(folder / "a.tif")
    with rasterio.open(scene.href) as source:
        wanted = source.profile | profile
    with rasterio.open(scene.href, "w", **wanted) as out:
        out.write(TILE.data, 1)
    with pytest.raises(Unsupported):
        parse_geotiff(Path(scene.href).read_bytes())
    return scene


def mosaic(scene: Scene) -> NDArray[np.uint16]:
    return Imagery(Cloud(), StepSettings()).mosaic([scene], WIDE)


@pytest.mark.parametrize(
    "profile", [{"nbits": 12, "predictor": 1}, {"compress": "lzw"}, {"compress": "zstd"}]
)
def test_other_kinds_give_the_same_pixels(tmp_path: Path, profile: dict[str, Any]) -> None:
    assert_exact(mosaic(write(tmp_path, **profile)), exact(TILE, WIDE))


def test_no_flipped_byte_in_a_deflate_block_becomes_a_pixel(tmp_path: Path) -> None:
    scene = write(tmp_path, nbits=12, predictor=1)
    path = Path(scene.href)
    with rasterio.open(path) as source:
        offset, size = (
            int(source.get_tag_item(f"BLOCK_{name}_2_2", "TIFF", bidx=1)) for name in ("OFFSET", "SIZE")
        )
        right = source.read(1)
    content = path.read_bytes()
    unseen = 0
    for place in range(20, size, size // 12):
        at = offset + place
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(DataError, match=r"a\.tif could not be read"):
            mosaic(scene)
        try:
            with rasterio.open(path) as source:
                unseen += bool((source.read(1) != right).any())
        except RasterioIOError:
            continue
    assert unseen, "GDAL alone lets some of them pass"


def test_a_file_that_changes_while_gdal_reads_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write(tmp_path, compress="lzw")
    reads, blocks_of = [], gdal.block_places

    def replaced(*arguments: Any) -> list[tuple[int, int]]:
        reads.append(1)
        if len(reads) <= changes:
            os.utime(scene.href, ns=(len(reads), len(reads)))
        return blocks_of(*arguments)

    monkeypatch.setattr(gdal, "block_places", replaced)
    changes = 1
    assert_exact(mosaic(scene), exact(TILE, WIDE))
    assert len(reads) == 2
    changes = 9
    with pytest.raises(DataError, match="it changed on the server while it was read"):
        mosaic(scene)


def test_a_mask_of_the_files_own_hides_its_pixels(tmp_path: Path) -> None:
    """Both in an image that is read here, and in one that GDAL reads anyway."""
    hidden = np.zeros(TILE.data.shape, bool)
    hidden[400:700, 300:900] = True
    shown = Tile(np.where(hidden, 0, TILE.data).astype(np.uint16), TILE.transform, TILE.epsg)
    for compress in ("deflate", "lzw"):
        scene = TILE.write(tmp_path / "a.tif")
        with rasterio.open(scene.href) as source:
            wanted = source.profile | {"compress": compress}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(scene.href, "w", **wanted) as out:
            out.write(TILE.data, 1)
            out.write_mask(~hidden)
        assert_exact(mosaic(scene), exact(shown, WIDE))


def test_an_alpha_band_and_a_foreign_scale_are_refused(tmp_path: Path) -> None:
    scene = TILE.write(tmp_path / "a.tif")
    with rasterio.open(scene.href, "r+") as image:
        # as the archive's own files may say
        image.scales, image.offsets = (0.0001,), (-0.1,)
        profile = image.profile
    assert_exact(mosaic(scene), exact(TILE, WIDE))
    for compress in ("deflate", "lzw"):
        with rasterio.open(scene.href, "w", **profile | {"compress": compress}) as out:
            out.write(TILE.data, 1)
            out.scales, out.offsets = (2.0,), (10.0,)
        with pytest.raises(DataError, match=r"its tags say scale 2.0, offset 10.0"):
            mosaic(scene)
    with rasterio.open(scene.href, "w", **profile | {"count": 2, "alpha": "YES"}) as out:
        out.write(np.stack([TILE.data, TILE.data]))
    with pytest.raises(DataError, match=r"has 2 band\(s\)"):
        mosaic(scene)


def test_gdal_reads_nothing_but_the_bytes_of_a_geotiff(tmp_path: Path) -> None:
    """A server that shows us the header of a TIFF, and then a virtual raster that names another file."""
    secret = TILE.write(tmp_path / "secret.tif")
    virtual = tmp_path / "a.vrt"
    with rasterio.open(secret.href) as source:
        rasterio.shutil.copy(source, virtual, driver="VRT")
    text = virtual.read_bytes()
    with rasterio.open(virtual) as image:
        assert (image.read(1) == TILE.data).all(), "GDAL alone would follow it"

    class Liar(Ranges):
        def fetch(self, href: str, first: int, length: int, **more: Any) -> Any:
            data, version = super().fetch(href, first, length, **more)
            shown = data if length <= 16 else text[first : first + length]
            return shown, Version(len(text), version.etag)

    scene = write(tmp_path, compress="lzw")
    with pytest.raises(DataError, match="could not be read"):
        gdal.read_window(scene, WIDE, Liar(Cloud(), StepSettings()))


@pytest.mark.parametrize("compress", ["lzw", "deflate"])
def test_a_block_of_60000_pixels_a_side_is_refused(tmp_path: Path, compress: str) -> None:
    scene = TILE.write(tmp_path / "a.tif")
    with rasterio.open(
        scene.href, "w", driver="GTiff", width=60_000, height=60_000, count=1, dtype="uint16", tiled=True,
        blockxsize=60_000, blockysize=60_000, compress=compress, sparse_ok=True, bigtiff="yes",
        crs=f"EPSG:{TILE.epsg}", transform=TILE.transform,
    ):  # fmt: skip
        pass
    with pytest.raises(DataError, match="60000 x 60000 pixels are too large"):
        mosaic(scene)


@pytest.mark.parametrize("compress", ["lzw", "deflate"])
def test_pixels_far_finer_than_the_images_are_refused(tmp_path: Path, compress: str) -> None:
    scene = TILE.write(tmp_path / "a.tif")
    with rasterio.open(scene.href) as source:
        finer = {"transform": TILE.transform * Affine.scale(0.01), "width": 140_000, "height": 150_000}
        profile = source.profile | finer | {"compress": compress, "sparse_ok": True}
    with rasterio.open(scene.href, "w", **profile):
        pass
    with pytest.raises(DataError, match="far finer than a source's can be"):
        mosaic(scene)
