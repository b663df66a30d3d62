"""How dates are cut into units, which units share a slot, and which slots are one array; pure.

With one unit a region, slots stand in the order of the catalogue and are one array, so that child ``i`` of
regions ``A:B`` is region ``A + i``. With several units a region, or where it is asked for, the largest slots
come first, so that none of them starts when all others are done; slots of one memory class are an array then,
the largest class first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from glacierflow.errors import UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.model.manifest import ArrayRange, Order
from glacierflow.model.records import Region, Satellite, Unit
from glacierflow.runs.workload import VCPUS, Measured, expected_seconds, memory_class

MAX_ARRAY_SIZE = 10_000
"""Most children AWS Batch takes in one array job."""

Period = Literal["year", "quarter", "month"]
PERIODS: tuple[Period, ...] = ("year", "quarter", "month")

_MONTHS: dict[Period, int] = {"year": 12, "quarter": 3, "month": 1}


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Slots, and the arrays they are submitted in."""

    slots: tuple[tuple[Unit, ...], ...]
    arrays: tuple[ArrayRange, ...]
    order: Order = "catalogue"
    roomier: int = 0
    """Units in a larger memory class than they need, because one array has one class."""


def usual_order(units: Sequence[Unit]) -> Order:
    """By the catalogue where each region has one unit, so that an index is a region's; else largest first."""
    return "catalogue" if len({unit.region for unit in units}) == len(units) else "largest"


def plan_units(
    satellite: Satellite,
    regions: Sequence[Region],
    date1: dt.date,
    date2: dt.date,
    by: Period | None = None,
) -> tuple[Unit, ...]:
    """Region by region in catalogue order, each period in order; a region named twice is planned once."""
    names = {region.index: region.name for region in regions}
    periods = cut_dates(date1, date2, by)
    return tuple(
        Unit(satellite=satellite, region=names[index], date1=first, date2=last)
        for index in sorted(names)
        for first, last in periods
    )


def arrange(
    units: Sequence[Unit],
    regions: Mapping[str, Region],
    *,
    measured: Measured | None = None,
    pack_minutes: float | None = None,
    on_demand: bool = False,
    order: Order | None = None,
    classes: Sequence[int] = MEMORY_CLASSES_MIB,
) -> Arrangement:
    """Slots and arrays for some units.

    In the order of the catalogue all are one array, of the class that the largest unit needs.

    Args:
        units: what is to be done.
        regions: their regions by name.
        measured: what earlier runs tell of memory and time.
        pack_minutes: put units into one slot until it is expected to take so long; None: one unit a slot.
        on_demand: whether all go to the on-demand queue.
        order: of the slots; None: the usual one for these units.
        classes: memory classes in MiB that may be used.

    Raises:
        UsageError: a unit needs more memory than any class has.
    """
    known = measured or Measured()
    chosen: dict[str, int] = {}
    for unit in units:
        if unit.region not in chosen:
            chosen[unit.region] = memory_class(regions[unit.region], unit.satellite, known, classes=classes)
    order = order or usual_order(units)
    roomier = 0
    if order == "catalogue":
        largest = max(chosen.values(), default=0)
        roomier = sum(chosen[unit.region] < largest for unit in units)
        chosen = dict.fromkeys(chosen, largest)
    seconds = {
        unit: expected_seconds(unit, regions[unit.region], measured=known, vcpus=VCPUS[chosen[unit.region]])
        for unit in units
    }
    slots: list[tuple[Unit, ...]] = []
    arrays: list[ArrayRange] = []
    for memory_mib in sorted(set(chosen.values()), reverse=True):
        members = [unit for unit in units if chosen[unit.region] == memory_mib]
        packed = _pack(members, regions, seconds, pack_minutes)
        ordered = sorted(
            packed, key=lambda slot: min((regions[unit.region].index, unit.date1) for unit in slot)
        )
        if order == "largest":
            # sorted() is stable: equals stay in the order of the catalogue and of time
            ordered = sorted(ordered, key=lambda slot: -sum(seconds[unit] for unit in slot))
        arrays += cut_arrays(len(ordered), len(slots), memory_mib=memory_mib, on_demand=on_demand)
        slots += ordered
    return Arrangement(tuple(slots), tuple(arrays), order, roomier)


def cut_arrays(
    slots: int, first_slot: int = 0, *, memory_mib: int | None = None, on_demand: bool = False
) -> tuple[ArrayRange, ...]:
    """Consecutive ranges of at most 10,000 slots; a range of one becomes a plain job."""
    end = first_slot + slots
    return tuple(
        ArrayRange(
            first_slot=first,
            size=min(MAX_ARRAY_SIZE, end - first),
            memory_mib=memory_mib,
            on_demand=on_demand,
        )
        for first in range(first_slot, end, MAX_ARRAY_SIZE)
    )


def _pack(
    units: Sequence[Unit],
    regions: Mapping[str, Region],
    seconds: Mapping[Unit, float],
    minutes: float | None,
) -> list[tuple[Unit, ...]]:
    """Fill slots in the order of tiles and time, so that one slot's units lie on the same MGRS tiles."""
    if minutes is None:
        return [(unit,) for unit in units]
    near = sorted(
        units, key=lambda unit: (unit.date1, regions[unit.region].mgrs_tiles, regions[unit.region].index)
    )
    slots: list[list[Unit]] = []
    filled = 0.0
    for unit in near:
        if slots and filled + seconds[unit] <= minutes * 60:
            slots[-1].append(unit)
            filled += seconds[unit]
        else:
            slots.append([unit])
            filled = seconds[unit]
    return [tuple(slot) for slot in slots]


def parse_period(text: str) -> Period:
    """A period by its name.

    Raises:
        UsageError: there is no such period.
    """
    for period in PERIODS:
        if text == period:
            return period
    raise UsageError(f"--by = {text} is not accepted", next_step=f"write one of {', '.join(PERIODS)}")


def cut_dates(date1: dt.date, date2: dt.date, by: Period | None) -> tuple[tuple[dt.date, dt.date], ...]:
    """Calendar periods from ``date1`` to ``date2``, both included; the first and the last are clipped.

    Without ``by`` the whole range is one period. Periods meet without gap or overlap.
    """
    return tuple(_periods(date1, date2, by)) if by else ((date1, date2),)


def _periods(date1: dt.date, date2: dt.date, by: Period) -> Iterator[tuple[dt.date, dt.date]]:
    months = _MONTHS[by]
    first = date1
    while first <= date2:
        last = min(_last_day(first, months), date2)
        yield first, last
        first = last + dt.timedelta(days=1)


def _last_day(day: dt.date, months: int) -> dt.date:
    """Last day of the calendar period of so many months that the day is in."""
    end = (day.month - 1) // months * months + months
    following = dt.date(day.year + end // 12, end % 12 + 1, 1)
    return following - dt.timedelta(days=1)
