"""GeoTIFFs written whole, and read back just enough to know what made them."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.cog_blocks import write_blocks
from glacierflow.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

__all__ = [
    "HEAD_BYTES",
    "Header",
    "file_sha256",
    "read_header",
    "scratch_folder",
    "write_cog",
    "write_native_window",
]

HEAD_BYTES = 65_536
"""Bytes from the start of a product that hold its header and tags."""

_BLOCK = 512


def write_cog(
    path: Path, image: NDArray[Any], geobox: GeoBox, tags: dict[str, str], *, overviews: bool = False
) -> None:
    """Write one band as Cloud-Optimized GeoTIFF: tiled 512, DEFLATE level 1, predictor 2, nodata 0.

    Level 1 because level 6 makes these images no smaller, at three times the time.

    Args:
        path: file to write.
        image: (rows, cols) uint16 or uint8.
        geobox: the grid, same shape.
        tags: metadata of the file.
        overviews: whether the file holds smaller copies of the image, means of 2 x 2 pixels and so on, for
            software that shows it from afar; a third more bytes.
    """
    if overviews:
        path.write_bytes(_by_gdal(image, geobox, tags, overviews=True))
        return
    head = _by_gdal(np.zeros((_BLOCK, _BLOCK), image.dtype), geobox, tags)
    write_blocks(path, image, head, _BLOCK)


def _by_gdal(image: NDArray[Any], geobox: GeoBox, tags: dict[str, str], *, overviews: bool = False) -> bytes:
    """The bytes of a COG as GDAL's driver makes it."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    profile = {
        "driver": "GTiff",
        "dtype": image.dtype,
        "count": 1,
        "height": image.shape[0],
        "width": image.shape[1],
        "crs": str(geobox.crs),
        "transform": geobox.affine,
        "nodata": 0,
    }
    options = {
        "driver": "COG",
        "COMPRESS": "DEFLATE",
        "LEVEL": "1",
        "PREDICTOR": "STANDARD",
        "BLOCKSIZE": str(_BLOCK),
        "OVERVIEWS": "AUTO" if overviews else "NONE",
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "NUM_THREADS": "2",
    }
    with rasterio.Env(), MemoryFile() as memory, MemoryFile(ext=".tif") as made:
        with memory.open(**profile) as target:
            target.write(image, 1)
            target.update_tags(**tags)
        with memory.open() as source:
            copy(source, made.name, **options)
        data: bytes = made.read()
    return data


def write_native_window(path: Path, data: NDArray[Any], transform: Any, epsg: int) -> None:  # noqa: ANN401
    """Write source pixels as they were read, on their own grid."""
    import rasterio

    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype=data.dtype,
        count=1,
        height=data.shape[0],
        width=data.shape[1],
        crs=f"EPSG:{epsg}",
        transform=transform,
        nodata=0,
        compress="deflate",
        predictor=2,
        zlevel=1,
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
    ) as target:
        target.write(data, 1)


@dataclass(frozen=True, slots=True)
class Header:
    """What the start of a GeoTIFF tells."""

    tags: dict[str, str]
    bounds: tuple[float, float, float, float]
    """(xmin, ymin, xmax, ymax) in the file's own CRS."""
    shape: tuple[int, int]
    """(rows, columns)."""


def read_header(head: bytes) -> Header | None:
    """The header of a GeoTIFF from its first bytes; None where they are not those of a GeoTIFF."""
    import rasterio
    from rasterio.errors import RasterioIOError
    from rasterio.io import MemoryFile

    if not head:
        return None
    try:
        # The file is cut short on purpose: only its header is looked at.
        with rasterio.Env(CPL_LOG="OFF"), MemoryFile(head) as memory, memory.open() as source:
            return Header(dict(source.tags()), tuple(source.bounds), source.shape)
    except RasterioIOError:
        return None


def file_sha256(path: Path) -> str:
    """Checksum of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A directory for one file, gone afterwards.

    Raises:
        StoreError: the disk is full or not writable.
    """
    from rasterio.errors import RasterioError

    try:
        with tempfile.TemporaryDirectory(prefix="glacierflow-") as folder:
            yield Path(folder)
    except (OSError, RasterioError) as error:
        raise StoreError(f"an image could not be written to scratch space: {error}") from error
