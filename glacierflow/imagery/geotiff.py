"""The header of a GeoTIFF from its first bytes: grid, CRS, and where each block lies. Pure: bytes in.

Only what the archives deliver is understood (one band of uint8 or uint16, DEFLATE or uncompressed, horizontal
predictor); everything else raises ``Unsupported`` and is GDAL's to read. Sources: TIFF 6.0, the BigTIFF
design, OGC GeoTIFF 1.1 (19-008r4).
"""

from __future__ import annotations

import math
import re
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
_SUBFILE_TYPE, _FILL_ORDER, _PLANES, _METADATA = 254, 266, 284, 42112
_IS_MASK = 4
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
    _TRANSFORMATION, _GEO_KEYS, _NODATA, _METADATA, _FILL_ORDER, _PLANES,
}  # fmt: skip
_MAX_BLOCKS = 4_000_000
"""More than any image here can have; a broken header may say anything."""
_MAX_TAGS = 4096

MOST_BLOCK_PIXELS = 1 << 24
"""Of one block, which is inflated as a whole; the archives' have 1024 x 1024 at most."""
DIRECTORY_BYTES = 4096
"""That hold any directory but a very odd one."""
_SCALING = re.compile(r'<Item name="[A-Z]+" sample="0" role="(scale|offset)">([^<]{1,40})</Item>')


class NotTiff(ValueError):  # noqa: N818 - says what the bytes are
    """The bytes are not those of a TIFF."""


class Unsupported(ValueError):  # noqa: N818 - says what the file is
    """A TIFF of a kind that is left to GDAL."""


class TooLarge(ValueError):  # noqa: N818 - says what the file is
    """A TIFF that says it has blocks which nobody should have to hold in memory."""


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
    scaling: tuple[float, float]
    """(scale, offset) that its own tags name for values beside the DN; (1, 0) where they name none."""
    next_directory: int
    """First byte of what the file says of a further image, a mask maybe; 0 where there is none."""
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
        TooLarge: its blocks are beyond all that archives hold.
    """
    order, start = _begin(head)
    tags, following = _read_tags(head, start, order, _WANTED)
    try:
        return _image(tags, order, following)
    except (NotTiff, TooLarge, Truncated, Unsupported):
        raise
    except (KeyError, IndexError) as error:
        raise Unsupported(f"tag {error} is missing") from error
    except (OverflowError, TypeError, ValueError) as error:
        raise Unsupported(f"a tag that holds something else: {error}") from error


def is_mask(head: bytes, directory: bytes, at: int) -> tuple[bool, int]:
    """Whether a further directory is of a mask, and where the next one begins (0: nowhere).

    Args:
        head: the first bytes of the file, at least 16.
        directory: bytes from the directory's begin on.
        at: where in ``directory`` it begins.

    Raises:
        NotTiff, Truncated, Unsupported: as for ``parse_geotiff``.
    """
    tags, following = _read_tags(directory, at, _begin(head)[0], {_SUBFILE_TYPE})
    kind = tags.get(_SUBFILE_TYPE)
    return kind is not None and bool(int(kind[0]) & _IS_MASK), following


def _image(tags: dict[int, Any], order: _Kind, following: int) -> GeoTiff:
    rows, cols = int(tags[_HEIGHT][0]), int(tags[_WIDTH][0])
    dtype = _dtype(tags, order.order)
    compression = int(tags.get(_COMPRESSION, (1,))[0])
    if compression not in (1, 8, 32946):
        raise Unsupported(f"compression {compression}")
    predictor = int(tags.get(_PREDICTOR, (1,))[0])
    if predictor not in (1, 2):
        raise Unsupported(f"predictor {predictor}")
    if int(tags.get(_PLANES, (1,))[0]) not in (1, 2) or int(tags.get(_FILL_ORDER, (1,))[0]) != 1:
        raise Unsupported("bands or bits in another order")
    tiled = _TILE_OFFSETS in tags
    if tiled:
        block = int(tags[_TILE_HEIGHT][0]), int(tags[_TILE_WIDTH][0])
    else:
        block = min(int(tags.get(_ROWS_PER_STRIP, (rows,))[0]), rows), cols
    if min(rows, cols, *block) < 1:
        raise Unsupported(f"an image of {rows} x {cols} pixels in blocks of {block[0]} x {block[1]}")
    if block[0] * block[1] > MOST_BLOCK_PIXELS:
        raise TooLarge(f"its blocks of {block[0]} x {block[1]} pixels are too large")
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
        scaling=_scaling(tags),
        next_directory=following,
        padded=tiled,
    )


def _dtype(tags: dict[int, Any], order: str) -> np.dtype[Any]:
    bits = tuple(int(value) for value in tags.get(_BITS, (1,)))
    samples = int(tags.get(_SAMPLES, (1,))[0])
    kind = int(tags.get(_SAMPLE_FORMAT, (1,))[0])
    if samples != 1 or kind != 1 or bits not in ((8,), (16,)):
        raise Unsupported(f"{samples} band(s) of {bits} bits, format {kind}")
    return np.dtype(f"{order}u{bits[0] // 8}")


def _transform(tags: dict[int, Any], keys: dict[int, int]) -> Affine:
    if _TRANSFORMATION in tags:
        m = [float(value) for value in tags[_TRANSFORMATION]]
        transform = Affine(m[0], m[1], m[3], m[4], m[5], m[7])
    else:
        sx, sy = (float(value) for value in tags[_PIXEL_SCALE][:2])
        i, j, _, x, y = (float(value) for value in tags[_TIEPOINT][:5])
        # rows go south whatever the sign, as GDAL takes it: many writers have got it wrong
        sy = abs(sy)
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


def _scaling(tags: dict[int, Any]) -> tuple[float, float]:
    """What GDAL wrote about the first band's scale and offset.

    Raises:
        Unsupported: a number that is none.
    """
    told = bytes(tags[_METADATA][0]).decode("utf-8", "replace") if _METADATA in tags else ""
    found = {"scale": 1.0, "offset": 0.0}
    try:
        found |= {role: float(value) for role, value in _SCALING.findall(told)}
    except ValueError as error:
        raise Unsupported(f"scale or offset: {error}") from error
    return found["scale"], found["offset"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How numbers are written: ``<`` or ``>``; and in directories of the classic kind or of BigTIFF."""

    order: str
    is_big: bool

    @property
    def pointer(self) -> str:
        return self.order + ("Q" if self.is_big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.is_big else "H")

    @property
    def entry(self) -> str:
        """Tag, type, number of values; the values or their place follow."""
        return self.order + ("HHQ" if self.is_big else "HHI")


def _begin(head: bytes) -> tuple[_Kind, int]:
    """How the file is written, and where its first directory begins.

    Raises:
        NotTiff: it is no TIFF.
    """
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        raise NotTiff("the first bytes are not those of a TIFF")
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version not in (42, 43):
        raise NotTiff(f"a TIFF says version 42 or 43, not {version}")
    kind = _Kind(order, version == 43)
    (start,) = struct.unpack_from(kind.pointer, head, 8 if kind.is_big else 4)
    return kind, start


def _read_tags(head: bytes, start: int, kind: _Kind, wanted: set[int]) -> tuple[dict[int, Any], int]:
    """The wanted tags of a directory, and where the next one begins.

    Raises:
        Truncated, Unsupported: as for ``parse_geotiff``.
    """
    (count,) = _unpack(kind.count, head, start)
    if count > _MAX_TAGS:
        raise Unsupported(f"{count} tags")
    at = start + struct.calcsize(kind.count)
    inline = struct.calcsize(kind.pointer)
    size = struct.calcsize(kind.entry) + inline
    tags: dict[int, Any] = {}
    before = -1
    for entry in range(at, at + count * size, size):
        tag, type_, number = _unpack(kind.entry, head, entry)
        if tag <= before:
            # one of them is damaged, and may be one that would have been wanted
            raise Unsupported("tags that are not in order")
        before = tag
        if tag in wanted:
            tags[tag] = _value(head, kind, type_, number, entry + size - inline)
    (following,) = _unpack(kind.pointer, head, at + count * size)
    return tags, following


def _value(head: bytes, kind: _Kind, type_: int, number: int, at: int) -> Any:  # noqa: ANN401
    code = _FORMATS.get(type_)
    if code is None or number > _MAX_BLOCKS:
        raise Unsupported(f"a tag of type {type_} with {number} values")
    length = struct.calcsize(kind.order + code) * number
    if length > struct.calcsize(kind.pointer):
        (at,) = _unpack(kind.pointer, head, at)
    if at + length > len(head):
        raise Truncated(at + length)
    if code == "s":
        return (head[at : at + length],)
    return np.frombuffer(head, np.dtype(kind.order + code), number, at)


def _unpack(layout: str, head: bytes, at: int) -> tuple[Any, ...]:
    end = at + struct.calcsize(layout)
    if end > len(head):
        raise Truncated(end)
    return struct.unpack_from(layout, head, at)
