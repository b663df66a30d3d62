"""When the sample's satellites pass: a fixed calendar, so that every request sees the same acquisitions."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from glacierflow.model import Satellite

__all__ = ["Pass", "make_pass", "pass_days"]

_EVERY_DAYS = 7
_PHASE: dict[Satellite, int] = {"sentinel2": 2, "landsat": 5}
_FIRST_DAY: dict[Satellite, dt.date] = {"sentinel2": dt.date(2015, 7, 1), "landsat": dt.date(1999, 7, 1)}


@dataclass(frozen=True, slots=True)
class Pass:
    """One overflight; all Sentinel-2 tiles of it share its start."""

    satellite: Satellite
    platform: str
    """``S2A``, ``S2B``, ``LE07``, ``LC08`` or ``LC09``."""
    start: dt.datetime
    """Start of the datatake (Sentinel-2), sensing time (Landsat); UTC."""
    orbit: int
    """Absolute orbit number, of six digits at most."""
    is_cloudy: bool
    is_cut: bool
    """The edge of the swath runs through every region."""
    is_reprocessed: bool
    """The archive holds every tile twice, the second with a newer processing baseline."""

    @property
    def number(self) -> int:
        """Tells passes apart."""
        return self.start.toordinal()

    @property
    def relative_orbit(self) -> int:
        """1 to 143, as Sentinel-2 counts."""
        return self.orbit % 143 + 1


def pass_days(satellite: Satellite, date1: dt.date, date2: dt.date) -> list[dt.date]:
    """Days with a pass between two dates, both included, ascending.

    Every seventh day has one: three in three weeks. A range without any gets one on its first day. Before the
    satellites flew there is none.
    """
    first = max(date1, _FIRST_DAY[satellite])
    days = [first + dt.timedelta(n) for n in range((date2 - first).days + 1)]
    return [day for day in days if _is_regular(satellite, day)] or days[:1]


def make_pass(satellite: Satellite, day: dt.date) -> Pass:
    """The pass of a day: of four regular ones one is clouded, one cut and one reprocessed."""
    ordinal = day.toordinal()
    turn = ordinal // _EVERY_DAYS
    kind = turn % 4 if _is_regular(satellite, day) else 0
    hour = 14 if satellite == "landsat" else 15
    start = dt.datetime(
        day.year, day.month, day.day, hour, ordinal * 7 % 50, ordinal * 13 % 60, tzinfo=dt.UTC
    )
    return Pass(
        satellite=satellite,
        platform=_platform(satellite, day, is_second=turn % 2 == 1),
        start=start,
        orbit=(ordinal - 735_000) * 143 // 10,
        is_cloudy=kind == 1,
        is_cut=kind == 2,
        is_reprocessed=kind == 3 and satellite == "sentinel2",
    )


def _is_regular(satellite: Satellite, day: dt.date) -> bool:
    return day.toordinal() % _EVERY_DAYS == _PHASE[satellite]


def _platform(satellite: Satellite, day: dt.date, *, is_second: bool) -> str:
    if satellite == "sentinel2":
        return "S2B" if is_second and day >= dt.date(2017, 7, 1) else "S2A"
    if day < dt.date(2013, 4, 11):
        return "LE07"
    return "LC09" if is_second and day >= dt.date(2021, 11, 1) else "LC08"
