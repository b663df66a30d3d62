"""When a run that is being watched has to be stopped: it has cost enough, or it fails all over. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from glacierflow.runs.groups import group_failures
from glacierflow.runs.status import RunStatus

__all__ = ["Limits", "reason_to_stop"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a watched run may do."""

    max_usd: float | None
    """Dollars of compute; None: no limit."""
    breaker_children: int
    """Children that must have ended before the breaker judges."""
    breaker_share: float
    """Share of the ended children with one and the same failure above which the rest is stopped."""


def reason_to_stop(status: RunStatus, limits: Limits, spent_usd: float | None) -> str | None:
    """Why the rest of the run has to be stopped now, in words; None where it may go on.

    Args:
        status: a look at the run.
        limits: what it may do.
        spent_usd: dollars of compute so far; None where nobody knows.
    """
    if status.finished:
        return None
    if limits.max_usd is not None and spent_usd is not None and spent_usd >= limits.max_usd:
        return f"its compute has cost about ${spent_usd:,.4g}, and --max-usd is {limits.max_usd:,g}"
    ended = sum(row.ended for row in status.rows)
    if ended < limits.breaker_children:
        return None
    for group in group_failures(row for row in status.rows if row.ended and row.wrong):
        if len(group.slots) > limits.breaker_share * ended:
            count = f"{len(group.slots)} of the {ended} children ended so far"
            return f"{count} failed alike ({group.failure}): {group.example}"
    return None
