"""Every attempt's time on a machine, from what it left and from what AWS Batch says; pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from glacierflow.cost.prices import Lifecycle
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Machine, Receipt, Started
from glacierflow.runs.family import Family, Member
from glacierflow.runs.verify import GOOD_OUTCOMES


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """What AWS Batch says of an attempt that was ended from outside, or left no record."""

    stopped_at: dt.datetime | None
    failure: str | None
    started_at: dt.datetime | None = None
    """None where its container never started."""


@dataclass(frozen=True, slots=True)
class Spell:
    """One attempt's time on a machine."""

    run_id: str
    slot: int
    """In its own run."""
    attempt: int
    regions: tuple[str, ...]
    """A region stands once for each product the attempt wrote, else once for each unit."""
    started_at: dt.datetime
    ended_at: dt.datetime | None
    """None where nobody knows."""
    machine: Machine | None
    lifecycle: Lifecycle
    memory_mib: int
    wasted_on: str | None
    """Why its work did not count; None where it ended well."""
    recorded: bool = True
    """Whether it left a record; without one only AWS Batch tells of it."""


def spells_of(family: Family, ends: Mapping[tuple[str, int, int], AttemptEnd]) -> list[Spell]:
    """Every attempt of a run and its retries.

    Args:
        family: the run and its retries.
        ends: of attempts that were ended from outside or left no record, by run id, slot and attempt.
    """
    return [spell for member in family.sent for spell in _spells(member, ends)]


def unstarted(family: Family, ends: Mapping[tuple[str, int, int], AttemptEnd]) -> int:
    """How many attempts AWS Batch tells of whose containers never started."""
    members = {member.manifest.run_id: member for member in family.sent}
    return sum(
        end.started_at is None and not _recorded(members[run_id], slot, attempt)
        for (run_id, slot, attempt), end in ends.items()
    )


def _recorded(member: Member, slot: int, attempt: int) -> bool:
    return slot in member.attempts and attempt in member.attempts[slot].outcomes


def _spells(member: Member, ends: Mapping[tuple[str, int, int], AttemptEnd]) -> list[Spell]:
    run_id = member.manifest.run_id
    nobody = AttemptEnd(None, None)
    spells = []
    for receipt in member.receipts.every(member.attempts):
        end = ends.get((run_id, receipt.slot, receipt.attempt), nobody)
        lost_to = end.failure if receipt.outcome == "interrupted" else None
        spells.append(_spell(member, receipt, receipt.ended_at, lost_to))
    unended = [
        (slot, attempt)
        for slot, attempts in sorted(member.attempts.items())
        for attempt, outcome in attempts.outcomes.items()
        if outcome is None
    ]
    begun = {(one.slot, one.attempt): one for one in member.receipts.starts(unended)}
    for place in unended:
        if place in begun:
            end = ends.get((run_id, *place), nobody)
            spells.append(_spell(member, begun[place], end.stopped_at, end.failure or "killed"))
    for (of_run, slot, attempt), end in ends.items():
        if of_run == run_id and not _recorded(member, slot, attempt) and end.started_at is not None:
            spells.append(batch_spell(member.manifest, slot, attempt, end.started_at, end))
    return sorted(spells, key=lambda spell: (spell.slot, spell.attempt))


def batch_spell(
    manifest: Manifest, slot: int, attempt: int, started_at: dt.datetime, end: AttemptEnd
) -> Spell:
    """One attempt that was lost before it could leave a record, by the times of AWS Batch."""
    array = manifest.array_of(slot)
    return Spell(
        run_id=manifest.run_id,
        slot=slot,
        attempt=attempt,
        regions=tuple(unit.region for unit in manifest.slots[slot]),
        started_at=started_at,
        ended_at=end.stopped_at,
        machine=None,
        lifecycle="on-demand" if array.on_demand else "spot",
        memory_mib=array.memory_mib or MEMORY_CLASSES_MIB[0],
        wasted_on=end.failure or "missing",
        recorded=False,
    )


def _spell(member: Member, started: Started, ended_at: dt.datetime | None, lost_to: str | None) -> Spell:
    array = member.manifest.array_of(started.slot)
    machine = started.machine
    named = machine.lifecycle if machine else None
    on_demand = named == "on-demand" if named else array.on_demand
    return Spell(
        run_id=started.run_id,
        slot=started.slot,
        attempt=started.attempt,
        regions=_regions(started),
        started_at=started.started_at,
        ended_at=ended_at,
        machine=machine,
        lifecycle="on-demand" if on_demand else "spot",
        memory_mib=array.memory_mib or MEMORY_CLASSES_MIB[0],
        wasted_on=lost_to or _wasted_on(started),
    )


_LOST = {"interrupted": "spot", "unavailable": "service", "failed": "failed"}


def _wasted_on(started: Started) -> str | None:
    if not isinstance(started, Receipt) or started.outcome in GOOD_OUTCOMES:
        return None
    return _LOST[started.outcome]


def _regions(started: Started) -> tuple[str, ...]:
    products = started.products if isinstance(started, Receipt) else ()
    named = [started.units[product.unit].region for product in products]
    return tuple(named or [unit.region for unit in started.units])
