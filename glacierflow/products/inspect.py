"""One product, inspected: what its file says of itself, its pixels, and the lineage told beside it.

GDAL notices a file that is cut short, but not a byte that changed inside a DEFLATE block: it stops before the
checksum at the block's end. So the blocks are also inflated here, to have their checksums compared.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import io
import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from glacierflow.errors import DataError
from glacierflow.imagery.gdal import block_places
from glacierflow.imagery.grid import Window
from glacierflow.products.cog import HEAD_BYTES, read_header
from glacierflow.products.lineage import ACQUISITION_TAG, PRODUCTION_TAG
from glacierflow.products.tree import Finding, Product, Tree
from glacierflow.store import Entry, LocalStore, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_STRIP_ROWS = 1024

_TAGS = (PRODUCTION_TAG, ACQUISITION_TAG, "GLACIERFLOW_SOURCES")


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


class LineageCheck:
    """Looks up the lineage of a tree's products; files that many share are read once."""

    def __init__(self, tree: Tree, *, quick: bool) -> None:
        self._tree = tree
        self._quick = quick
        self._lock = threading.Lock()
        self._names = functools.cache(self._read_names)

    def problems(self, product: Product, tags: dict[str, str]) -> Iterator[Finding]:
        """Everything that is wrong with one product's lineage; the predecessor's files have no tags."""
        key, place = product.entry.key, product.place
        if PRODUCTION_TAG in tags:
            yield from self._tags(key, tags)
            item = place.layout.stac_item(place.satellite, place.region, place.stem)
            if not self._tree.has(item):
                yield Finding(key=key, code="stac_item", reason=f"its STAC item {item} is missing")
        if place.satellite == "sentinel2":
            yield from self._sentinel2(product)
        else:
            item_id = place.stem.split("_", 2)[-1]
            yield from self._listed(key, place.layout.query_results(place.region), item_id)

    def _tags(self, key: str, tags: dict[str, str]) -> Iterator[Finding]:
        missing = [name for name in _TAGS if not tags.get(name)]
        if missing:
            yield Finding(key=key, code="tags", reason=f"it lacks the tags {', '.join(missing)}")
            return
        try:
            sources = json.loads(tags["GLACIERFLOW_SOURCES"])
        except ValueError:
            sources = None
        if not isinstance(sources, list) or not sources:
            yield Finding(key=key, code="tags", reason="its tag GLACIERFLOW_SOURCES names no sources")

    def _sentinel2(self, product: Product) -> Iterator[Finding]:
        key, place = product.entry.key, product.place
        own = place.layout.individual_csv(place.region, place.stem)
        if not self._tree.has(own):
            yield Finding(key=key, code="csv", reason=f"its lineage {own} is missing")
        elif not self._quick:
            stem, *sources = (self._tree.get(own) or b"").decode(errors="replace").strip().split(",")
            if stem != place.stem or not any(sources):
                yield Finding(key=key, code="csv", reason=f"{own} does not name it and its source tiles")
        yield from self._listed(key, place.layout.combined_csv(place.region), place.stem)

    def _listed(self, key: str, table: str, name: str) -> Iterator[Finding]:
        if not self._tree.has(table):
            yield Finding(key=key, code="combined_csv", reason=f"{table} is missing")
            return
        with self._lock:
            names = self._names(table)
        if name not in names:
            yield Finding(key=key, code="combined_csv", reason=f"{table} does not list it")

    def _read_names(self, table: str) -> frozenset[str]:
        """Every value of a small table; the names looked for are unlike anything else in it."""
        text = (self._tree.get(table) or b"").decode(errors="replace")
        return frozenset(cell for row in csv.reader(io.StringIO(text)) for cell in row)
