"""Calendar periods: a long range of dates cut into units that one child can process in good time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Literal

from glacierflow.errors import UsageError

__all__ = ["PERIODS", "Period", "cut_dates", "parse_period"]

Period = Literal["year", "quarter", "month"]
PERIODS: tuple[Period, ...] = ("year", "quarter", "month")

_MONTHS: dict[Period, int] = {"year": 12, "quarter": 3, "month": 1}


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
