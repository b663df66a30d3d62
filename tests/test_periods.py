"""Dates cut into calendar periods."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glacierflow.runs.units import PERIODS, Period, cut_dates


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


@pytest.mark.parametrize(
    ("by", "dates", "expected"),
    [
        (None, "2016-03-05 2025-12-31", "2016-03-05 2025-12-31"),
        ("year", "2016-03-05 2017-02-01", "2016-03-05 2016-12-31, 2017-01-01 2017-02-01"),
        ("quarter", "2024-02-29 2024-04-01", "2024-02-29 2024-03-31, 2024-04-01 2024-04-01"),
        ("month", "2023-12-31 2024-01-31", "2023-12-31 2023-12-31, 2024-01-01 2024-01-31"),
        ("year", "2024-12-31 2024-12-31", "2024-12-31 2024-12-31"),
    ],
)
def test_the_first_and_the_last_period_are_clipped(by: Period | None, dates: str, expected: str) -> None:
    first, last = dates.split()
    found = cut_dates(day(first), day(last), by)
    assert ", ".join(f"{one} {two}" for one, two in found) == expected


@given(
    st.dates(dt.date(1980, 1, 1), dt.date(2100, 1, 1)), st.integers(0, 4000), st.sampled_from(sorted(PERIODS))
)
def test_every_day_is_in_exactly_one_period_of_one_calendar_year(
    first: dt.date, days: int, by: Period
) -> None:
    last = first + dt.timedelta(days=days)
    periods = cut_dates(first, last, by)
    assert (periods[0][0], periods[-1][1]) == (first, last)
    assert all(later[0] - earlier[1] == dt.timedelta(days=1) for earlier, later in pairwise(periods))
    assert all(one.year == two.year and one <= two for one, two in periods)


def test_ten_years_are_ten_units_forty_quarters_and_120_months() -> None:
    dates = day("2016-01-01"), day("2025-12-31")
    assert [len(cut_dates(*dates, by)) for by in PERIODS] == [10, 40, 120]
