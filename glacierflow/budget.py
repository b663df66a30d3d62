"""How many acquisitions fit into memory at a time, and how much that is. Pure."""

from __future__ import annotations

__all__ = ["acquisitions_in_hand", "peak_mb", "shared_room_mb"]

_MOST = 4
"""More acquisitions in hand hide no further latency of this process's own reading."""
_ROOM_MB = 400
"""Memory for them, where there is as much: enough to keep network and processors busy."""
_MOST_SHARED_MB = 1000
"""Blocks kept for a slot's later units: a few on the borders of regions, for each of many dates."""
_BASE_MB = 325
"""Python, its libraries and the blocks being read: as measured, see ``docs/reference/memory.md``."""
_BYTES_A_PIXEL = 7
"""Of a product: 2 for itself, about 3.5 for the source's window, the rest while it is written."""


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


def peak_mb(pixels: int, in_hand: int) -> float:
    """Memory that a process needs at most with so many acquisitions in hand, 1e6 bytes."""
    return _BASE_MB + in_hand * pixels * _BYTES_A_PIXEL / 1e6


def shared_room_mb(pixels: int, budget_mb: float) -> float:
    """Memory for blocks that a slot's units share: what the acquisitions in hand leave, 1e6 bytes.

    Never more than a quarter of all, so that the peak that a receipt tells does not ask for a larger class.
    """
    left = budget_mb - peak_mb(pixels, acquisitions_in_hand(pixels, budget_mb))
    return max(0.0, min(_MOST_SHARED_MB, budget_mb / 4, left))
