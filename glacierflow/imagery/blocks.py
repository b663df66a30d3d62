"""Blocks of a source image: which bytes they are, fetched in few requests, checked, decoded into a window."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import DataError
from glacierflow.imagery.cache import Source
from glacierflow.imagery.geotiff import GeoTiff, NotTiff, Truncated, parse_geotiff
from glacierflow.imagery.grid import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glacierflow.imagery.cache import Kept
    from glacierflow.imagery.ranges import Ranges
    from glacierflow.model.records import Scene


HEAD_BYTES = 32_768
"""First request: the header of an image of 10,980 pixels in blocks of 1024, or of 15,000 in blocks of 256."""
_MAX_HEAD = 1 << 26
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


def _as_text(head: bytes) -> str:
    """How it begins, where people can read that: an error page in the place of an image, for one."""
    text = head.decode("ascii", errors="replace").strip()
    return f", it begins with {text!r}" if text.isprintable() and "\ufffd" not in text and text else ""


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
            return Source(href, pays, parse_geotiff(head), version)
        except NotTiff as error:
            empty = "" if head else ", it is empty"
            raise DataError(
                f"{href} could not be read: it is not a TIFF{_as_text(head[:40])}{empty}"
            ) from error
        except Truncated as error:
            if error.needed > min(version.size, _MAX_HEAD):
                raise DataError(
                    f"{href} could not be read: it is cut short, its header ends at byte {error.needed}, "
                    f"the file at {version.size}"
                ) from error
            more = max(error.needed - len(head), HEAD_BYTES)
            rest, _ = ranges.fetch(href, len(head), more, requester_pays=pays, same=version)
            head += rest


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
    for span in spans:
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
        raw = isal_zlib.decompress(data, bufsize=expected) if tiff.deflated else bytes(data)
    except isal_zlib.error as error:  # type: ignore[misc]
        raise DataError(f"{source.href} could not be read: block {block} is corrupt: {error}") from error
    if len(raw) != expected:
        raise DataError(
            f"{source.href} could not be read: block {block} holds {len(raw)} bytes, not {expected}"
        )
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
