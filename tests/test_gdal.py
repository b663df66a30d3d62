"""Images that only GDAL reads: no damaged block and no mixture of two files becomes a pixel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from exact import Tile, assert_exact, exact
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from test_exact import PLACES, WIDE

from glacierflow.cloud import Cloud
from glacierflow.errors import DataError
from glacierflow.imagery import gdal
from glacierflow.imagery.geotiff import Unsupported, parse_geotiff
from glacierflow.imagery.mosaic import Imagery
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
