"""What a watcher is shown: the end in sight, groups of failures, limits passed, a summary; pure."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from glacierflow.model.manifest import short_name
from glacierflow.model.records import Record
from glacierflow.runs.failures import signature
from glacierflow.runs.states import FailureClass
from glacierflow.runs.status import RunStatus, SlotRow

_ENOUGH = 3
"""Ended children of a class before anything is said of the others."""

_ACTIVE = {"STARTING", "RUNNING"}

_MAX_SUBJECT = 100
"""Characters SNS takes, all of them ASCII."""
_MOST_NAMED = 5


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


class FailureGroup(Record):
    """Slots that went wrong in the same way."""

    failure: FailureClass
    signature: str
    slots: tuple[int, ...]
    wrong: bool
    """False for slots that are partial, or stuck and still waiting."""
    example: str
    """The reason of one of them, whole."""
    slot: int
    """Of that one, in the first run."""
    region: str
    """Of that one."""
    run_id: str
    """Of that one: the run itself, or a retry."""
    next_step: str


def group_failures(rows: Iterable[SlotRow]) -> tuple[FailureGroup, ...]:
    """Groups by class and normalised reason, the largest first."""
    groups: dict[str, list[SlotRow]] = defaultdict(list)
    for row in rows:
        if row.failure is not None:
            groups[signature(row.failure, row.reason)].append(row)
    found = [_group(sign, alike) for sign, alike in groups.items()]
    return tuple(sorted(found, key=lambda group: (not group.wrong, -len(group.slots), group.signature)))


def _group(sign: str, rows: list[SlotRow]) -> FailureGroup:
    # One with a receipt explains more than one that only Batch speaks of.
    example = next((row for row in rows if row.outcome is not None), rows[0])
    if example.failure is None:
        raise AssertionError(sign)
    return FailureGroup(
        failure=example.failure,
        signature=sign,
        slots=tuple(row.slot for row in rows),
        wrong=any(row.wrong for row in rows),
        example=example.reason or example.next_step or "",
        slot=example.slot,
        region=example.regions[0],
        run_id=example.run_id,
        next_step=example.next_step or "",
    )


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


def products_in_words(new: int, in_all: int) -> str:
    """Products by where they come from: written now, found in place, and both."""
    return f"{new} new, {in_all - new} already there, {in_all} in all"


def summary_message(status: RunStatus, spent_usd: float | None = None) -> tuple[str, str]:
    """Subject and text: what became of the run, what it cost, what went wrong and what to do next."""
    wrong = len(status.wrong)
    verdict = f"{wrong} of {len(status.rows)} units went wrong" if wrong else "all is well"
    subject = f"glacierflow: {verdict}: {status.run_id}"
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in status.outcomes.items())
    lines = [
        f"run {status.run_id}",
        *(f"  with its retry {retry}" for retry in status.retries),
        f"{len(status.rows)} units: {outcomes or 'none started'}",
        f"products: {products_in_words(status.new, status.products)}",
        f"{status.attempts} attempts ({status.reclaims or 'none'} interrupted by spot reclaims)"
        f"{'' if spent_usd is None else f', {spent_usd:.4f} US dollars'}",
        f"records {status.store}/runs/{status.run_id}/",
    ]
    groups = defaultdict(list)
    for row in status.wrong:
        groups[row.failure or "unknown"].append(row)
    for failure, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        named = ", ".join("+".join(row.regions) for row in rows[:_MOST_NAMED])
        more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
        lines.append(f"{len(rows)} {failure}: {named}{more}: {rows[0].reason}")
    if wrong:
        lines.append(f"next: glacierflow batch retry {short_name(status.run_id)} --dry-run")
    return subject.encode("ascii", "replace").decode()[:_MAX_SUBJECT], "\n".join(lines)
