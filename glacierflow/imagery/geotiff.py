"""The header of a GeoTIFF from its first bytes: grid, CRS, and where each block lies. Pure: bytes in.

Only what the archives deliver is understood (one band of uint8 or uint16, DEFLATE or uncompressed, horizontal
predictor); everything else raises ``Unsupported`` and is GDAL's to read. Sources: TIFF 6.0, the BigTIFF
design, OGC GeoTIFF 1.1 (19-008r4).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

if TYPE_CHECKING:
    from numpy.typing import NDArray


_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PREDICTOR = 256, 257, 258, 259, 277, 317
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_SIZES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_PIXEL_SCALE, _TIEPOINT, _TRANSFORMATION, _GEO_KEYS, _NODATA = 33550, 33922, 34264, 34735, 42113
_RASTER_TYPE_KEY, _PROJECTED_CRS_KEY = 1025, 3072
_PIXEL_IS_POINT = 2
_USER_DEFINED = 32767
_FORMATS = {
    1: "B",
    2: "s",
    3: "H",
    4: "I",
    6: "b",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
}
_WANTED = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PREDICTOR, _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_SIZES,
    _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES, _SAMPLE_FORMAT, _PIXEL_SCALE, _TIEPOINT,
    _TRANSFORMATION, _GEO_KEYS, _NODATA,
}  # fmt: skip
_MAX_BLOCKS = 4_000_000
"""More than any image here can have; a broken header may say anything."""


class NotTiff(ValueError):  # noqa: N818 - says what the bytes are
    """The bytes are not those of a TIFF."""


class Unsupported(ValueError):  # noqa: N818 - says what the file is
    """A TIFF of a kind that is left to GDAL."""


class Truncated(ValueError):  # noqa: N818 - says what the bytes are
    """The header goes on after the bytes at hand.

    Attributes:
        needed: bytes from the start of the file that hold the rest.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(f"the header needs {needed} bytes")
        self.needed = needed


@dataclass(frozen=True, slots=True)
class GeoTiff:
    """Where the pixels of a one-band image are, in its file and on the ground."""

    shape: tuple[int, int]
    """(rows, columns)."""
    dtype: np.dtype[Any]
    """uint8 or uint16, in the file's byte order."""
    block: tuple[int, int]
    """(rows, columns) of a block; a strip is as wide as the image."""
    offsets: NDArray[np.uint64]
    """(block rows, block columns): first byte of each block in the file."""
    sizes: NDArray[np.uint64]
    """The same shape: bytes of each block; 0 for a block that was never written."""
    deflated: bool
    predicted: bool
    """Whether each row holds differences from pixel to pixel."""
    transform: Affine
    """Pixel corner to metres."""
    epsg: int
    nodata: float | None
    padded: bool
    """Whether blocks at the lower edge are stored whole (tiles) or cut (strips)."""


def parse_geotiff(head: bytes) -> GeoTiff:
    """The first image of a GeoTIFF.

    Args:
        head: bytes from the start of the file, at least 16.

    Raises:
        NotTiff: they are not a TIFF's.
        Truncated: more bytes are needed.
        Unsupported: a kind of TIFF that is not read here.
    """
    tags = _read_tags(head)
    try:
        return _image(tags)
    except (KeyError, IndexError) as error:
        raise Unsupported(f"tag {error} is missing") from error


def _image(tags: dict[int, Any]) -> GeoTiff:
    rows, cols = int(tags[_HEIGHT][0]), int(tags[_WIDTH][0])
    dtype = _dtype(tags)
    compression = int(tags.get(_COMPRESSION, (1,))[0])
    if compression not in (1, 8, 32946):
        raise Unsupported(f"compression {compression}")
    predictor = int(tags.get(_PREDICTOR, (1,))[0])
    if predictor not in (1, 2):
        raise Unsupported(f"predictor {predictor}")
    tiled = _TILE_OFFSETS in tags
    if tiled:
        block = int(tags[_TILE_HEIGHT][0]), int(tags[_TILE_WIDTH][0])
    else:
        block = min(int(tags.get(_ROWS_PER_STRIP, (rows,))[0]), rows), cols
    if min(rows, cols, *block) < 1:
        raise Unsupported(f"an image of {rows} x {cols} pixels in blocks of {block[0]} x {block[1]}")
    grid = -(-rows // block[0]), -(-cols // block[1])
    # copies, so that the bytes they were in can go
    offsets = np.array(tags[_TILE_OFFSETS if tiled else _STRIP_OFFSETS], np.uint64)
    sizes = np.array(tags[_TILE_SIZES if tiled else _STRIP_SIZES], np.uint64)
    if offsets.size != grid[0] * grid[1] or sizes.size != offsets.size:
        raise Unsupported(
            f"{offsets.size} block offsets and {sizes.size} sizes for {grid[0]} x {grid[1]} blocks"
        )
    keys = _geo_keys(tags[_GEO_KEYS])
    epsg = keys.get(_PROJECTED_CRS_KEY, _USER_DEFINED)
    if epsg == _USER_DEFINED:
        raise Unsupported("a CRS that is not an EPSG code")
    return GeoTiff(
        shape=(rows, cols),
        dtype=dtype,
        block=block,
        offsets=offsets.reshape(grid),
        sizes=sizes.reshape(grid),
        deflated=compression != 1,
        predicted=predictor == 2,
        transform=_transform(tags, keys),
        epsg=epsg,
        nodata=_nodata(tags),
        padded=tiled,
    )


def _dtype(tags: dict[int, Any]) -> np.dtype[Any]:
    bits = tuple(int(value) for value in tags.get(_BITS, (1,)))
    samples = int(tags.get(_SAMPLES, (1,))[0])
    kind = int(tags.get(_SAMPLE_FORMAT, (1,))[0])
    if samples != 1 or kind != 1 or bits not in ((8,), (16,)):
        raise Unsupported(f"{samples} band(s) of {bits} bits, format {kind}")
    return np.dtype(f"{tags[-1]}u{bits[0] // 8}")


def _transform(tags: dict[int, Any], keys: dict[int, int]) -> Affine:
    if _TRANSFORMATION in tags:
        m = [float(value) for value in tags[_TRANSFORMATION]]
        transform = Affine(m[0], m[1], m[3], m[4], m[5], m[7])
    else:
        sx, sy = (float(value) for value in tags[_PIXEL_SCALE][:2])
        i, j, _, x, y = (float(value) for value in tags[_TIEPOINT][:5])
        transform = Affine(sx, 0.0, x - i * sx, 0.0, -sy, y + j * sy)
    if keys.get(_RASTER_TYPE_KEY) == _PIXEL_IS_POINT:
        # The tie point is a pixel's centre; here a transform speaks of corners, as GDAL's does.
        a, b, c, d, e, f = transform[:6]
        transform = Affine(a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)
    extent = transform.a * transform.e - transform.b * transform.d
    if not all(map(math.isfinite, (extent, transform.c, transform.f))) or extent == 0:
        raise Unsupported("a grid that is nowhere")
    return transform


def _geo_keys(directory: Any) -> dict[int, int]:  # noqa: ANN401 - numbers as the file has them
    """Keys whose value stands in the directory itself; the others are not needed."""
    numbers = [int(value) for value in directory]
    entries = zip(numbers[4::4], numbers[5::4], numbers[7::4], strict=False)
    return {key: value for key, location, value in entries if location == 0}


def _nodata(tags: dict[int, Any]) -> float | None:
    if _NODATA not in tags:
        return None
    text = bytes(tags[_NODATA][0]).split(b"\0")[0].decode("ascii", "replace").strip()
    try:
        return float(text)
    except ValueError as error:
        raise Unsupported(f"nodata {text!r}") from error


def _read_tags(head: bytes) -> dict[int, Any]:
    """The wanted tags of the first directory; the byte order under -1.

    Raises:
        NotTiff, Truncated, Unsupported: as for ``parse_geotiff``.
    """
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        raise NotTiff("the first bytes are not those of a TIFF")
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version == 42:
        (start,), count_format, entry_format, inline = struct.unpack_from(order + "I", head, 4), "H", "HHI", 4
    elif version == 43:
        (start,), count_format, entry_format, inline = struct.unpack_from(order + "Q", head, 8), "Q", "HHQ", 8
    else:
        raise NotTiff(f"a TIFF says version 42 or 43, not {version}")
    (count,) = _unpack(order + count_format, head, start)
    if count > 4096:
        raise Unsupported(f"{count} tags")
    at = start + struct.calcsize(order + count_format)
    size = struct.calcsize(order + entry_format) + inline
    tags: dict[int, Any] = {-1: order}
    for entry in range(at, at + count * size, size):
        tag, kind, number = _unpack(order + entry_format, head, entry)
        if tag in _WANTED:
            tags[tag] = _value(head, order, kind, number, entry + size - inline, inline)
    return tags


def _value(head: bytes, order: str, kind: int, number: int, at: int, inline: int) -> Any:  # noqa: ANN401
    code = _FORMATS.get(kind)
    if code is None or number > _MAX_BLOCKS:
        raise Unsupported(f"a tag of type {kind} with {number} values")
    length = struct.calcsize(order + code) * number
    if length > inline:
        (at,) = _unpack(order + ("I" if inline == 4 else "Q"), head, at)
    if at + length > len(head):
        raise Truncated(at + length)
    if code == "s":
        return (head[at : at + length],)
    return np.frombuffer(head, np.dtype(order + code), number, at)


def _unpack(layout: str, head: bytes, at: int) -> tuple[Any, ...]:
    end = at + struct.calcsize(layout)
    if end > len(head):
        raise Truncated(end)
    return struct.unpack_from(layout, head, at)
