"""What a run has cost so far, from its ledgers alone: no call is made for it; pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable

from glacierflow.manifest import Manifest
from glacierflow.model import Record
from glacierflow.runs.cost import Spell, price_spell
from glacierflow.runs.ledger import AttemptEntry, Ledger
from glacierflow.runs.prices import PriceBook
from glacierflow.runs.workload import MEMORY_CLASSES_MIB

__all__ = ["Spent", "spent_so_far"]


class Spent(Record):
    """Dollars so far."""

    usd: float
    attempts: int
    """Attempts whose time is known."""
    unknown: int
    """Ended slots and attempts whose time is not known: their receipts have not been read."""
    prices_of: str | None = None
    """AWS region whose prices stand in for those of the run's own; None where they are its own."""


def spent_so_far(
    ledgers: Iterable[tuple[Manifest, Ledger]],
    prices: PriceBook,
    *,
    running: Collection[tuple[str, int]],
    now: dt.datetime | None = None,
) -> Spent:
    """Add up the attempts that are known; one that is running counts up to now.

    Args:
        ledgers: the run and its retries.
        prices: the dated table.
        running: run id and slot of what is running now; a start anywhere else whose end is not known may
            have ended long ago, and counts as not known.
        now: the time; None is the present.

    Raises:
        DataError: there is no price for an instance type.
    """
    now = now or dt.datetime.now(dt.UTC)
    usd, known, unknown = 0.0, 0, 0
    for manifest, ledger in ledgers:
        read = {slot for slot, _ in ledger.attempts}
        unknown += sum(slot not in read for slot in ledger.slots)
        for entry in ledger.attempts.values():
            is_running = (manifest.run_id, entry.slot) in running
            end = _end(entry, ledger, now if is_running else None)
            if end is None:
                unknown += 1
            else:
                usd += price_spell(_spell(entry, manifest, end), prices).usd
                known += 1
    return Spent(usd=usd, attempts=known, unknown=unknown, prices_of=prices.stands_in)


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
