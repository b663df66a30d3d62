"""Gather for a cost report: ends of lost attempts from ledger and AWS Batch, the spot prices of the time."""

from __future__ import annotations

from collections.abc import Sequence

from glacierflow.aws import Cloud
from glacierflow.errors import GlacierflowError, StoreError
from glacierflow.runs.classify import classify_attempt
from glacierflow.runs.cost import CostReport, cost_of
from glacierflow.runs.family import Family, Member
from glacierflow.runs.ledger import SlotEntry, read_ledger
from glacierflow.runs.prices import PriceBook
from glacierflow.runs.records import Attempts
from glacierflow.runs.spells import AttemptEnd, Spell, spells_of, unstarted
from glacierflow.services.jobs import describe_slots, find_jobs
from glacierflow.services.places import Places
from glacierflow.services.spot_history import fetch_spot_history
from glacierflow.services.views import batch_jobs
from glacierflow.store import Store

__all__ = ["report_cost"]

_CUT_SHORT = {None, "interrupted"}
"""Outcomes that do not tell who ended the attempt: a reclaim, a time limit, a person."""

_TRIED_AGAIN = _CUT_SHORT | {"unavailable"}
"""Outcomes after which another attempt may have been lost before it left a record."""


def report_cost(
    family: Family, store: Store, cloud: Cloud, places: Places, prices: PriceBook
) -> tuple[CostReport, str | None]:
    """What a run and its retries have cost; and why it is without the spot prices of the time, if it is.

    Args:
        family: the run and its retries.
        store: where their records lie.
        cloud: asked for the ends of attempts that left no receipt, and for spot prices.
        places: the queues jobs may be in.
        prices: the table.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
        DataError: there is no price for an instance type.
    """
    ends: dict[tuple[str, int, int], AttemptEnd] = {}
    for member in family.sent:
        ends |= _ends(member, store, cloud, places)
    spells = spells_of(family, ends)
    book, notice = _with_history(spells, cloud, prices)
    return cost_of(family, spells, book, unstarted=unstarted(family, ends)), notice


def _ends(
    member: Member, store: Store, cloud: Cloud, places: Places
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
        jobs = find_jobs(member.manifest, store, cloud, **places.queues)
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
