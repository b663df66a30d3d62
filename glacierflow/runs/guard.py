"""When a run that is being watched has to be stopped: it has cost enough, or it fails all over. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from glacierflow.runs.groups import group_failures
from glacierflow.runs.status import RunStatus

__all__ = ["Limits", "reason_to_stop", "spent_usd"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a watched run may do."""

    max_usd: float | None
    """Dollars of compute; None: no limit."""
    breaker_children: int
    """Children that must have ended before the breaker judges; 0 turns it off."""
    breaker_share: float
    """Share of the ended children with one and the same failure above which the rest is stopped."""


def spent_usd(status: RunStatus, child_hour: Callable[[int | None], float]) -> float:
    """Compute so far: time of every slot at the price of its class.

    The time of earlier attempts of a slot is taken to be that of its latest.

    Args:
        status: a look at the run.
        child_hour: dollars for an hour of a child by its memory class in MiB.
    """
    return math.fsum(
        (row.seconds or 0.0) / 3600 * max(1, row.attempts) * child_hour(row.memory_mib) for row in status.rows
    )


def reason_to_stop(
    status: RunStatus, limits: Limits, child_hour: Callable[[int | None], float]
) -> str | None:
    """Why the rest of the run has to be stopped now, in words; None where it may go on."""
    if status.finished:
        return None
    if limits.max_usd is not None:
        spent = spent_usd(status, child_hour)
        if spent >= limits.max_usd:
            return f"its compute has cost about ${spent:,.4g}, and --max-usd is {limits.max_usd:,g}"
    ended = sum(row.ended for row in status.rows)
    if not limits.breaker_children or ended < limits.breaker_children:
        return None
    for group in group_failures(row for row in status.rows if row.ended and row.wrong):
        if len(group.slots) > limits.breaker_share * ended:
            count = f"{len(group.slots)} of the {ended} children ended so far"
            return f"{count} failed alike ({group.failure}): {group.example}"
    return None
