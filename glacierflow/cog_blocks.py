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

from glacierflow.resources import cpu_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_blocks"]

_WIDTH, _HEIGHT, _OFFSETS, _SIZES = 256, 257, 324, 325
_LONG = 4
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8}
_LEVEL = 1


def write_blocks(path: Path, image: NDArray[Any], head: bytes, block: int) -> None:
    """Write a whole COG without overviews.

    Args:
        path: file to write.
        image: (rows, cols) uint8 or uint16.
        head: a COG of one block made by GDAL on the same grid: classic TIFF, little-endian, DEFLATE with
            predictor 2 and the tags of the file.
        block: pixels on a side of a block.

    Raises:
        OSError: the file could not be written.
        ValueError: the file would be larger than a classic TIFF can be (4 GB).
    """
    (start,) = struct.unpack_from("<I", head, 4)
    entries = dict(_entries(head, start))
    rows, cols = image.shape
    count = -(-rows // block) * -(-cols // block)
    offsets, sizes = np.zeros(count, "<u4"), np.zeros(count, "<u4")
    with path.open("wb") as stream:
        # blocks first, behind the room for a directory whose length is known already
        stream.write(bytes(len(_directory(head, start, entries, image.shape, offsets, sizes))))
        for number, data in enumerate(_compressed(image, block)):
            stream.write(struct.pack("<I", len(data)))
            if stream.tell() + len(data) >= 1 << 32:
                raise ValueError(f"an image of {rows} x {cols} pixels does not fit a classic TIFF")
            offsets[number], sizes[number] = stream.tell(), len(data)
            stream.write(data)
            stream.write(data[-4:])
        stream.seek(0)
        stream.write(_directory(head, start, entries, image.shape, offsets, sizes))


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


def _compressed(image: NDArray[Any], block: int) -> Iterator[bytes]:
    """The blocks of an image in rows, compressed by a few threads, a few blocks ahead of their use."""
    ahead = 4 * cpu_count()
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="write") as pool:
        for top in range(0, image.shape[0], block):
            for left in range(0, image.shape[1], block):
                part = image[top : top + block, left : left + block]
                waiting.append(pool.submit(_compress, part, block))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _compress(part: NDArray[Any], block: int) -> bytes:
    """A block as TIFF stores it: filled up with nodata, differences along rows, DEFLATE."""
    from isal import isal_zlib

    whole = np.zeros((block, block), part.dtype.newbyteorder("<"))
    whole[: part.shape[0], : part.shape[1]] = part
    differences = whole.copy()
    differences[:, 1:] -= whole[:, :-1]
    compressed: bytes = isal_zlib.compress(differences, _LEVEL)
    return compressed
