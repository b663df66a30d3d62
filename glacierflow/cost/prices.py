"""Prices: a dated table, and the price of an instance hour looked up in it with its source. Pure.

The packaged table (``ancillary/prices.json``) is entered by hand and says of when; ``glacierflow prices
refresh`` fetches exact ones, of one AWS region at a time. Spot prices are those of the last days where they
could be asked for, else those of the table where it was fetched, else a stated share of the on-demand price;
prices of another region than the one that is meant are used, and it is said. Whatever is priced, an estimate,
a limit or a report, is priced by ``PriceBook``.
"""

from __future__ import annotations

import bisect
import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from glacierflow.errors import DataError
from glacierflow.model.records import Record

Lifecycle = Literal["spot", "on-demand"]

_SIZE_VCPUS = {"medium": 1, "large": 2, "xlarge": 4}
_TYPE = re.compile(r"([a-z]+\d[a-z0-9-]*)\.(medium|large|(\d*)xlarge)$")
_GIB_PER_VCPU = {"c": 2, "m": 4, "r": 8}
_USABLE = 0.95
"""Share of an instance's memory that jobs get; AWS advises to leave 5 % to the agent."""


class SpotRange(Record):
    """Spot prices of one type in one zone over some time, US dollars an instance hour."""

    p50: float
    p90: float


class SpotHistory(Record):
    """What EC2 told of the spot prices of the last days in one AWS region."""

    region: str
    asked_at: dt.datetime
    types: tuple[str, ...]
    """Instance types that were asked for; one without prices has no market there."""
    ranges: dict[str, dict[str, SpotRange]]
    """By type and zone."""


class Rates(Record):
    """Everything but instances, US dollars."""

    fargate_vcpu_hour: float
    fargate_gb_hour: float
    fargate_spot_share: float
    """Fargate Spot as a share of Fargate; assumed, AWS says up to 70 % off."""
    lambda_gb_second: float
    lambda_request: float
    lambda_disk_gb_second: float
    """Of ephemeral storage above 512 MB."""
    disk_gb_month: float
    """gp3."""
    ipv4_hour: float
    logs_gb: float
    """Ingestion into CloudWatch Logs."""
    storage_gb_month: float
    """S3 Standard, first 50 TB."""
    put_request: float
    get_request: float
    egress_gb: float
    """From the imagery's region to another region of AWS."""


class PriceTable(Record):
    """Prices in one AWS region."""

    as_of: dt.date
    """When it was fetched, or entered by hand."""
    source: str
    region: str
    rates_region: str | None = None
    """AWS region of ``rates``, where that is another."""
    per_vcpu_hour: dict[str, float]
    """On demand, Linux, by instance family; these families cost the same for each vCPU in every size."""
    on_demand: dict[str, float]
    """On demand by exact type, dollars an instance hour; wins over the family's."""
    spot: dict[str, dict[str, SpotRange]]
    """By type and zone."""
    spot_share: SpotRange
    """Spot as a share of on-demand where no price was fetched: an assumption."""
    spot_share_source: str = "an assumption"
    """Where the two shares are from."""
    rates: Rates


@dataclass(frozen=True, slots=True)
class SpotPoint:
    """From this moment on, an instance hour of the type costs so much in the zone."""

    instance_type: str
    zone: str
    moment: dt.datetime
    usd: float


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars an instance hour, and where the number is from."""

    usd: float
    source: str


@dataclass(frozen=True, slots=True)
class PriceBook:
    """A table, and where they were fetched the true spot prices of some days."""

    table: PriceTable
    history: Mapping[tuple[str, str], Sequence[SpotPoint]] = field(default_factory=dict)
    """By type and zone, in order of time."""
    region: str | None = None
    """The AWS region whose prices are meant; None: the table's own."""
    spot: SpotHistory | None = None
    """The spot prices of the last days, where somebody asked for them today."""
    unasked: str | None = None
    """Why there are none."""

    @property
    def stands_in(self) -> str | None:
        """The AWS region whose prices are used for want of the right ones."""
        return self.table.region if self.region not in {None, self.table.region} else None

    @property
    def caveats(self) -> tuple[str, ...]:
        """What of the prices is of another AWS region than the one that is meant, in sentences."""
        if self.stands_in is not None:
            which = "the prices but those of spot are" if self.spot else "the prices are"
            return (
                f"{which} those of {self.table.region}, not of {self.region}, where they may be"
                f" higher; fetch those with `glacierflow prices refresh --aws-region {self.region}`",
            )
        if self.table.rates_region is not None:
            return (
                f"only instances are priced as in {self.table.region}; Fargate, Lambda, disks, addresses,"
                f" logs, S3 and traffic as in {self.table.rates_region}",
            )
        return ()

    def with_history(self, points: Iterable[SpotPoint]) -> PriceBook:
        """The same book with true spot prices."""
        history: dict[tuple[str, str], list[SpotPoint]] = {}
        for point in sorted(points, key=lambda one: one.moment):
            history.setdefault((point.instance_type, point.zone), []).append(point)
        return replace(self, history=history)

    def price_of(
        self,
        instance_type: str,
        lifecycle: Lifecycle,
        *,
        zone: str | None = None,
        when: dt.datetime | None = None,
        cautious: bool = False,
    ) -> Price:
        """What an hour of an instance costs: the nearest to the truth that is known.

        Args:
            instance_type: such as ``r6i.xlarge``.
            lifecycle: spot or on-demand.
            zone: availability zone; None takes the median over the zones known.
            when: the moment; used where the history has it.
            cautious: whether a price that is assumed is the 90th percentile, not the median, as for a limit.

        Raises:
            DataError: the table has no price for the type.
        """
        if lifecycle == "on-demand":
            return self._on_demand(instance_type)
        true = self._from_history(instance_type, zone, when)
        if true is not None:
            return true
        zones, dated = self._zones(instance_type)
        if zone is not None and zone in zones:
            return Price(zones[zone].p50, f"median spot price in {zone}, {dated}")
        if zones:
            middle = sorted(one.p50 for one in zones.values())[len(zones) // 2]
            return Price(middle, f"median spot price over {len(zones)} zones, {dated}")
        share = self.table.spot_share.p90 if cautious else self.table.spot_share.p50
        usd = self._on_demand(instance_type).usd * share
        return Price(usd, f"assumed: {share:.0%} of the on-demand price, {self._dated()}")

    def spot_range(self, instance_type: str) -> SpotRange:
        """Median and 90th percentile over the zones: fetched, else the assumed shares of on-demand.

        Raises:
            DataError: the table has no price for the type.
        """
        zones = list(self._zones(instance_type)[0].values())
        if zones:
            middle = sorted(one.p50 for one in zones)[len(zones) // 2]
            return SpotRange(p50=middle, p90=max(one.p90 for one in zones))
        usd, share = self._on_demand(instance_type).usd, self.table.spot_share
        return SpotRange(p50=usd * share.p50, p90=usd * share.p90)

    def knows_spot(self, instance_type: str) -> bool:
        """Whether its spot price was fetched, and need not be assumed."""
        return bool(self._zones(instance_type)[0])

    @property
    def spot_as_of(self) -> dt.date | None:
        """The day of the spot prices; None where they are assumed."""
        if self.spot is not None:
            return self.spot.asked_at.date()
        return self.table.as_of if self.table.spot else None

    def _zones(self, instance_type: str) -> tuple[Mapping[str, SpotRange], str]:
        """Its spot prices by zone, the latest that are known, and of when they are."""
        if self.spot is not None and instance_type in self.spot.ranges:
            return self.spot.ranges[instance_type], f"spot history of {self.spot.asked_at.date()}"
        return self.table.spot.get(instance_type, {}), self._dated()

    def _on_demand(self, instance_type: str) -> Price:
        exact = self.table.on_demand.get(instance_type)
        if exact is not None:
            return Price(exact, f"on-demand price, {self._dated()}")
        per_vcpu = self.table.per_vcpu_hour.get(instance_type.partition(".")[0])
        if per_vcpu is None:
            raise DataError(
                f"there is no price for {instance_type} in the table of {self.table.as_of}",
                next_step="fetch prices with `glacierflow prices refresh`",
            )
        return Price(per_vcpu * vcpus_of(instance_type), f"on-demand price, {self._dated()}")

    def _from_history(self, instance_type: str, zone: str | None, when: dt.datetime | None) -> Price | None:
        points = self.history.get((instance_type, zone or ""), ())
        if not points or when is None:
            return None
        place = bisect.bisect_right([point.moment for point in points], when) - 1
        if place < 0:
            return None
        return Price(points[place].usd, f"spot price in {zone} at the time")

    def _dated(self) -> str:
        return f"table of {self.table.as_of}" + (f" for {self.stands_in}" if self.stands_in else "")


def vcpus_of(instance_type: str) -> int:
    """VCPUs by the name of the size: ``large`` has two, ``xlarge`` four, ``4xlarge`` sixteen.

    Raises:
        DataError: not a type whose name tells.
    """
    found = _TYPE.match(instance_type)
    if found is None:
        raise DataError(f"{instance_type} is not an instance type of a known size")
    return _SIZE_VCPUS.get(found[2]) or 4 * int(found[3])


def gib_of(instance_type: str) -> int:
    """Memory of a c, m or r type: 2, 4 or 8 GiB for each vCPU.

    Raises:
        DataError: of another kind.
    """
    per_vcpu = _GIB_PER_VCPU.get(instance_type[:1])
    if per_vcpu is None:
        raise DataError(f"{instance_type} is not of the c, m or r families")
    return per_vcpu * vcpus_of(instance_type)


def jobs_on(instance_type: str, memory_mib: int, vcpus: int) -> int:
    """How many jobs of a class one instance holds at once; 0 where not one fits."""
    by_memory = int(gib_of(instance_type) * 1024 * _USABLE) // memory_mib
    return min(by_memory, vcpus_of(instance_type) // vcpus)
