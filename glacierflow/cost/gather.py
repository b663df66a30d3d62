"""What a run has cost: each attempt that a look knows of as time on a machine, and prices of that time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

from glacierflow.cloud import Cloud
from glacierflow.cost.price_sources import fetch_spot_history
from glacierflow.cost.prices import PriceBook
from glacierflow.cost.report import CostReport, Spell, cost_of, price_spell
from glacierflow.errors import GlacierflowError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.live.look import RunLook
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.model.records import Record
from glacierflow.runs.facts import AttemptFact
from glacierflow.runs.family import Family
from glacierflow.runs.status import RunStatus
from glacierflow.store import Store


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
    status: RunStatus,
    manifests: Iterable[Manifest],
    prices: PriceBook,
    *,
    cautious: bool = False,
    now: dt.datetime | None = None,
) -> Spent:
    """Add up the attempts that are known; one that is running counts up to now.

    Args:
        status: a look at the run with its retries.
        manifests: of the run and its retries.
        prices: the dated table.
        cautious: whether spot prices that are assumed are the 90th percentile, as a limit takes them.
        now: the time; None is the present.

    Raises:
        DataError: there is no price for an instance type.
    """
    now = now or dt.datetime.now(dt.UTC)
    by_id = {manifest.run_id: manifest for manifest in manifests}
    usd, known = 0.0, 0
    for one in tries_of(status):
        spell = spell_of(one, by_id[one.run_id], now=now)
        if one.never_started:
            known += 1
        elif spell is not None and spell.ended_at is not None:
            usd += price_spell(spell, prices, cautious=cautious).usd
            known += 1
    return Spent(usd=usd, attempts=known, unknown=status.attempts - known, prices_of=prices.stands_in)


def tries_of(status: RunStatus) -> Iterator[AttemptFact]:
    """Every attempt at every slot."""
    return (one for row in status.rows for one in row.tries)


def spell_of(
    attempt: AttemptFact,
    manifest: Manifest,
    *,
    receipt: Receipt | None = None,
    now: dt.datetime | None = None,
) -> Spell | None:
    """An attempt's time on a machine; None where it never had one, or nobody knows when.

    Args:
        attempt: which.
        manifest: its run.
        receipt: its own, which tells the regions of its products.
        now: the end of what runs; None: it has none.
    """
    if attempt.started_at is None:
        return None
    array = manifest.array_of(attempt.slot)
    machine = attempt.entry.machine if attempt.entry else None
    named = machine.lifecycle if machine else None
    on_demand = named == "on-demand" if named else array.on_demand
    units = manifest.slots[attempt.slot]
    products = [units[product.unit].region for product in receipt.products] if receipt else []
    return Spell(
        run_id=attempt.run_id,
        slot=attempt.slot,
        attempt=attempt.number,
        regions=tuple(products or [unit.region for unit in units]),
        started_at=attempt.started_at,
        ended_at=now if attempt.running else attempt.ended_at,
        machine=machine,
        lifecycle="on-demand" if on_demand else "spot",
        memory_mib=array.memory_mib or MEMORY_CLASSES_MIB[0],
        wasted_on=attempt.wasted_on,
        recorded=attempt.recorded,
    )


def report_cost(
    family: Family, store: Store, cloud: Cloud, queues: Mapping[str, str], prices: PriceBook
) -> tuple[CostReport, str | None]:
    """What a run and its retries have cost; and why it is without the spot prices of the time, if it is.

    Args:
        family: the run and its retries.
        store: where their records lie.
        cloud: asked how the runs stand, and for spot prices.
        queues: those that jobs may be in, as ``Places.queues`` names them.
        prices: the table.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
        DataError: there is no price for an instance type.
    """
    looks = [RunLook.of(one.manifest, store, cloud, **queues) for one in family.sent]
    tries = [one for look in looks for one in tries_of(look.now())]
    spells = spells_of(family, tries)
    book, notice = _with_history(spells, cloud, prices)
    return cost_of(family, tries, spells, book), notice


def spells_of(family: Family, tries: Iterable[AttemptFact]) -> list[Spell]:
    """The attempts' times on machines, with the regions of what each wrote."""
    manifests = {member.manifest.run_id: member.manifest for member in family.sent}
    receipts = {
        (receipt.run_id, receipt.slot, receipt.attempt): receipt
        for of_slot in family.receipts().values()
        for receipt in of_slot
    }
    spells = (
        spell_of(one, manifests[one.run_id], receipt=receipts.get((one.run_id, one.slot, one.number)))
        for one in tries
    )
    return [spell for spell in spells if spell is not None]


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
