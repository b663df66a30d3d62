"""What a run has cost: every attempt's time x the price of the share of the machine it had; pure.

An attempt is charged from its start to its end, so the minutes in which machines boot, pull the image or
stand idle are not in it; nor are disks, addresses, logs and storage. Where an attempt does not know its
machine, the type of ``ASSUMED_TYPES`` for its memory class is assumed, and counted as such.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glacierflow.cost.prices import Lifecycle, PriceBook, gib_of, vcpus_of
from glacierflow.errors import DataError
from glacierflow.model.receipt import Machine
from glacierflow.model.records import Record
from glacierflow.outside import cell
from glacierflow.runs.facts import AttemptFact, product_keys
from glacierflow.runs.family import Family
from glacierflow.runs.workload import VCPUS

ASSUMED_TYPES = {7_500: "r6i.large", 15_500: "r6i.large", 31_500: "r6i.xlarge", 63_200: "r6i.2xlarge"}
"""By memory class in MiB: two jobs of the smallest fill one, of the others one does."""


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


class AttemptCost(Record):
    """What one attempt cost."""

    run_id: str
    slot: int
    attempt: int
    regions: tuple[str, ...]
    started_at: dt.datetime
    hours: float | None
    """None where nobody knows its end; it is charged nothing."""
    instance_type: str
    assumed: bool
    """Whether the instance type is an assumption."""
    zone: str | None
    lifecycle: Lifecycle
    share: float
    """Of the instance."""
    usd_hour: float
    """Of the whole instance."""
    price_source: str
    usd: float
    wasted_on: str | None


class RegionCost(Record):
    """What one region cost."""

    region: str
    usd: float
    wasted_usd: float
    products: int
    """Products in place: new ones, and those that were already there."""
    new: int
    """Products that the run wrote."""

    @property
    def usd_a_product(self) -> float | None:
        """Of the new ones; None where there is none."""
        return self.usd / self.new if self.new else None


class CostReport(Record):
    """What a run has cost with its retries."""

    run_id: str
    runs: tuple[str, ...]
    """All first runs, where several are added up; ``run_id`` alone, as a rule."""
    retries: tuple[str, ...]
    attempts: tuple[AttemptCost, ...]
    """Those that had a machine."""
    tried: int
    """All attempts, also those that never started."""
    reclaims: int
    """Attempts whose machine was taken away."""
    regions: tuple[RegionCost, ...]
    notes: tuple[str, ...]

    @property
    def usd(self) -> float:
        """All of it."""
        return sum(attempt.usd for attempt in self.attempts)

    @property
    def wasted(self) -> dict[str, float]:
        """Dollars spent on attempts that did not end well, by why."""
        sums: defaultdict[str, float] = defaultdict(float)
        for attempt in self.attempts:
            if attempt.wasted_on is not None:
                sums[attempt.wasted_on] += attempt.usd
        return dict(sorted(sums.items()))

    @property
    def products(self) -> int:
        """Products in place."""
        return sum(region.products for region in self.regions)

    @property
    def new(self) -> int:
        """Of those, the ones that the run wrote."""
        return sum(region.new for region in self.regions)


def cost_of(
    family: Family, tries: Sequence[AttemptFact], spells: Sequence[Spell], prices: PriceBook
) -> CostReport:
    """Price every spell and add up; attempts that never started are only named.

    A slot of several units divides its cost by the products each of them wrote.

    Raises:
        DataError: there is no price for an instance type.
    """
    attempts = [price_spell(spell, prices) for spell in spells]
    usd: defaultdict[str, float] = defaultdict(float)
    wasted: defaultdict[str, float] = defaultdict(float)
    for attempt in attempts:
        for region, times in Counter(attempt.regions).items():
            part = attempt.usd * times / len(attempt.regions)
            usd[region] += part
            wasted[region] += part if attempt.wasted_on else 0.0
    new, in_all = _products(family)
    unstarted = sum(one.never_started for one in tries)
    return CostReport(
        run_id=family.root.run_id,
        runs=family.runs,
        retries=family.retries,
        attempts=tuple(attempts),
        regions=tuple(
            RegionCost(
                region=name, usd=usd[name], wasted_usd=wasted[name], products=in_all[name], new=new[name]
            )
            for name in sorted(family.root.regions)
        ),
        tried=len(tries),
        reclaims=sum(one.reclaimed for one in tries),
        notes=(*_notes(attempts, prices), *_lost(spells, unstarted)),
    )


def _products(family: Family) -> tuple[Counter[str], Counter[str]]:
    """Products by region: those that the run wrote, and all that are in place."""
    new, in_all = Counter[str](), Counter[str]()
    for slot, receipts in family.receipts().items():
        units = family.root.slots[slot]
        for counted, keys in zip((new, in_all), product_keys(receipts), strict=True):
            counted.update(units[one.unit].region for one in keys.values())
    return new, in_all


def price_spell(spell: Spell, prices: PriceBook, *, cautious: bool = False) -> AttemptCost:
    """What one attempt's time cost; where a spot price is assumed and ``cautious``, at the 90th percentile.

    Raises:
        DataError: there is no price for its instance type.
    """
    machine = spell.machine
    known = machine is not None and machine.instance_type is not None
    instance_type = (
        machine.instance_type if machine and machine.instance_type else ASSUMED_TYPES[spell.memory_mib]
    )
    zone = machine.zone if machine else None
    hours = None
    if spell.ended_at is not None:
        hours = max(0.0, (spell.ended_at - spell.started_at).total_seconds() / 3600)
    vcpus = (machine.vcpus if machine else None) or VCPUS[spell.memory_mib]
    memory_mib = (machine.memory_mib if machine else None) or spell.memory_mib
    if machine is not None and machine.launch_type == "FARGATE":
        rates = prices.table.rates
        usd_hour = rates.fargate_vcpu_hour * vcpus + rates.fargate_gb_hour * memory_mib / 1024
        usd_hour *= rates.fargate_spot_share if spell.lifecycle == "spot" else 1.0
        instance_type, known, share, source = "Fargate", True, 1.0, f"table of {prices.table.as_of}"
    elif machine is not None and machine.launch_type == "LAMBDA":
        usd_hour = prices.table.rates.lambda_gb_second * 3600 * memory_mib / 1024
        instance_type, known, share, source = "Lambda", True, 1.0, f"table of {prices.table.as_of}"
    else:
        price = prices.price_of(
            instance_type, spell.lifecycle, zone=zone, when=spell.started_at, cautious=cautious
        )
        usd_hour, source = price.usd, price.source
        share = _share(instance_type, vcpus, memory_mib)
    return AttemptCost(
        run_id=spell.run_id,
        slot=spell.slot,
        attempt=spell.attempt,
        regions=spell.regions,
        started_at=spell.started_at,
        hours=hours,
        instance_type=instance_type,
        assumed=not known,
        zone=zone,
        lifecycle=spell.lifecycle,
        share=share,
        usd_hour=usd_hour,
        price_source=source,
        usd=(hours or 0.0) * share * usd_hour,
        wasted_on=spell.wasted_on,
    )


def _share(instance_type: str, vcpus: float, memory_mib: float) -> float:
    """The larger of its shares of the instance's vCPUs and memory: what no other job could have."""
    by_vcpus = vcpus / vcpus_of(instance_type)
    try:
        by_memory = memory_mib / (gib_of(instance_type) * 1024)
    except DataError:
        by_memory = 0.0
    return min(1.0, max(by_vcpus, by_memory))


def _notes(attempts: Sequence[AttemptCost], prices: PriceBook) -> list[str]:
    notes = [f"prices: {prices.table.source} ({prices.table.as_of}, {prices.table.region})", *prices.caveats]
    sources = Counter(attempt.price_source for attempt in attempts)
    notes += [f"{count} attempts: {source}" for source, count in sorted(sources.items())]
    assumed = sum(attempt.assumed for attempt in attempts)
    if assumed:
        types = ", ".join(sorted({attempt.instance_type for attempt in attempts if attempt.assumed}))
        notes.append(f"{assumed} attempts did not say what they ran on: {types} is assumed")
    endless = sum(attempt.hours is None for attempt in attempts)
    if endless:
        notes.append(f"{endless} attempts are running, or ended at a time nobody knows: not charged")
    notes.append("without the time machines boot or stand idle, disks, addresses, logs and storage")
    return notes


def _lost(spells: Sequence[Spell], unstarted: int) -> Iterator[str]:
    lost = sum(not spell.recorded for spell in spells)
    if lost:
        yield f"{lost} attempts ended before they left a record: charged by the times of AWS Batch"
    if unstarted:
        yield f"{unstarted} attempts never started, says AWS Batch: not charged"


_COLUMNS = ("run_id", "slot", "attempt", "regions", "started_at", "hours", "instance_type", "assumed", "zone")
_MONEY = ("lifecycle", "share", "usd_hour", "price_source", "usd", "wasted_on")


def cost_csv(report: CostReport) -> str:
    """One line an attempt, from which every sum can be made again."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*_COLUMNS, *_MONEY])
    for attempt in report.attempts:
        facts = attempt.model_dump(mode="json")
        facts["regions"] = "+".join(sorted(set(attempt.regions)))
        lines.writerow(["" if facts[name] is None else cell(facts[name]) for name in (*_COLUMNS, *_MONEY)])
    return text.getvalue()
