"""When a run will have ended, as a range, from ended children of the same memory class; pure."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict

from glacierflow.model import Record
from glacierflow.runs.status import RunStatus, SlotRow

__all__ = ["Eta", "estimate_end"]

_ENOUGH = 3
"""Ended children of a class before anything is said of the others."""

_ACTIVE = {"STARTING", "RUNNING"}


class Eta(Record):
    """Seconds from now until the run has ended."""

    low_s: float | None = None
    """If the rest goes as fast as the quicker quarter of what has ended; None where nothing can be said."""
    high_s: float | None = None
    """If it goes as slowly as the slower quarter, and the last child takes as long as any did."""
    basis: str
    """What the range rests on, or why there is none."""


def estimate_end(status: RunStatus) -> Eta:
    """Work that is left, by class, divided by the children that run now.

    ``left = sum over classes of children left x quartile of the class's durations``; a running child has the
    time that it has run already behind it. The range knows nothing of machines still to come: while a queue
    scales up the end comes sooner, when spot capacity dries up later.
    """
    if status.finished:
        return Eta(low_s=0.0, high_s=0.0, basis="the run has ended")
    left = [row for row in status.rows if not row.ended]
    running = sum(row.state in _ACTIVE for row in left)
    durations = _durations(status)
    unknown = {row.memory_mib for row in left if len(durations[row.memory_mib]) < _ENOUGH}
    if unknown:
        return Eta(basis=_silence(status, unknown))
    if not running:
        return Eta(basis="nothing runs at the moment")
    quartiles = {memory: _quartiles(durations[memory]) for memory in {row.memory_mib for row in left}}
    low = sum(_rest(row, quartiles[row.memory_mib][0]) for row in left) / running
    high = sum(_rest(row, quartiles[row.memory_mib][1]) for row in left) / running
    slowest = max(_rest(row, max(durations[row.memory_mib])) for row in left)
    ended = sum(len(durations[memory]) for memory in quartiles)
    return Eta(
        low_s=round(low, 1),
        high_s=round(max(high, slowest), 1),
        basis=f"{ended} ended children of the same class, {running} running",
    )


def _durations(status: RunStatus) -> dict[int | None, list[float]]:
    found: dict[int | None, list[float]] = defaultdict(list)
    for row in status.rows:
        if row.ended and not row.wrong and row.seconds is not None:
            found[row.memory_mib].append(row.seconds)
    return found


def _silence(status: RunStatus, classes: set[int | None]) -> str:
    """Why there is no range: too few have ended, or nobody has read how long those took that have."""
    ended = Counter(row.memory_mib for row in status.rows if row.ended and not row.wrong)
    few = {memory for memory in classes if ended[memory] < _ENOUGH}
    if few:
        return f"fewer than {_ENOUGH} children of {_class_name(few)} have ended"
    return (
        f"the receipts of the children of {_class_name(classes)} that have ended are not read yet: --receipts"
    )


def _quartiles(durations: list[float]) -> tuple[float, float]:
    first, _, third = statistics.quantiles(durations, n=4, method="inclusive")
    return first, third


def _rest(row: SlotRow, duration: float) -> float:
    behind = row.seconds if row.state in _ACTIVE and row.seconds is not None else 0.0
    return max(0.0, duration - behind)


def _class_name(classes: set[int | None]) -> str:
    ordered = sorted(classes, key=lambda one: one or 0)
    return ", ".join("the only class" if one is None else f"the {one} MiB class" for one in ordered)
