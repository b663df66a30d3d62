"""A Cloud-Optimized GeoTIFF block by block: GDAL's header around blocks that we compress.

GDAL's COG driver wants a second whole image as its source and takes four times as long. So it only writes the
head of the file, from an image of one block with the same grid and tags; the directory is taken over entry by
entry, with the true size of the image and the places of its blocks. Layout as GDAL's: directory before data,
blocks in rows, each between its size and a repetition of its last bytes ("Cloud Optimized GeoTIFF" in GDAL's
documentation of the driver).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.host import cpu_count

if TYPE_CHECKING:
    from numpy.typing import NDArray


_WIDTH, _HEIGHT, _OFFSETS, _SIZES = 256, 257, 324, 325
_LONG = 4
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8}
_LEVEL = 1


def write_blocks(path: Path, image: NDArray[Any], head: bytes, block: int) -> None:
    """Write a whole COG without overviews; as ``BlockFile``, at once."""
    with BlockFile(path, image.shape, image.dtype, head, block) as file:
        file.add(image)
        file.finish(head)


class BlockFile:
    """A COG without overviews that is written from top to bottom; what its tags say may be known last.

    A context: it closes the file and ends its threads.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], head: bytes, block: int
    ) -> None:
        """Open the file, and leave room for its directory.

        Args:
            path: file to write.
            shape: (rows, cols) of the image.
            dtype: uint8 or uint16.
            head: a COG of one block made by GDAL on the same grid: classic TIFF, little-endian, DEFLATE with
                predictor 2 and tags as long as those of the file.
            block: pixels on a side of a block.

        Raises:
            OSError: the file could not be written.
        """
        self._shape, self._dtype, self._block = shape, dtype, block
        count = -(-shape[0] // block) * -(-shape[1] // block)
        self._offsets, self._sizes = np.zeros(count, "<u4"), np.zeros(count, "<u4")
        self._done = self._rows = 0
        self._pool = ThreadPoolExecutor(cpu_count(), thread_name_prefix="write")
        self._stream = path.open("wb")
        self._room = len(self._directory(head))
        # blocks first, behind the room for a directory whose length is known already
        self._stream.write(bytes(self._room))

    def __enter__(self) -> BlockFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._stream.close()

    def add(self, rows: NDArray[Any]) -> None:
        """The rows that come next: whole rows of blocks, or all down to the end of the image.

        Raises:
            OSError: the file could not be written.
            ValueError: it would be larger than a classic TIFF can be (4 GB).
        """
        for data in self._compressed(rows):
            self._stream.write(struct.pack("<I", len(data)))
            at = self._stream.tell()
            if at + len(data) >= 1 << 32:
                size = " x ".join(map(str, self._shape))
                raise ValueError(f"an image of {size} pixels does not fit a classic TIFF")
            self._offsets[self._done], self._sizes[self._done] = at, len(data)
            self._stream.write(data)
            self._stream.write(data[-4:])
            self._done += 1
        self._rows += rows.shape[0]

    def finish(self, head: bytes) -> None:
        """Write what is before the first block, with the tags of this head.

        Raises:
            OSError: the file could not be written.
            ValueError: rows are missing, or the tags take another room than those at the beginning.
        """
        directory = self._directory(head)
        if self._rows != self._shape[0] or len(directory) != self._room:
            raise ValueError(f"{self._rows} of {self._shape[0]} rows, {len(directory)} of {self._room} bytes")
        self._stream.seek(0)
        self._stream.write(directory)
        self._stream.flush()

    def _directory(self, head: bytes) -> bytes:
        (start,) = struct.unpack_from("<I", head, 4)
        return _directory(head, start, dict(_entries(head, start)), self._shape, self._offsets, self._sizes)

    def _compressed(self, rows: NDArray[Any]) -> Iterator[bytes]:
        """The blocks of some rows, compressed by a few threads, a few blocks ahead of their use."""
        ahead, block = 4 * cpu_count(), self._block
        waiting: deque[Future[bytes]] = deque()
        for top in range(0, rows.shape[0], block):
            for left in range(0, rows.shape[1], block):
                part = rows[top : top + block, left : left + block]
                waiting.append(self._pool.submit(_compress, part, block))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _entries(head: bytes, start: int) -> Iterator[tuple[int, tuple[int, int, bytes]]]:
    """Tag, type, number and bytes of each entry of a directory."""
    (count,) = struct.unpack_from("<H", head, start)
    for at in range(start + 2, start + 2 + count * 12, 12):
        tag, kind, number = struct.unpack_from("<HHI", head, at)
        length = _VALUE_BYTES[kind] * number
        where = at + 8 if length <= 4 else struct.unpack_from("<I", head, at + 8)[0]
        yield tag, (kind, number, head[where : where + length])


def _directory(
    head: bytes,
    start: int,
    entries: dict[int, tuple[int, int, bytes]],
    shape: tuple[int, ...],
    offsets: NDArray[Any],
    sizes: NDArray[Any],
) -> bytes:
    """All of the file before its first block: header, GDAL's notes on the layout, directory, values."""
    changed = {_HEIGHT: shape[:1], _WIDTH: shape[1:], _OFFSETS: offsets, _SIZES: sizes}
    for tag, values in changed.items():
        entries[tag] = (_LONG, len(values), np.asarray(values, "<u4").tobytes())
    table, data = b"", b""
    after = start + 2 + len(entries) * 12 + 4
    for tag, (kind, number, value) in sorted(entries.items()):
        table += struct.pack("<HHI", tag, kind, number)
        if len(value) <= 4:
            table += value.ljust(4, b"\0")
        else:
            table += struct.pack("<I", after + len(data))
            # values begin at even offsets
            data += value + bytes(len(value) % 2)
    return head[:start] + struct.pack("<H", len(entries)) + table + bytes(4) + data


def _compress(part: NDArray[Any], block: int) -> bytes:
    """A block as TIFF stores it: filled up with nodata, differences along rows, DEFLATE."""
    from isal import isal_zlib

    whole = np.zeros((block, block), part.dtype.newbyteorder("<"))
    whole[: part.shape[0], : part.shape[1]] = part
    differences = whole.copy()
    differences[:, 1:] -= whole[:, :-1]
    compressed: bytes = isal_zlib.compress(differences, _LEVEL)
    return compressed
