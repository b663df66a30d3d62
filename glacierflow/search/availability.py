"""Why there can be no images: no sun, no satellite yet, an archive that does not reach so far. Pure.

An empty answer has many causes, and only some of them mean that something is wrong. What is known beforehand
is not searched for, and what is not is told by its own code: ``polar_night``, ``archive_gap``, ``no_scenes``,
``all_left_out``.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from glacierflow.model.records import LeftOut, Note, Region, Satellite, Unit

_NAMES: dict[Satellite, str] = {"sentinel2": "Sentinel-2", "landsat": "Landsat"}
_FIRST_DAY: dict[Satellite, tuple[dt.date, str]] = {
    "sentinel2": (dt.date(2015, 6, 27), "the first image of Sentinel-2A is of 2015-06-27"),
    "landsat": (dt.date(1982, 7, 16), "Landsat 4, the first with the Thematic Mapper, flew from 1982-07-16"),
}
_LEVEL2A_EVERYWHERE = dt.date(2018, 12, 13)
"""Since when ESA makes Level-2A of every Sentinel-2 image; of older ones archives hold a part."""

_HORIZON_DEG = -0.833
"""Height of the sun's centre at sunrise: its radius and the mean refraction."""
_MARGIN_DEG = 0.6
"""The declination changes by up to 0.4 degrees a day, and leap years move the calendar by up to a day."""
_ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """The days of a unit that are worth a search, both included, and why the others are not."""

    days: tuple[dt.date, dt.date] | None
    """None where no day is."""
    notes: tuple[Note, ...]


def highest_sun(latitude: float, day: dt.date) -> float:
    """Height of the sun's centre at noon in degrees, without refraction.

    The declination is J. W. Spencer's Fourier series (Search 2(5), 172, 1971), good to 0.0006 rad.

    Args:
        latitude: degrees, positive in the north.
        day: any day; its place in the year counts, not the year.
    """
    turn = 2 * math.pi * (day.timetuple().tm_yday - 1) / 365
    declination = (
        0.006918
        - 0.399912 * math.cos(turn)
        + 0.070257 * math.sin(turn)
        - 0.006758 * math.cos(2 * turn)
        + 0.000907 * math.sin(2 * turn)
        - 0.002697 * math.cos(3 * turn)
        + 0.00148 * math.sin(3 * turn)
    )
    return 90 - abs(latitude - math.degrees(declination))


def worth_searching(unit: Unit, region: Region) -> Plan:
    """Cut from both ends of a unit the days on which no image of the region can have been taken."""
    notes = []
    first, told = _FIRST_DAY[unit.satellite]
    if unit.date2 < first:
        return Plan(None, (Note(code="archive_gap", text=f"{_days(unit.date1, unit.date2)}: {told}"),))
    date1 = unit.date1
    if date1 < first:
        text = f"{_days(date1, first - _ONE_DAY)} not searched: {told}"
        notes.append(Note(code="archive_gap", text=text))
        date1 = first
    lit = _lit(region, date1, unit.date2)
    if lit is None:
        return Plan(None, (*notes, _night(region, date1, unit.date2)))
    if lit[0] > date1:
        notes.append(_night(region, date1, lit[0] - _ONE_DAY))
    if lit[1] < unit.date2:
        notes.append(_night(region, lit[1] + _ONE_DAY, unit.date2))
    return Plan(lit, tuple(notes))


def why_no_items(
    unit: Unit,
    days: tuple[dt.date, dt.date],
    holds: tuple[dt.datetime | None, dt.datetime | None] | None,
    today: dt.date,
) -> Note:
    """What an empty answer to a search means.

    Args:
        unit: what was searched for.
        days: the days that were searched.
        holds: first and last moment that the collection claims to hold, open ends None; None: not known.
        today: the present day, UTC.
    """
    when = _days(*days)
    if days[0] > today:
        return Note(code="no_scenes", text=f"{when} is still to come")
    first, last = holds or (None, None)
    if (first is not None and days[1] < first.date()) or (last is not None and days[0] > last.date()):
        held = f"{first.date() if first else ''} to {last.date() if last else 'today'}".strip()
        return Note(code="archive_gap", text=f"{when}: the collection holds {held}")
    if unit.satellite == "sentinel2" and days[1] < _LEVEL2A_EVERYWHERE:
        text = f"{when}: none found, and of images before {_LEVEL2A_EVERYWHERE} only some exist as Level-2A"
        return Note(code="archive_gap", text=text)
    return Note(code="no_scenes", text=f"{when}: no {_NAMES[unit.satellite]} image touches {unit.region}")


def why_all_left_out(found: int, left_out: Iterable[LeftOut]) -> Note:
    """One sentence over the reasons of a unit all of whose items were left out."""
    counts = Counter(entry.code for entry in left_out).most_common()
    said = ", ".join(f"{count} {code}" for code, count in counts)
    return Note(code="all_left_out", text=f"{found} STAC items found, none became an image: {said}")


def _southern_edge(region: Region) -> float:
    return min(latitude for _, latitude in region.outline)


def _lit(region: Region, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date] | None:
    """First and last day on which the sun rises somewhere in the region."""
    latitude = _southern_edge(region)
    days = [first + number * _ONE_DAY for number in range((last - first).days + 1)]
    lit = [day for day in days if highest_sun(latitude, day) >= _HORIZON_DEG - _MARGIN_DEG]
    return (lit[0], lit[-1]) if lit else None


def _night(region: Region, first: dt.date, last: dt.date) -> Note:
    where = f"{_southern_edge(region):.1f} degrees north"
    text = f"{_days(first, last)} not searched: the sun does not rise at {where}, the region's southern edge"
    return Note(code="polar_night", text=text)


def _days(first: dt.date, last: dt.date) -> str:
    return f"{first}" if first == last else f"{first} to {last}"
