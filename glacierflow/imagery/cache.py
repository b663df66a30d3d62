"""Headers and blocks that several units of a slot are made from: fetched once, kept for those that follow.

Units are processed one after another, so a block has to wait for a whole series of dates until the next unit
takes it. Which blocks those will be is known from the regions: only they are kept, compressed as they came,
and only until the last unit that needs them has taken them. Where the room is full, further blocks are not
kept; nothing makes place for them, because in a series that comes again whatever came in last would push out
what is needed next.

Chunks of one image follow each other at once: blocks on their borders are kept until every chunk that needs
them has had them. What is left of an image that nobody finished makes place for the next.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.imagery.grid import geobox_of
from glacierflow.imagery.lattice import lattice_of, needed_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.imagery.geotiff import GeoTiff
    from glacierflow.imagery.grid import Chunks
    from glacierflow.imagery.ranges import Version
    from glacierflow.model.records import Region, Scene, Unit


_HEADER_ROOM = 16_000_000
"""Bytes of headers: 4,000 of Sentinel-2's, or 270 of Landsat's with its small blocks."""
_HEADER_BYTES = 2_000
"""Of a header besides its blocks' places."""
_GRIDS = 256
"""Grids of images and chunks that are remembered: a few of Sentinel-2's tiles, or one a Landsat scene."""
_DAY = dt.timedelta(days=1)
_NOBODY = -1

Block = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image is, and which version of it the header is of."""

    href: str
    requester_pays: bool
    tiff: GeoTiff
    version: Version


class Shared:
    """What the units of a slot share; safe to share between threads, units one after another.

    A file without an ETag is never kept: it could not be told that it changed.
    """

    def __init__(
        self, units: Sequence[tuple[Unit, Region]] = (), *, room: float = 0.0, chunk_room: float = 0.0
    ) -> None:
        """Begin with nothing kept.

        Args:
            units: those of the slot in their order, with their regions.
            room: bytes of blocks that may be kept for later units.
            chunk_room: and for other chunks of the same image.
        """
        self.chunk_room = chunk_room
        self._units = tuple(units)
        self._room = room
        self._now = 0
        self._held = 0
        self._headers: OrderedDict[str, Source] = OrderedDict()
        self._header_bytes = 0
        self._blocks: dict[tuple[str, Any, Block], tuple[bytes, int]] = {}
        self._reach: dict[tuple[Any, ...], NDArray[np.bool_]] = {}
        self._passing: OrderedDict[tuple[str, Any], dict[Block, tuple[bytes, int]]] = OrderedDict()
        self._passing_held = 0
        self._takers: dict[tuple[Any, ...], NDArray[np.int_]] = {}
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes of blocks that are kept now."""
        return self._held + self._passing_held

    def begin(self, number: int) -> None:
        """Another unit's turn: what no unit from it on needs is dropped."""
        with self._lock:
            self._now = number
            for key, (_, last) in tuple(self._blocks.items()):
                if last < number:
                    self._drop(key)

    def header(self, href: str) -> Source | None:
        """The header of a file that was opened before."""
        with self._lock:
            source = self._headers.get(href)
            if source is not None:
                self._headers.move_to_end(href)
            return source

    def keep_header(self, source: Source) -> None:
        """Have it for the next time; those that were not used for longest make place."""
        if not source.version.etag:
            return
        with self._lock:
            self._drop_header(source.href)
            self._headers[source.href] = source
            self._header_bytes += _size(source)
            while self._header_bytes > _HEADER_ROOM:
                self._drop_header(next(iter(self._headers)))

    def forget(self, href: str) -> None:
        """Drop all there is of a file: it changed."""
        with self._lock:
            self._drop_header(href)
            for key in [key for key in self._blocks if key[0] == href]:
                self._drop(key)
            for image in [image for image in self._passing if image[0] == href]:
                self._drop_passing(image)

    def kept(
        self, scene: Scene, source: Source, radius: int, takers: NDArray[np.int_] | None = None
    ) -> Kept | None:
        """The kept blocks of an image; None where no other unit or chunk is made from it.

        Args:
            scene: the image.
            source: its header.
            radius: source pixels that the kernel reaches on each side.
            takers: how often each block is needed for one and the same image; None where once.
        """
        alone = len(self._units) < 2
        if not source.version.etag or (alone and takers is None):
            return None
        last = np.full(source.tiff.sizes.shape, _NOBODY)
        for number in () if alone else range(self._now, len(self._units)):
            if self._is_made_from(number, scene):
                last[self._needed(number, source.tiff, radius)] = number
        return Kept(self, source, last, takers)

    def _is_made_from(self, number: int, scene: Scene) -> bool:
        unit, region = self._units[number]
        if unit.satellite != scene.satellite:
            return False
        if unit.satellite == "sentinel2" and scene.place not in region.mgrs_tiles:
            return False
        # a day more: which date a pass at midnight belongs to is the search's business
        return unit.date1 - _DAY <= scene.datetime.date() <= unit.date2 + _DAY

    def _needed(self, number: int, tiff: GeoTiff, radius: int) -> NDArray[np.bool_]:
        key = number, tiff.transform, tiff.shape, tiff.block, tiff.epsg, radius
        found = self._reach.get(key)
        if found is None:
            unit, region = self._units[number]
            found = _reach(geobox_of(region, unit.satellite), tiff, radius)
            self._reach[key] = found
        return found

    def count_takers(self, chunks: Chunks, tiff: GeoTiff, radius: int) -> NDArray[np.int_]:
        """By how many chunks each block of an image is needed at most: (block rows, block columns)."""
        grid = chunks.geobox.affine, chunks.rows, chunks.cols
        key = *grid, tiff.transform, tiff.shape, tiff.block, tiff.epsg, radius
        found = self._takers.get(key)
        if found is None:
            found = np.zeros(tiff.sizes.shape, int)
            for i in range(len(chunks.rows)):
                for j in range(len(chunks.cols)):
                    found += _reach(chunks.part(i, j), tiff, radius)
            with self._lock:
                if len(self._takers) >= _GRIDS:
                    self._takers.clear()
                self._takers[key] = found
        return found

    def take_passing(self, source: Source, block: Block) -> bytes | None:
        """A block's bytes from another chunk of the image; the last that needs it takes it away."""
        image = source.href, source.version
        with self._lock:
            blocks = self._passing.get(image, {})
            data, left = blocks.get(block, (None, 0))
            if data is not None:
                self._count_down(image, block, data, left)
            return data

    def put_passing(self, source: Source, block: Block, data: memoryview, takers: int) -> None:
        """Keep a block for so many further chunks, if there is room once older images have made place."""
        image = source.href, source.version
        with self._lock:
            blocks = self._passing.setdefault(image, {})
            self._passing.move_to_end(image)
            if block in blocks:
                self._count_down(image, block, *blocks[block])
                return
            if takers < 1 or len(data) > self.chunk_room:
                return
            while self._passing_held + len(data) > self.chunk_room:
                oldest = next(iter(self._passing))
                if oldest == image:
                    return
                self._drop_passing(oldest)
            blocks[block] = bytes(data), takers
            self._passing_held += len(data)

    def _count_down(self, image: tuple[str, Any], block: Block, data: bytes, left: int) -> None:
        if left > 1:
            self._passing[image][block] = data, left - 1
        else:
            del self._passing[image][block]
            self._passing_held -= len(data)

    def _drop_passing(self, image: tuple[str, Any]) -> None:
        self._passing_held -= sum(len(data) for data, _ in self._passing.pop(image).values())

    def take(self, source: Source, block: Block) -> bytes | None:
        """A kept block's bytes; the last unit that needs it takes it away."""
        key = source.href, source.version, block
        with self._lock:
            data, last = self._blocks.get(key, (None, _NOBODY))
            if data is not None and last <= self._now:
                self._drop(key)
            return data

    def put(self, source: Source, block: Block, data: memoryview, last: int) -> None:
        """Keep a block that was found whole, if there is room, until unit ``last`` has taken it."""
        key = source.href, source.version, block
        with self._lock:
            if last > self._now and key not in self._blocks and self._held + len(data) <= self._room:
                self._blocks[key] = bytes(data), last
                self._held += len(data)

    def _drop(self, key: tuple[str, Any, Block]) -> None:
        data, _ = self._blocks.pop(key)
        self._held -= len(data)

    def _drop_header(self, href: str) -> None:
        source = self._headers.pop(href, None)
        if source is not None:
            self._header_bytes -= _size(source)


class Kept:
    """The kept blocks of one image."""

    def __init__(
        self, shared: Shared, source: Source, last: NDArray[np.int_], takers: NDArray[np.int_] | None = None
    ) -> None:
        self._shared, self._source, self._last, self._takers = shared, source, last, takers

    def take(self, needed: NDArray[np.bool_]) -> dict[Block, bytes]:
        """Those of the needed blocks that are there."""
        found: dict[Block, bytes] = {}
        for i, j in np.argwhere(needed):
            block = int(i), int(j)
            data = self._shared.take(self._source, block) if self._last[block] != _NOBODY else None
            if data is not None and self._takers is not None:
                self._pass_on(block, memoryview(data))
            elif data is None and self._takers is not None:
                data = self._shared.take_passing(self._source, block)
            if data is not None:
                found[block] = data
        return found

    def put(self, block: Block, data: memoryview) -> None:
        """Keep a block for the units and chunks that follow and need it."""
        if self._last[block] != _NOBODY:
            self._shared.put(self._source, block, data, int(self._last[block]))
        self._pass_on(block, data)

    def _pass_on(self, block: Block, data: memoryview) -> None:
        if self._takers is not None:
            self._shared.put_passing(self._source, block, data, int(self._takers[block]) - 1)


def _reach(geobox: GeoBox, tiff: GeoTiff, radius: int) -> NDArray[np.bool_]:
    """The blocks that a grid is made from."""
    lattice = lattice_of(geobox, tiff.transform, tiff.epsg)
    if lattice is None:
        return np.zeros(tiff.sizes.shape, bool)
    return needed_blocks(lattice, tiff.shape, tiff.block, radius, np.ones(lattice.cells, bool))


def _size(source: Source) -> int:
    return int(source.tiff.offsets.nbytes + source.tiff.sizes.nbytes) + _HEADER_BYTES
