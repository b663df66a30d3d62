"""What a run has cost so far from its ledgers, and what a full report needs from AWS Batch and EC2."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from glacierflow.aws.batch import describe_slots, find_jobs
from glacierflow.cloud import Cloud
from glacierflow.cost.attempt_times import AttemptEnd, Spell, batch_spell, spells_of, unstarted
from glacierflow.cost.price_sources import fetch_spot_history
from glacierflow.cost.prices import PriceBook
from glacierflow.cost.report import CostReport, cost_of, price_spell
from glacierflow.errors import GlacierflowError, StoreError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.live.states import batch_jobs
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import Record
from glacierflow.runs.failures import classify_attempt
from glacierflow.runs.family import Family, Member
from glacierflow.runs.ledger import Ledger, SlotEntry, read_ledger
from glacierflow.runs.records import Attempts
from glacierflow.store import Store

_CUT_SHORT = {None, "interrupted"}
"""Outcomes that do not tell who ended the attempt: a reclaim, a time limit, a person."""

_TRIED_AGAIN = _CUT_SHORT | {"unavailable"}
"""Outcomes after which another attempt may have been lost before it left a record."""


class Spent(Record):
    """Dollars so far."""

    usd: float
    attempts: int
    """Attempts whose time is known."""
    unknown: int
    """Attempts whose time is not known: their receipts, or their ends in AWS Batch, have not been read."""
    prices_of: str | None = None
    """AWS region whose prices stand in for those of the run's own; None where they are its own."""


def spent_so_far(
    ledgers: Iterable[tuple[Manifest, Ledger]],
    prices: PriceBook,
    *,
    attempts: int,
    running: Collection[tuple[str, int]],
    cautious: bool = False,
    now: dt.datetime | None = None,
) -> Spent:
    """Add up the attempts that are known; one that is running counts up to now.

    Args:
        ledgers: the run and its retries.
        prices: the dated table.
        attempts: how many there have been, by the status.
        running: run id and slot of what is running now; a start anywhere else whose end is not known may
            have ended long ago, and counts as not known.
        cautious: whether spot prices that are assumed are the 90th percentile, as a limit takes them.
        now: the time; None is the present.

    Raises:
        DataError: there is no price for an instance type.
    """
    now = now or dt.datetime.now(dt.UTC)
    usd, known = 0.0, 0
    for manifest, ledger in ledgers:
        for entry in ledger.attempts.values():
            is_running = (manifest.run_id, entry.slot) in running
            end = _end(entry, ledger, now if is_running else None)
            if end is not None:
                usd += price_spell(_spell(entry, manifest, end), prices, cautious=cautious).usd
                known += 1
        for spell in _unrecorded(manifest, ledger):
            known += 1
            usd += price_spell(spell, prices, cautious=cautious).usd if spell is not None else 0.0
    return Spent(usd=usd, attempts=known, unknown=max(0, attempts - known), prices_of=prices.stands_in)


def _unrecorded(manifest: Manifest, ledger: Ledger) -> Iterator[Spell | None]:
    """Attempts without a record that was read, by AWS Batch; None for one that never started.

    One whose receipt nobody has read yet is priced so, too, until somebody has.
    """
    for slot, kept in ledger.slots.items():
        for number, said in enumerate(kept.attempts, 1):
            if (slot, number) in ledger.attempts:
                continue
            if said.started_at is None:
                yield None
            elif said.stopped_at is not None:
                yield batch_spell(manifest, slot, number, said.started_at, AttemptEnd(said.stopped_at, None))


def _end(entry: AttemptEntry, ledger: Ledger, now: dt.datetime | None) -> dt.datetime | None:
    if entry.ended_at is not None:
        return entry.ended_at
    kept = ledger.slots.get(entry.slot)
    if kept is None:
        later = any((entry.slot, number) in ledger.attempts for number in range(entry.attempt + 1, 11))
        return None if later else now
    if entry.attempt <= len(kept.attempts):
        return kept.attempts[entry.attempt - 1].stopped_at
    return None


def _spell(entry: AttemptEntry, manifest: Manifest, end: dt.datetime) -> Spell:
    array = manifest.array_of(entry.slot)
    named = entry.machine.lifecycle if entry.machine else None
    on_demand = named == "on-demand" if named else array.on_demand
    return Spell(
        run_id=manifest.run_id,
        slot=entry.slot,
        attempt=entry.attempt,
        regions=tuple(unit.region for unit in manifest.slots[entry.slot]),
        started_at=entry.started_at,
        ended_at=end,
        machine=entry.machine,
        lifecycle="on-demand" if on_demand else "spot",
        memory_mib=array.memory_mib or MEMORY_CLASSES_MIB[0],
        wasted_on=None,
    )


def report_cost(
    family: Family, store: Store, cloud: Cloud, queues: Mapping[str, str], prices: PriceBook
) -> tuple[CostReport, str | None]:
    """What a run and its retries have cost; and why it is without the spot prices of the time, if it is.

    Args:
        family: the run and its retries.
        store: where their records lie.
        cloud: asked for the ends of attempts that left no receipt, and for spot prices.
        queues: those that jobs may be in, as ``Places.queues`` names them.
        prices: the table.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
        DataError: there is no price for an instance type.
    """
    ends: dict[tuple[str, int, int], AttemptEnd] = {}
    for member in family.sent:
        ends |= _ends(member, store, cloud, queues)
    spells = spells_of(family, ends)
    book, notice = _with_history(spells, cloud, prices)
    return cost_of(family, spells, book, unstarted=unstarted(family, ends)), notice


def _ends(
    member: Member, store: Store, cloud: Cloud, queues: Mapping[str, str]
) -> dict[tuple[str, int, int], AttemptEnd]:
    """Of the attempts that were ended from outside, or left no record.

    The ledger tells what somebody saw while Batch knew; Batch is asked only about the others.
    """
    slots = range(len(member.manifest.slots))
    lost = {slot: of for slot in slots if _may_be_lost(of := member.attempts.get(slot, Attempts()))}
    if not lost:
        return {}
    states = {slot: entry.state_of() for slot, entry in _seen(member, store).items() if slot in lost}
    unexplained = sorted(slot for slot in lost if slot not in states or not states[slot].explained)
    if unexplained:
        jobs = find_jobs(member.manifest, store, cloud, **queues)
        jobs = batch_jobs(member.manifest, jobs, cloud)
        states |= describe_slots(jobs, unexplained, cloud)
    ends = {}
    for slot, state in states.items():
        for number, attempt in enumerate(state.attempts, 1):
            if lost[slot].outcomes.get(number) in _CUT_SHORT:
                end = AttemptEnd(attempt.stopped_at, classify_attempt(attempt), attempt.started_at)
                ends[member.manifest.run_id, slot, number] = end
    return ends


def _may_be_lost(attempts: Attempts) -> bool:
    """Whether only Batch can tell of some of its attempts: none left a record, or not all of them did."""
    outcomes = attempts.outcomes
    return not outcomes or len(outcomes) < attempts.latest or bool(_TRIED_AGAIN & set(outcomes.values()))


def _seen(member: Member, store: Store) -> dict[int, SlotEntry]:
    """Ended children in the ledger; none where that cannot be read, as it is only a shortcut."""
    try:
        return read_ledger(store, member.manifest.run_id).slots
    except StoreError:
        return {}


def _with_history(spells: Sequence[Spell], cloud: Cloud, prices: PriceBook) -> tuple[PriceBook, str | None]:
    """The true spot prices of the time; the table's where they cannot be had."""
    on_spot = [one for one in spells if one.lifecycle == "spot" and one.machine and one.machine.zone]
    types = {one.machine.instance_type for one in on_spot if one.machine and one.machine.instance_type}
    if not types or cloud.embedded:
        return prices, None
    first = min(one.started_at for one in on_spot)
    last = max(one.ended_at or one.started_at for one in on_spot)
    try:
        history = fetch_spot_history(cloud, sorted(types), first, last)
    except GlacierflowError as error:
        return prices, f"spot prices of the time could not be had, the table's are used: {error.message}"
    return prices.with_history(history), None
