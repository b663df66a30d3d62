"""Failures of one kind together: 37 failed children are three signatures, each with one example; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from glacierflow.model import Record
from glacierflow.runs.classify import FailureClass, signature
from glacierflow.runs.status import SlotRow

__all__ = ["FailureGroup", "group_failures"]


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
