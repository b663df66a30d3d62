"""How many acquisitions fit into memory at a time, or how much of one, and how much that is. Pure."""

from __future__ import annotations

_MOST = 4
"""More acquisitions in hand hide no further latency of this process's own reading."""
_ROOM_MB = 400
"""Memory for them, where there is as much: enough to keep network and processors busy."""
_MOST_SHARED_MB = 1000
"""Blocks kept for a slot's later units: a few on the borders of regions, for each of many dates."""
_BASE_MB = 350
"""Python, its libraries (pandas, xarray and dask are 45 of it) and the blocks being read: as measured with
images of less than a million pixels, see ``docs/reference/memory.md``."""
_BYTES_A_PIXEL = 7
"""Of a product: 2 for itself, about 3.5 for the source's window, the rest while it is written."""
_BORDER_BYTES_A_COLUMN = 8192
"""Of a band: sources are turned against the grid, so that it touches about two rows of blocks of 1024 besides
its own; and about as much, compressed, is kept for the next band."""


def acquisitions_in_hand(pixels: int, budget_mb: float, *, workers: int | None = None) -> int:
    """Acquisitions to work on at a time, at least 1: as many as memory has room for, and no more than help.

    Args:
        pixels: of one product.
        budget_mb: memory of this process, 1e6 bytes.
        workers: threads of other processes that read and resample, where this one only writes.
    """
    room, most = budget_mb - _BASE_MB, _MOST
    if workers is None:
        room = min(room, _ROOM_MB)
    else:
        most = workers
    return max(1, min(most, int(room * 1e6 / (pixels * _BYTES_A_PIXEL))))


def chunk_rows(shape: tuple[int, int], budget_mb: float, block: int) -> int:
    """Rows of a product to make at a time: all where memory has room for them, else whole rows of blocks.

    Args:
        shape: (rows, columns) of a product.
        budget_mb: memory of this process, 1e6 bytes.
        block: pixels on a side of a product's blocks.
    """
    rows, cols = shape
    if peak_mb(rows * cols, 1) <= budget_mb:
        return rows
    room = budget_mb - _BASE_MB - _border_mb(cols)
    bands = int(room * 1e6 / (cols * block * _BYTES_A_PIXEL))
    return min(rows, max(1, bands) * block)


def least_mb(shape: tuple[int, int], block: int) -> float:
    """Memory that a process needs at most where it makes one row of blocks at a time, 1e6 bytes."""
    rows, cols = shape
    band = _BASE_MB + _border_mb(cols) + cols * block * _BYTES_A_PIXEL / 1e6
    return min(band, peak_mb(rows * cols, 1))


def chunk_room_mb(shape: tuple[int, int], rows: int, budget_mb: float, block: int) -> float:
    """Memory for blocks that chunks of one image share, 1e6 bytes.

    Args:
        shape: (rows, columns) of a product.
        rows: of a chunk.
        budget_mb: memory of this process, 1e6 bytes.
        block: pixels on a side of a product's blocks.
    """
    if rows < shape[0] and least_mb(shape, block) > budget_mb:
        return 0.0
    if rows < shape[0] and peak_mb(shape[0] * shape[1], 1) > budget_mb:
        return _border_mb(shape[1]) / 2
    return shared_room_mb(shape[0] * shape[1], budget_mb)


def _border_mb(cols: int) -> float:
    """Blocks on a band's borders: those of the sources in memory, and compressed ones kept for the next."""
    return cols * _BORDER_BYTES_A_COLUMN / 1e6


def peak_mb(pixels: int, in_hand: int) -> float:
    """Memory that a process needs at most with so many acquisitions in hand, 1e6 bytes."""
    return _BASE_MB + in_hand * pixels * _BYTES_A_PIXEL / 1e6


def shared_room_mb(pixels: int, budget_mb: float) -> float:
    """Memory for blocks that a slot's units share: what the acquisitions in hand leave, 1e6 bytes.

    Never more than a quarter of all, so that the peak that a receipt tells does not ask for a larger class.
    """
    left = budget_mb - peak_mb(pixels, acquisitions_in_hand(pixels, budget_mb))
    return max(0.0, min(most_kept_mb(budget_mb), left))


def most_kept_mb(budget_mb: float) -> float:
    """Memory that blocks may take which are kept for a later use, whatever else there is, 1e6 bytes."""
    return min(_MOST_SHARED_MB, budget_mb / 4)
