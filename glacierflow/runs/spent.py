"""What a run has cost so far, from its ledgers alone: no call is made for it; pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator

from glacierflow.attempts import AttemptEntry
from glacierflow.manifest import Manifest
from glacierflow.model import Record
from glacierflow.runs.cost import price_spell
from glacierflow.runs.ledger import Ledger
from glacierflow.runs.prices import PriceBook
from glacierflow.runs.spells import AttemptEnd, Spell, batch_spell
from glacierflow.runs.workload import MEMORY_CLASSES_MIB

__all__ = ["Spent", "spent_so_far"]


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
