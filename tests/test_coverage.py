"""The coverage matrix as text, CSV and picture."""

from __future__ import annotations

import csv
import datetime as dt
import io
from typing import Any

import pytest
from PIL import Image

from glacierflow.model.records import Unit
from glacierflow.runs.coverage import COLOURS, coverage_csv, coverage_of, coverage_png, period_label
from glacierflow.runs.verify import STATES, UnitCheck


def checked(region: str, year: int, state: Any, slot: int = 0, reason: str | None = None) -> UnitCheck:
    dates = dt.date(year, 1, 1), dt.date(year, 12, 31)
    unit = Unit(satellite="sentinel2", region=region, date1=dates[0], date2=dates[1])
    return UnitCheck(run_id="x", slot=slot, unit=unit, state=state, products=3, new=3, reason=reason)


@pytest.mark.parametrize(
    ("date1", "date2", "label"),
    [
        ("2016-01-01", "2016-12-31", "2016"),
        ("2016-01-01", "2017-12-31", "2016-01-01..2017-12-31"),
        ("2016-07-01", "2017-06-30", "2016-07-01..2017-06-30"),
        ("2016-01-01", "2016-03-31", "2016-Q1"),
        ("2016-10-01", "2016-12-31", "2016-Q4"),
        ("2016-02-01", "2016-04-30", "2016-02-01..2016-04-30"),
        ("2016-02-01", "2016-02-29", "2016-02"),
        ("2016-02-01", "2016-02-28", "2016-02-01..2016-02-28"),
        ("2016-12-01", "2016-12-31", "2016-12"),
    ],
)
def test_whole_periods_have_short_names(date1: str, date2: str, label: str) -> None:
    assert period_label(dt.date.fromisoformat(date1), dt.date.fromisoformat(date2)) == label


def test_regions_and_periods_stand_in_order_and_gaps_stay_empty() -> None:
    units = [checked("b", 2017, "complete"), checked("a", 2016, "missing"), checked("b", 2016, "partial")]
    coverage = coverage_of(units)
    assert (coverage.regions, coverage.labels) == (("a", "b"), ("2016", "2017"))
    states = [[cell and cell.state for cell in coverage.row(region)] for region in coverage.regions]
    assert states == [["missing", None], ["partial", "complete"]]


def test_of_two_units_in_a_cell_the_worse_is_shown() -> None:
    units = [checked("a", 2016, state) for state in ("complete", "damaged", "no_data")]
    (cell,) = coverage_of(units).row("a")
    assert cell is not None
    assert cell.state == "damaged"


def test_csv_has_a_line_a_cell_and_survives_odd_reasons() -> None:
    units = [checked("a", 2016, "missing", reason='no, "never"\nat all'), checked("b", 2017, "complete")]
    rows = list(csv.DictReader(io.StringIO(coverage_csv(coverage_of(units)))))
    assert [(row["region"], row["period"], row["state"], row["products"]) for row in rows] == [
        ("a", "2016", "missing", "3"),
        ("b", "2017", "complete", "3"),
    ]
    assert rows[0]["reason"] == 'no, "never"\nat all'
    assert rows[1]["reason"] == ""


def test_the_picture_shows_each_cell_in_the_colour_of_its_state() -> None:
    units = [checked(f"{number:03d}_made_up", 2016, state) for number, state in enumerate(STATES)]
    picture = Image.open(io.BytesIO(coverage_png(coverage_of(units), "a run"))).convert("RGB")
    area = picture.crop((0, 40, picture.width, picture.height))
    colours = {colour for _, colour in area.getcolors(1 << 20) or []}
    for state in STATES:
        wanted = tuple(bytes.fromhex(COLOURS[state][1:]))
        assert wanted in colours, state
    column = [picture.getpixel((8 + 11 * 7 + 8 + 6, 8 + 2 * 13 + 36 + 14 * row + 6)) for row in range(6)]
    assert column == [tuple(bytes.fromhex(COLOURS[state][1:])) for state in STATES]


def test_a_real_sized_picture() -> None:
    units = [
        checked(f"{region:03d}_x", year, "complete") for region in range(192) for year in range(2016, 2026)
    ]
    picture = Image.open(io.BytesIO(coverage_png(coverage_of(units), "a run")))
    assert picture.height > 192 * 14
