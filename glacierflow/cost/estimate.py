"""What a run is expected to cost, line by line, on the services that could run it. Pure.

Every factor is here. Bytes and seconds are fitted to measurements (``workload``); prices are looked up
(``prices``). What is assumed is said in ``Estimate.assumptions``, in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from glacierflow.cost.image_counts import SceneCounts
from glacierflow.cost.prices import PriceBook, jobs_on
from glacierflow.errors import DataError
from glacierflow.model.manifest import Manifest, Service
from glacierflow.model.records import Record
from glacierflow.runs.workload import VCPUS, Measured, expected_seconds, million_pixels

_READ_MB_PER_MPX, _WRITTEN_MB_PER_MPX = 1.7, 1.4
"""Bytes fetched and bytes of the product by million pixels: 1.4 to 1.7 and 1.4 in three regions measured."""
_IDLE = 1.10
"""Instance hours by hours of work: starting, and waiting for the last child."""
_REPEATED = 1.05
"""Work by work without reclaims, on spot."""
_GETS_PER_IMAGE, _PUTS_PER_IMAGE, _PUTS_PER_UNIT = 30, 4, 6
_LOG_MB_PER_IMAGE = 0.001
_DISK_GB = 40
_HOURS_A_MONTH = 730
_LAMBDA_SECONDS, _LAMBDA_MIB = 900, 10_240
_LAMBDA_DISK_GB = 9.5
_SIZES = ("xlarge", "2xlarge", "4xlarge")
_GRAVITON = "arm64"
"""The architecture of instance families whose names end with g."""

_ARCHITECTURES = {
    _GRAVITON: "instances are Graviton (arm64), as the stack says; Fargate and Lambda are priced as x86_64",
    "x86_64": "instances are x86_64, as the stack says",
}
_NOBODY_SAYS = "instances are taken to be x86_64: the stack was not asked, or does not say"


class CostLine(Record):
    """One service."""

    service: str
    compute_usd: float
    around_usd: float
    """Disks and public addresses of what computes."""
    note: str = ""


class Estimate(Record):
    """A run before it is run."""

    units: int
    slots: int
    images: int
    read_gb: float
    written_gb: float
    child_hours: float
    longest_minutes: float
    """Of the longest slot."""
    lines: tuple[CostLine, ...]
    """Spot at the median and at the 90th percentile first, then on-demand, Fargate Spot, Lambda."""
    requests_usd: float
    logs_usd: float
    storage_year_usd: float
    egress_usd: float
    fargate_spot_share: float
    """Fargate Spot as a share of Fargate."""
    price_basis: str
    """What spot is priced by: ``spot history of`` a day, or ``assumed``."""
    price_basis_why: str | None
    """Why it is assumed; None where it is not."""
    price_source: str
    assumptions: tuple[str, ...]

    @property
    def shared_usd(self) -> float:
        """What every service pays."""
        return self.requests_usd + self.logs_usd + self.storage_year_usd + self.egress_usd

    def total_usd(self, line: CostLine) -> float:
        """All of it, on the service of a line."""
        return line.compute_usd + line.around_usd + self.shared_usd

    def ceiling_usd(self, service: Service, *, on_demand: bool) -> float:
        """What the run itself may cost, storage aside: on instances spot's 90th percentile, or on-demand."""
        instances = 2 if on_demand else 1
        line = self.lines[{"fargate": 3, "ecs": 3, "lambda": 4}.get(service, instances)]
        total = self.total_usd(line) - self.storage_year_usd
        if service in {"fargate", "ecs"} and on_demand:
            total += line.compute_usd * (1 / self.fargate_spot_share - 1)
        return total


@dataclass(frozen=True, slots=True)
class _Work:
    """A slot's share."""

    memory_mib: int
    seconds: float


def estimate_run(
    manifest: Manifest,
    counts: SceneCounts,
    book: PriceBook,
    *,
    measured: Measured | None = None,
    egress: bool = False,
    architecture: str | None = None,
) -> Estimate:
    """Price a run.

    Args:
        manifest: the run.
        counts: images by unit.
        book: prices.
        measured: what earlier runs, or a canary, tell of time.
        egress: whether the imagery lies in another AWS region.
        architecture: of the instances, ``x86_64`` or ``arm64``; None where nobody asked the stack.

    Raises:
        DataError: there is no price for instances of this architecture.
    """
    graviton = architecture == _GRAVITON
    work = _work(manifest, counts, measured or Measured())
    units = [unit for slot in manifest.slots for unit in slot]
    images = math.fsum(counts.images[unit] for unit in units)
    pixels = math.fsum(
        counts.images[unit] * million_pixels(manifest.regions[unit.region], unit.satellite) for unit in units
    )
    read_gb, written_gb = pixels * _READ_MB_PER_MPX / 1e3, pixels * _WRITTEN_MB_PER_MPX / 1e3
    rates = book.table.rates
    assumed = _assumed_spot(manifest, book, graviton=graviton)
    requests = images * (_GETS_PER_IMAGE * rates.get_request + _PUTS_PER_IMAGE * rates.put_request)
    return Estimate(
        units=len(units),
        slots=len(manifest.slots),
        images=round(images),
        read_gb=read_gb,
        written_gb=written_gb,
        child_hours=math.fsum(one.seconds for one in work) / 3600,
        longest_minutes=max(one.seconds for one in work) / 60,
        lines=(
            _instances("spot, median price", work, book, graviton=graviton),
            _instances("spot, 90th percentile", work, book, high=True, graviton=graviton),
            _instances("on-demand", work, book, on_demand=True, graviton=graviton),
            _fargate(work, book),
            _lambda(work, book),
        ),
        requests_usd=requests + len(units) * _PUTS_PER_UNIT * rates.put_request,
        logs_usd=images * _LOG_MB_PER_IMAGE / 1e3 * rates.logs_gb,
        storage_year_usd=written_gb * rates.storage_gb_month * 12,
        egress_usd=read_gb * rates.egress_gb if egress else 0.0,
        fargate_spot_share=rates.fargate_spot_share,
        price_basis="assumed" if assumed else f"spot history of {book.spot_as_of}",
        price_basis_why=assumed,
        price_source=f"table of {book.table.as_of} for {book.table.region}: {book.table.source}",
        assumptions=_assumptions(counts, book, assumed, egress=egress, architecture=architecture),
    )


def job_hour(
    book: PriceBook, memory_mib: int, *, on_demand: bool, high: bool = False, graviton: bool = False
) -> float:
    """Dollars for an hour of one child of a class, on instances that are full.

    On-demand takes the cheapest type of the architecture, as Batch does. Spot is bought in the cheaper half
    of the pools, as the price-capacity strategy does: the median there of the types' median, or of their 90th
    percentile.

    Raises:
        DataError: there is no price for instances of this architecture.
    """
    vcpus, prices = VCPUS[memory_mib], []
    types = _types(book, memory_mib, graviton=graviton)
    if not on_demand:
        # a type without spot prices among types that have some has no market there
        types = [one for one in types if book.knows_spot(one)] or types
    for instance_type in types:
        jobs = jobs_on(instance_type, memory_mib, vcpus)
        if on_demand:
            prices.append(book.price_of(instance_type, "on-demand").usd / jobs)
        else:
            found = book.spot_range(instance_type)
            prices.append((found.p90 if high else found.p50) / jobs)
    if not prices:
        raise DataError(
            f"there is no price for {_GRAVITON if graviton else 'x86_64'} instances with {memory_mib} MiB"
            f" in the table of {book.table.as_of} for {book.table.region}",
            next_step="fetch prices with `glacierflow prices refresh`, or compute in another AWS region",
        )
    prices.sort()
    if on_demand:
        return prices[0]
    cheaper = prices[: (len(prices) + 1) // 2]
    return cheaper[len(cheaper) // 2]


def spot_types(manifest: Manifest, book: PriceBook, architecture: str | None) -> set[str]:
    """Instance types whose spot prices decide what a run costs.

    Args:
        manifest: the run.
        book: prices, by whose families types are named.
        architecture: of the instances, ``x86_64`` or ``arm64``; None is taken to be the former.
    """
    graviton = architecture == _GRAVITON
    return {one for memory in _classes(manifest) for one in _types(book, memory, graviton=graviton)}


def _classes(manifest: Manifest) -> set[int]:
    return {array.memory_mib or min(VCPUS) for array in manifest.arrays}


def _types(book: PriceBook, memory_mib: int, *, graviton: bool) -> list[str]:
    """Of each family that has 4 GiB a vCPU or more the smallest size that holds a child of the class."""
    found = []
    for family in book.table.per_vcpu_hour:
        sizes = (f"{family}.{size}" for size in _SIZES)
        fits = next((one for one in sizes if jobs_on(one, memory_mib, VCPUS[memory_mib])), None)
        if fits is not None and family[0] != "c" and family.endswith("g") == graviton:
            found.append(fits)
    return found


def _assumed_spot(manifest: Manifest, book: PriceBook, *, graviton: bool) -> str | None:
    """Why spot prices of the run are assumed; None where they are known for every memory class."""
    blind = [
        memory
        for memory in sorted(_classes(manifest))
        if not any(book.knows_spot(one) for one in _types(book, memory, graviton=graviton))
    ]
    if not blind:
        return None
    if book.spot_as_of is not None and book.unasked is None:
        classes = ", ".join(f"{memory:,} MiB" for memory in blind)
        return f"the spot history of {book.spot_as_of} has no instances for children of {classes}"
    return book.unasked or "nobody asked AWS"


def _work(manifest: Manifest, counts: SceneCounts, measured: Measured) -> list[_Work]:
    work = []
    for array in manifest.arrays:
        memory_mib = array.memory_mib or min(VCPUS)
        for slot in manifest.slots[array.first_slot : array.first_slot + array.size]:
            seconds = math.fsum(
                expected_seconds(
                    unit,
                    manifest.regions[unit.region],
                    images=counts.images[unit],
                    measured=measured,
                    vcpus=VCPUS[memory_mib],
                )
                for unit in slot
            )
            work.append(_Work(memory_mib, seconds))
    return work


def _instances(
    service: str,
    work: Sequence[_Work],
    book: PriceBook,
    *,
    on_demand: bool = False,
    high: bool = False,
    graviton: bool,
) -> CostLine:
    rates, repeated = book.table.rates, 1.0 if on_demand else _REPEATED
    compute = hosts = 0.0
    for memory_mib in {one.memory_mib for one in work}:
        hours = math.fsum(one.seconds for one in work if one.memory_mib == memory_mib) / 3600
        hours *= _IDLE * repeated
        hour = job_hour(book, memory_mib, on_demand=on_demand, high=high, graviton=graviton)
        compute += hours * hour
        hosts += hours * VCPUS[memory_mib] / 4
    around = hosts * (rates.ipv4_hour + _DISK_GB * rates.disk_gb_month / _HOURS_A_MONTH)
    return CostLine(service=service, compute_usd=compute, around_usd=around)


def _fargate(work: Sequence[_Work], book: PriceBook) -> CostLine:
    rates = book.table.rates
    compute = around = 0.0
    for one in work:
        hours = one.seconds / 3600 * _REPEATED
        gib = math.ceil(one.memory_mib / 1024)
        # 8 GB a vCPU is the most Fargate gives; from 31 GB on the next size up
        vcpus = 2 * VCPUS[one.memory_mib] if gib > 30 else VCPUS[one.memory_mib]
        whole = vcpus * rates.fargate_vcpu_hour + gib * rates.fargate_gb_hour
        compute += hours * whole * rates.fargate_spot_share
        around += hours * rates.ipv4_hour
    note = "20 GB of disk included"
    return CostLine(service="Fargate Spot", compute_usd=compute, around_usd=around, note=note)


def _lambda(work: Sequence[_Work], book: PriceBook) -> CostLine:
    rates = book.table.rates
    compute = around = 0.0
    for one in work:
        gib = min(one.memory_mib, _LAMBDA_MIB) / 1024
        compute += one.seconds * gib * rates.lambda_gb_second + rates.lambda_request
        around += one.seconds * _LAMBDA_DISK_GB * rates.lambda_disk_gb_second
    unfit = sum(one.seconds > _LAMBDA_SECONDS or one.memory_mib > _LAMBDA_MIB for one in work)
    limit = f"{unfit} of {len(work)} slots exceed its 15 minutes or 10,240 MB; cut them with --by"
    note = limit if unfit else ""
    return CostLine(service="Lambda", compute_usd=compute, around_usd=around, note=note)


def _assumptions(
    counts: SceneCounts, book: PriceBook, assumed: str | None, *, egress: bool, architecture: str | None
) -> tuple[str, ...]:
    share = book.table.spot_share
    spot = (
        f"spot prices are the time-weighted history by zone up to {book.spot_as_of}"
        if assumed is None
        else f"spot is assumed at {share.p50:.0%} (median) and {share.p90:.0%} (90th percentile) of"
        f" on-demand, which is {book.table.spot_share_source}"
    )
    return (
        counts.source,
        *book.caveats,
        _ARCHITECTURES.get(architecture or "", _NOBODY_SAYS),
        "an image of Sentinel-2 is counted as one for as many items as the region has tiles; every image is"
        " taken to become a product, which overstates what is left out for low coverage",
        f"{_READ_MB_PER_MPX} MB read and {_WRITTEN_MB_PER_MPX} MB written for a million pixels of a product",
        spot,
        "spot is bought in the cheaper half of the instance types, and instances are full",
        f"instances are busy {1 / _IDLE:.0%} of the time; {_REPEATED - 1:.0%} of the work on spot is repeated"
        " after reclaims",
        f"each 4 vCPUs of instances have {_DISK_GB} GB of gp3 and one public IPv4 address",
        f"Fargate Spot at {book.table.rates.fargate_spot_share:.0%} of Fargate; Lambda as fast as one vCPU,"
        f" with {_LAMBDA_DISK_GB} GB of extra disk",
        "S3 Standard for a year; free tiers, taxes and discounts are left out",
        "reading the imagery from its own AWS region costs nothing but requests"
        if not egress
        else f"all bytes read cross regions at ${book.table.rates.egress_gb} a GB",
    )
