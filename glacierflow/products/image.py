"""What an image file says of itself, and what its pixels are, read once and in strips.

GDAL notices a file that is cut short, but not a byte that changed inside a DEFLATE block: it stops before the
checksum at the block's end. So the blocks are also inflated here, to have their checksums compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from glacierflow.cog import HEAD_BYTES, read_header
from glacierflow.errors import DataError
from glacierflow.grid import Window
from glacierflow.imagery.gdal import block_places
from glacierflow.store import Entry, LocalStore, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Image",
    "PixelFacts",
    "Profile",
    "check_blocks",
    "open_image",
    "pixel_facts",
    "profile_of",
    "strips",
]

_STRIP_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Profile:
    """What the header of a GeoTIFF tells."""

    epsg: int | None
    bounds: tuple[float, float, float, float]
    """(xmin, ymin, xmax, ymax)."""
    resolution: tuple[float, float]
    """Metres along x and y."""
    shape: tuple[int, int]
    """(rows, columns)."""
    bands: int
    dtype: str
    nodata: float | None
    tags: dict[str, str]
    end: int
    """Bytes a file must have at least to hold all of its blocks."""


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """What the pixels of an image are."""

    digest: str
    """Equal for images with equal pixels, whatever their compression."""
    valid: int
    """Pixels that are not 0."""
    lowest: int
    """Of the valid pixels; 0 without any."""
    highest: int


@dataclass(frozen=True, slots=True)
class Image:
    """An open image."""

    source: Any
    """The rasterio dataset."""
    raw: BinaryIO
    """The file's bytes, or its first ones."""


@contextlib.contextmanager
def open_image(store: Store, entry: Entry, *, head_only: bool = False) -> Iterator[Image]:
    """An image of a store; with ``head_only`` good for its profile alone.

    Raises:
        DataError: it is not there, or not a readable image.
    """
    import rasterio
    from rasterio.errors import RasterioIOError
    from rasterio.io import MemoryFile
    from rasterio.session import DummySession

    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                rasterio.Env(session=DummySession(), CPL_LOG="OFF", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
            )
            if isinstance(store, LocalStore):
                path = Path(store.uri(entry.key))
                yield Image(stack.enter_context(rasterio.open(path)), stack.enter_context(path.open("rb")))
                return
            content = store.get_head(entry.key, HEAD_BYTES) if head_only else store.get(entry.key)
            if head_only and content and read_header(content) is None:
                # other programs may put the directory of a GeoTIFF at its end
                content = store.get(entry.key)
            if not content:
                raise DataError("there is no such file, or it is empty or damaged")
            memory = stack.enter_context(MemoryFile(content))
            yield Image(stack.enter_context(memory.open()), io.BytesIO(content))
    except RasterioIOError as error:
        raise DataError(f"it cannot be read as an image: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """GDAL's own words, which rasterio puts behind its own."""
    cause = error.__cause__ or error
    return str(cause).rstrip(".")


def profile_of(image: Image) -> Profile:
    """The profile of an open image."""
    source = image.source
    return Profile(
        epsg=source.crs.to_epsg() if source.crs else None,
        bounds=tuple(source.bounds),
        resolution=source.res,
        shape=source.shape,
        bands=source.count,
        dtype=source.dtypes[0],
        nodata=source.nodata,
        tags=dict(source.tags()),
        end=max((offset + size for offset, size in _all_blocks(source)), default=0),
    )


def _all_blocks(source: Any) -> list[tuple[int, int]]:  # noqa: ANN401 - rasterio is untyped
    return block_places(source, Window(0, 0, source.height, source.width))


def check_blocks(image: Image) -> None:
    """Compare the checksum of every DEFLATE block; other compressions have none.

    Raises:
        DataError: a block is not what was written.
    """
    if image.source.profile.get("compress") != "deflate":
        return
    for offset, size in _all_blocks(image.source):
        image.raw.seek(offset)
        try:
            zlib.decompress(image.raw.read(size))
        except zlib.error as error:
            raise DataError(f"the block at byte {offset} is damaged: {error}") from error


def strips(image: Image) -> Iterator[NDArray[np.generic]]:
    """The first band from top to bottom, in strips of the same height whatever the file's blocks.

    Raises:
        DataError: a block is damaged.
    """
    from rasterio.errors import RasterioIOError
    from rasterio.windows import Window as RasterioWindow

    source = image.source
    for top in range(0, source.height, _STRIP_ROWS):
        rows = min(_STRIP_ROWS, source.height - top)
        try:
            yield source.read(1, window=RasterioWindow(0, top, source.width, rows))
        except RasterioIOError as error:
            where = f"rows {top} to {top + rows - 1}"
            raise DataError(f"a block in {where} cannot be read: {_reason(error)}") from error


def pixel_facts(image: Image) -> PixelFacts:
    """Read every pixel of the first band.

    Raises:
        DataError: a block is damaged.
    """
    digest, valid, lowest, highest = hashlib.blake2b(digest_size=16), 0, None, 0
    for strip in strips(image):
        digest.update(strip.tobytes())
        seen = strip[strip != 0]
        if seen.size:
            valid += seen.size
            lowest = int(seen.min()) if lowest is None else min(lowest, int(seen.min()))
            highest = max(highest, int(seen.max()))
    return PixelFacts(digest.hexdigest(), valid, lowest or 0, highest)
