"""Cloud-Optimized GeoTIFFs: written whole, and read back just enough to know what made them."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import StoreError
from glacierflow.products.cog_blocks import BlockFile

if TYPE_CHECKING:
    from affine import Affine
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox


HEAD_BYTES = 65_536
"""Bytes from the start of a product that hold its header and tags."""

BLOCK = 512
"""Pixels on a side of a product's blocks."""
_GDAL_CACHE_MB = 32
"""By itself GDAL keeps up to a twentieth of the machine's memory."""


class CogFile:
    """One band as Cloud-Optimized GeoTIFF, written from top to bottom; a context, as ``BlockFile``.

    Tiled 512, nodata 0, DEFLATE level 1, predictor 2. Level 6 makes these images no smaller, at three times
    the time.
    """

    def __init__(
        self,
        path: Path,
        geobox: GeoBox,
        dtype: type[np.uint8 | np.uint16] | np.dtype[Any],
        tags: dict[str, str],
        *,
        overviews: bool = False,
    ) -> None:
        """Open the file.

        Args:
            path: file to write.
            geobox: the grid.
            dtype: uint16 or uint8.
            tags: metadata of the file; ``finish`` may give others of the same length.
            overviews: whether the file holds smaller copies of the image, means of 2 x 2 pixels and so on,
                for software that shows it from afar; a third more bytes.
        """
        self._path, self._geobox, self._dtype = path, geobox, np.dtype(dtype)
        self._tags, self._overviews = tags, overviews
        self._head = _head(geobox, self._dtype, tags)
        self._plain = path.with_name(f"plain-{path.name}") if overviews else path
        self._blocks = BlockFile(self._plain, tuple(geobox.shape), self._dtype, self._head, BLOCK)

    def __enter__(self) -> CogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks.__exit__()

    def add(self, rows: NDArray[Any]) -> None:
        """The rows that come next: a multiple of 512, or all down to the end."""
        self._blocks.add(rows)

    def finish(self, tags: dict[str, str] | None = None) -> None:
        """The file is whole after that."""
        changed = tags is not None and tags != self._tags
        self._blocks.finish(_head(self._geobox, self._dtype, tags or {}) if changed else self._head)
        if self._overviews:
            _copy(str(self._plain), str(self._path), overviews=True)
            self._plain.unlink()


def write_cog(
    path: Path, image: NDArray[Any], geobox: GeoBox, tags: dict[str, str], *, overviews: bool = False
) -> None:
    """Write a whole image; as ``CogFile``, at once."""
    with CogFile(path, geobox, image.dtype, tags, overviews=overviews) as file:
        file.add(image)
        file.finish()


def _head(geobox: GeoBox, dtype: np.dtype[Any], tags: dict[str, str]) -> bytes:
    """A COG of one block as GDAL's driver makes it."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.session import DummySession

    profile = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": 1,
        "height": BLOCK,
        "width": BLOCK,
        "crs": str(geobox.crs),
        "transform": geobox.affine,
        "nodata": 0,
    }
    # a session that rasterio found in the environment would ask for credentials of its own
    here = rasterio.Env(session=DummySession())
    with here, MemoryFile() as memory, MemoryFile(ext=".tif") as made:
        with memory.open(**profile) as target:
            target.write(np.zeros((BLOCK, BLOCK), dtype), 1)
            target.update_tags(**tags)
        _copy(memory.name, made.name)
        data: bytes = made.read()
    return data


def _copy(source: str, target: str, *, overviews: bool = False) -> None:
    """Have GDAL's driver make a COG; it reads and writes block by block."""
    import rasterio
    from rasterio.session import DummySession
    from rasterio.shutil import copy

    options = {
        "driver": "COG",
        "COMPRESS": "DEFLATE",
        "LEVEL": "1",
        "PREDICTOR": "STANDARD",
        "BLOCKSIZE": str(BLOCK),
        "OVERVIEWS": "AUTO" if overviews else "NONE",
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "NUM_THREADS": "2",
    }
    with rasterio.Env(session=DummySession(), GDAL_CACHEMAX=_GDAL_CACHE_MB), rasterio.open(source) as image:
        copy(image, target, **options)


@contextlib.contextmanager
def native_window(
    path: Path,
    shape: tuple[int, int],
    transform: Affine,
    epsg: int,
) -> Iterator[Callable[[int, NDArray[Any]], None]]:
    """A file of source pixels as they were read, uint16, on their own grid; it is written in strips.

    Yields:
        Takes the first row of a strip, and its pixels over the whole width.
    """
    import rasterio
    from rasterio.session import DummySession

    with (
        rasterio.Env(session=DummySession(), GDAL_CACHEMAX=_GDAL_CACHE_MB),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            dtype="uint16",
            count=1,
            height=shape[0],
            width=shape[1],
            crs=f"EPSG:{epsg}",
            transform=transform,
            nodata=0,
            compress="deflate",
            predictor=2,
            zlevel=1,
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
        ) as target,
    ):

        def write(top: int, rows: NDArray[Any]) -> None:
            target.write(rows, 1, window=((top, top + rows.shape[0]), (0, shape[1])))

        yield write


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
    from rasterio.session import DummySession

    if not head:
        return None
    try:
        # The file is cut short on purpose: only its header is looked at.
        here = rasterio.Env(session=DummySession(), CPL_LOG="OFF")
        with here, MemoryFile(head) as memory, memory.open() as source:
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
