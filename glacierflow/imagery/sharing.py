"""Headers and blocks that several units of a slot are made from: fetched once, kept for those that follow.

Units are processed one after another, so a block has to wait for a whole series of dates until the next unit
takes it. Which blocks those will be is known from the regions: only they are kept, compressed as they came,
and only until the last unit that needs them has taken them. Where the room is full, further blocks are not
kept; nothing makes place for them, because in a series that comes again whatever came in last would push out
what is needed next.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.grid import geobox_of
from glacierflow.imagery.lattice import lattice_of, needed_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glacierflow.imagery.geotiff import GeoTiff
    from glacierflow.imagery.source import Source
    from glacierflow.model import Region, Scene, Unit

__all__ = ["Kept", "Shared"]

_HEADER_ROOM = 16_000_000
"""Bytes of headers: 4,000 of Sentinel-2's, or 270 of Landsat's with its small blocks."""
_HEADER_BYTES = 2_000
"""Of a header besides its blocks' places."""
_DAY = dt.timedelta(days=1)
_NOBODY = -1

Block = tuple[int, int]


class Shared:
    """What the units of a slot share; safe to share between threads, units one after another.

    A file without an ETag is never kept: it could not be told that it changed.
    """

    def __init__(self, units: Sequence[tuple[Unit, Region]] = (), *, room: float = 0.0) -> None:
        """Begin with nothing kept.

        Args:
            units: those of the slot in their order, with their regions.
            room: bytes of blocks that may be kept.
        """
        self._units = tuple(units)
        self._room = room
        self._now = 0
        self._held = 0
        self._headers: OrderedDict[str, Source] = OrderedDict()
        self._header_bytes = 0
        self._blocks: dict[tuple[str, Any, Block], tuple[bytes, int]] = {}
        self._reach: dict[tuple[Any, ...], NDArray[np.bool_]] = {}
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes of blocks that are kept now."""
        return self._held

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

    def kept(self, scene: Scene, source: Source, radius: int) -> Kept | None:
        """The kept blocks of an image; None where no other unit is made from it.

        Args:
            scene: the image.
            source: its header.
            radius: source pixels that the kernel reaches on each side.
        """
        if not source.version.etag or len(self._units) < 2:
            return None
        last = np.full(source.tiff.sizes.shape, _NOBODY)
        for number in range(self._now, len(self._units)):
            if self._is_made_from(number, scene):
                last[self._needed(number, source.tiff, radius)] = number
        return Kept(self, source, last)

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
            lattice = lattice_of(geobox_of(region, unit.satellite), tiff.transform, tiff.epsg)
            if lattice is None:
                found = np.zeros(tiff.sizes.shape, bool)
            else:
                everywhere = np.ones(lattice.cells, bool)
                found = needed_blocks(lattice, tiff.shape, tiff.block, radius, everywhere)
            self._reach[key] = found
        return found

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

    def __init__(self, shared: Shared, source: Source, last: NDArray[np.int_]) -> None:
        self._shared, self._source, self._last = shared, source, last

    def take(self, needed: NDArray[np.bool_]) -> dict[Block, bytes]:
        """Those of the needed blocks that are there."""
        found: dict[Block, bytes] = {}
        for i, j in np.argwhere(needed & (self._last != _NOBODY)):
            block = int(i), int(j)
            data = self._shared.take(self._source, block)
            if data is not None:
                found[block] = data
        return found

    def put(self, block: Block, data: memoryview) -> None:
        """Keep a block for the units that follow and need it."""
        self._shared.put(self._source, block, data, int(self._last[block]))


def _size(source: Source) -> int:
    return int(source.tiff.offsets.nbytes + source.tiff.sizes.nbytes) + _HEADER_BYTES
