"""Blocks of a source image: which bytes they are, fetched in few requests, checked, decoded into a window."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import DataError
from glacierflow.faults import kind_of
from glacierflow.imagery.cache import Source
from glacierflow.imagery.geotiff import (
    DIRECTORY_BYTES,
    GeoTiff,
    NotTiff,
    TooLarge,
    Truncated,
    Unsupported,
    is_mask,
    parse_geotiff,
)
from glacierflow.imagery.grid import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.imagery.cache import Kept
    from glacierflow.imagery.ranges import Ranges, Version
    from glacierflow.model.records import Satellite, Scene


HEAD_BYTES = 32_768
"""First request: the header of an image of 10,980 pixels in blocks of 1024, or of 15,000 in blocks of 256."""
_MAX_HEAD = 1 << 26
_MAX_DIRECTORIES = 64
"""An image's smaller copies and masks have one each."""
_FINEST, _MARGIN = 16, 64
"""Source pixels for one of the image, at most: of a quarter of its side; and around it."""
_USUAL_SCALING: dict[Satellite, set[tuple[float, float]]] = {
    # of Level-2A before and since baseline 04.00
    "sentinel2": {(0.0001, 0.0), (0.0001, -0.1)},
    "landsat": set(),
}
"""What files of the archives say in their tags; the DN are delivered as they are."""
_GAP = 4096
"""Bytes between two blocks that are fetched along rather than asked around."""
_MAX_SPAN = 1 << 21
"""Bytes of one request that merging may reach: long enough for the latency, short enough to spread."""


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring blocks of a file, fetched by one request."""

    first: int
    end: int
    blocks: tuple[tuple[int, int], ...]
    """(block row, block column) of each."""


def open_source(scene: Scene, ranges: Ranges) -> Source:
    """Read an image's header: one request, as a rule.

    Raises:
        DataError: it is not a TIFF, or its header is cut short.
        Unsupported: a TIFF that GDAL must read.
        CredentialsError, UnavailableError: as ``Ranges.fetch``.
    """
    href, pays = scene.href, scene.requester_pays
    begin, version = ranges.fetch(href, 0, HEAD_BYTES, requester_pays=pays)
    head = bytes(begin)
    while True:
        try:
            tiff = parse_geotiff(head)
            _refuse_mask(tiff, head, functools.partial(_fetch_directory, scene, ranges, version))
            return Source(href, pays, tiff, version)
        except NotTiff as error:
            raise DataError(f"{href} could not be read: it is not a TIFF, but {kind_of(head)}") from error
        except TooLarge as error:
            raise DataError(f"{href} could not be read: {error}") from error
        except Truncated as error:
            if error.needed > min(version.size, _MAX_HEAD):
                raise DataError(
                    f"{href} could not be read: it is cut short, its header ends at byte {error.needed}, "
                    f"the file at {version.size}"
                ) from error
            more = max(error.needed - len(head), HEAD_BYTES)
            rest, _ = ranges.fetch(href, len(head), more, requester_pays=pays, same=version)
            head += rest


def _fetch_directory(scene: Scene, ranges: Ranges, version: Version, at: int) -> bytes:
    if at >= version.size:
        return b""
    data, _ = ranges.fetch(scene.href, at, DIRECTORY_BYTES, requester_pays=scene.requester_pays, same=version)
    return bytes(data)


def _refuse_mask(tiff: GeoTiff, head: bytes, fetch: Callable[[int], bytes]) -> None:
    """Leave a file that has a mask to GDAL, which honours it.

    Raises:
        Unsupported: it has one, or too many directories to look through.
    """
    at = tiff.next_directory
    for _ in range(_MAX_DIRECTORIES):
        if at == 0:
            return
        try:
            found, at = is_mask(head, head, at)
        except Truncated:
            try:
                found, at = is_mask(head, fetch(at), 0)
            except Truncated as error:
                raise Unsupported("a directory that ends early") from error
        if found:
            raise Unsupported("a mask")
    raise Unsupported(f"more than {_MAX_DIRECTORIES} directories")


def refuse_fine_pixels(scene: Scene, window: Window, geobox: GeoBox) -> None:
    """Refuse to hold far more source pixels than the image has pixels.

    Raises:
        DataError: they are finer than any source's.
    """
    rows, cols = geobox.shape
    if window.rows * window.cols > _FINEST * (rows + _MARGIN) * (cols + _MARGIN):
        raise DataError(
            f"{scene.href} could not be read: {window.rows} x {window.cols} of its pixels lie under "
            f"{rows} x {cols} of the image, so they are far finer than a source's can be"
        )


def refuse_scaling(scene: Scene, scaling: tuple[float, float]) -> None:
    """Refuse a file whose own tags say that its DN mean something else than the archive's.

    Raises:
        DataError: they do.
    """
    usual = {(1.0, 0.0), *_USUAL_SCALING[scene.satellite]}
    told = scene.scale if scene.scale is not None else 1.0, scene.offset or 0.0
    if not any(np.allclose(scaling, known, rtol=1e-6, atol=0) for known in {*usual, told}):
        raise DataError(
            f"{scene.href} could not be read: its tags say scale {scaling[0]}, offset {scaling[1]}, its STAC "
            f"item scale {scene.scale}, offset {scene.offset}, so its numbers are not the archive's DN"
        )


def spans_of(tiff: GeoTiff, needed: NDArray[np.bool_]) -> list[Span]:
    """The requests that fetch the needed blocks; blocks never written (of size 0) need none."""
    where = np.argwhere(needed & (tiff.sizes > 0))
    places = [(int(tiff.offsets[i, j]), int(tiff.sizes[i, j]), (int(i), int(j))) for i, j in where]
    spans: list[Span] = []
    for offset, size, block in sorted(places):
        last = spans[-1] if spans else None
        if last and offset - last.end <= _GAP and offset + size - last.first <= _MAX_SPAN:
            spans[-1] = Span(last.first, max(last.end, offset + size), (*last.blocks, block))
        else:
            spans.append(Span(offset, offset + size, (block,)))
    return spans


def read_blocks(
    source: Source,
    window: Window,
    needed: NDArray[np.bool_],
    ranges: Ranges,
    executor: Executor,
    kept: Kept | None = None,
) -> NDArray[np.uint16]:
    """A window of an image; 0 where a block is not needed or was never written.

    Args:
        source: the image.
        window: rectangle of its pixels.
        needed: (block rows, block columns).
        ranges: fetches bytes.
        executor: runs one call per span: its bytes, then its pixels.
        kept: blocks that were fetched for another region, or that another will need.

    Raises:
        DataError: a block is not what the header says; no pixel of it is used.
        CredentialsError, UnavailableError: as ``Ranges.fetch``.
    """
    pixels = np.zeros((window.rows, window.cols), np.uint16)
    there = {} if kept is None else kept.take(needed)
    missing = needed.copy()
    for block in there:
        missing[block] = False
    spans = spans_of(source.tiff, missing)
    most = _most_bytes(source.tiff)
    for span in spans:
        for block in span.blocks:
            if source.tiff.sizes[block] > most:
                raise DataError(
                    f"{source.href} could not be read: block {block} is said to take "
                    f"{source.tiff.sizes[block]} bytes in the file, more than its pixels"
                )
        if span.end > source.version.size:
            raise DataError(
                f"{source.href} could not be read: it is cut short, a block ends at byte {span.end}, "
                f"the file at {source.version.size}"
            )
    futures = [executor.submit(_read_span, source, span, window, pixels, ranges, kept) for span in spans]
    for block, data in there.items():
        futures.append(executor.submit(_decode, source, block, memoryview(data), window, pixels))
    _all_or_first_error(futures)
    return pixels


def _most_bytes(tiff: GeoTiff) -> int:
    """Bytes a block can take in a file: DEFLATE adds five to every 16,383 that it cannot compress."""
    plain = tiff.block[0] * tiff.block[1] * tiff.dtype.itemsize
    return plain + plain // 1000 + 1000


def _all_or_first_error(futures: Sequence[Any]) -> None:
    """Wait for all; where one fails, drop those that have not begun and raise what it raised."""
    try:
        for future in futures:
            future.result()
    except BaseException:
        # nothing may still write into the window or fail unseen when the next scene is begun; those that
        # never begin are not waited for: a pool that was shut down tells nobody that it dropped them
        wait([future for future in futures if not future.cancel()])
        raise


def _read_span(
    source: Source,
    span: Span,
    window: Window,
    pixels: NDArray[np.uint16],
    ranges: Ranges,
    kept: Kept | None,
) -> None:
    data, _ = ranges.fetch(
        source.href,
        span.first,
        span.end - span.first,
        requester_pays=source.requester_pays,
        same=source.version,
    )
    view = memoryview(data)
    for i, j in span.blocks:
        start = int(source.tiff.offsets[i, j]) - span.first
        block = view[start : start + int(source.tiff.sizes[i, j])]
        _decode(source, (i, j), block, window, pixels)
        if kept is not None:
            kept.put((i, j), block)


def inflate(data: bytes | bytearray | memoryview, most: int) -> bytes:
    """What a DEFLATE stream holds, its checksum compared; never much more than ``most`` bytes of it.

    Raises:
        isal_zlib.error: it is damaged or cut short.
    """
    from isal import isal_zlib

    stream = isal_zlib.decompressobj()
    raw: bytes = stream.decompress(data, most + 1)
    if not stream.eof and len(raw) <= most:
        # the checksum alone is left, or the stream is cut short
        raw += stream.decompress(stream.unconsumed_tail, 1)
        if not stream.eof:
            raise isal_zlib.error("incomplete or truncated stream")  # type: ignore[operator]
    return raw


def _decode(
    source: Source, block: tuple[int, int], data: memoryview, window: Window, pixels: NDArray[np.uint16]
) -> None:
    """Inflate one block (its Adler-32 is checked on the way) and put it into the window."""
    from isal import isal_zlib

    from glacierflow.imagery.kernels import paste

    tiff, (i, j) = source.tiff, block
    rows, cols = tiff.block
    if not tiff.padded:
        rows = min(rows, tiff.shape[0] - i * rows)
    expected = rows * cols * tiff.dtype.itemsize
    try:
        raw = inflate(data, expected) if tiff.deflated else bytes(data)
    except isal_zlib.error as error:  # type: ignore[misc]
        raise DataError(f"{source.href} could not be read: block {block} is corrupt: {error}") from error
    if len(raw) != expected:
        holds = f"{len(raw)} bytes" if len(raw) <= expected else "more"
        raise DataError(f"{source.href} could not be read: block {block} holds {holds}, not {expected} bytes")
    values = np.frombuffer(raw, tiff.dtype).reshape(rows, cols)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    top, left = i * tiff.block[0] - window.row, j * tiff.block[1] - window.col
    if tiff.nodata is None or tiff.nodata == 0:
        paste(values, pixels, top, left, tiff.predicted)
        return
    plain = np.zeros((rows, cols), np.uint16)
    paste(values, plain, 0, 0, tiff.predicted)
    plain[plain == tiff.nodata] = 0
    paste(plain, pixels, top, left, False)
