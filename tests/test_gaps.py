from __future__ import annotations

import datetime as dt
import math

import pytest
from samples import make_region, recorded_items

from glacierflow.model.records import LeftOut, Region, StepSettings, Unit
from glacierflow.regions import load_catalogue
from glacierflow.search.acquisitions import search_unit
from glacierflow.search.availability import highest_sun, why_all_left_out, why_no_items, worth_searching


def unit(satellite: str, date1: str, date2: str) -> Unit:
    return Unit.model_validate({"satellite": satellite, "region": "r", "date1": date1, "date2": date2})


def at_latitude(latitude: float) -> Region:
    corners = ((-50.0, latitude), (-49.0, latitude + 0.1), (-50.0, latitude + 0.2), (-50.0, latitude))
    return make_region().model_copy(update={"outline": corners})


def almanac_declination(day: dt.date) -> float:
    """The Astronomical Almanac's low-precision formula at noon UTC, degrees; another series than ours."""
    n = (
        dt.datetime.combine(day, dt.time(12), dt.UTC) - dt.datetime(2000, 1, 1, 12, tzinfo=dt.UTC)
    ).total_seconds() / 86400
    anomaly = math.radians(357.528 + 0.9856003 * n)
    longitude = math.radians(
        280.460 + 0.9856474 * n + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly)
    )
    return math.degrees(math.asin(math.sin(math.radians(23.439 - 4e-7 * n)) * math.sin(longitude)))


def test_the_height_of_the_sun_agrees_with_the_almanac() -> None:
    worst = max(
        abs(highest_sun(80, day) - (10 + almanac_declination(day)))
        for number in range(365 * 10)
        for day in [dt.date(2016, 1, 1) + dt.timedelta(days=number)]
    )
    assert worst < 0.6


def test_no_recorded_sun_stands_higher_than_noon() -> None:
    """The items' own sun elevation, computed by ESA, bounds ours from below."""
    checked = 0
    for item in recorded_items("earth-search-v1/sentinel-2-l2a"):
        properties = item["properties"]
        noon = highest_sun(
            (item["bbox"][1] + item["bbox"][3]) / 2, dt.date.fromisoformat(properties["datetime"][:10])
        )
        assert properties["view:sun_elevation"] <= noon + 1
        checked += 1
    assert checked == 17


@pytest.mark.parametrize(
    ("latitude", "night"),
    [
        (78.22, ("2024-10-26", "2025-02-15")),  # Longyearbyen
        (71.29, ("2024-11-19", "2025-01-22")),  # Utqiagvik
    ],
)
def test_published_polar_nights_hold_all_that_is_cut_and_a_day_or_three_more(
    latitude: float, night: tuple[str, str]
) -> None:
    begin, end = (dt.date.fromisoformat(day) for day in night)
    days = [dt.date(2024, 8, 1) + dt.timedelta(days=number) for number in range(300)]
    cut = [
        day
        for day in days
        if worth_searching(unit("landsat", str(day), str(day)), at_latitude(latitude)).days is None
    ]
    assert begin <= cut[0] <= begin + dt.timedelta(days=4)
    assert end - dt.timedelta(days=4) <= cut[-1] <= end
    assert len(cut) == (cut[-1] - cut[0]).days + 1


def test_dark_days_are_cut_from_both_ends_and_named() -> None:
    plan = worth_searching(unit("sentinel2", "2024-01-01", "2024-12-31"), at_latitude(80))
    assert plan.days is not None
    assert dt.date(2024, 2, 15) < plan.days[0] < dt.date(2024, 2, 24)
    assert dt.date(2024, 10, 18) < plan.days[1] < dt.date(2024, 10, 28)
    assert [note.code for note in plan.notes] == ["polar_night", "polar_night"]
    assert plan.notes[0].text.startswith("2024-01-01 to 2024-02-")
    assert plan.notes[1].text.endswith(
        "the sun does not rise at 80.0 degrees north, the region's southern edge"
    )


def test_a_night_inside_a_range_and_a_summer_are_left_alone() -> None:
    whole = worth_searching(unit("landsat", "2023-08-01", "2024-05-01"), at_latitude(80))
    assert whole.days == (dt.date(2023, 8, 1), dt.date(2024, 5, 1))
    assert whole.notes == ()


def test_of_the_catalogue_only_the_far_north_has_a_polar_night() -> None:
    midwinter = unit("landsat", "2024-12-20", "2024-12-22")
    dark = [region for region in load_catalogue().regions if worth_searching(midwinter, region).days is None]
    assert dark
    assert min(min(lat for _, lat in region.outline) for region in dark) > 67.4
    midsummer = unit("landsat", "2024-06-01", "2024-06-30")
    assert all(worth_searching(midsummer, region).days for region in load_catalogue().regions)


def test_before_the_first_satellite_nothing_is_searched() -> None:
    plan = worth_searching(unit("sentinel2", "2013-01-01", "2015-06-26"), at_latitude(60))
    assert (plan.days, plan.notes[0].code) == (None, "archive_gap")
    plan = worth_searching(unit("sentinel2", "2015-01-01", "2015-12-31"), at_latitude(60))
    assert plan.days == (dt.date(2015, 6, 27), dt.date(2015, 12, 31))
    assert "2015-01-01 to 2015-06-26 not searched" in plan.notes[0].text
    assert worth_searching(unit("landsat", "1975-01-01", "1982-07-15"), at_latitude(60)).days is None


def test_what_an_empty_answer_means() -> None:
    def code(satellite: str, date1: str, date2: str, holds: tuple[str | None, str | None] | None) -> str:
        moments = holds and tuple(end and dt.datetime.fromisoformat(end + "T00:00:00+00:00") for end in holds)
        days = dt.date.fromisoformat(date1), dt.date.fromisoformat(date2)
        note = why_no_items(unit(satellite, date1, date2), days, moments, dt.date(2026, 1, 1))  # type: ignore[arg-type]
        return f"{note.code}: {note.text}"

    assert (
        code("landsat", "2026-02-01", "2026-03-01", None)
        == "no_scenes: 2026-02-01 to 2026-03-01 is still to come"
    )
    assert code("landsat", "1990-01-01", "1990-02-01", ("2000-01-01", None)).startswith("archive_gap")
    assert code("landsat", "2024-01-01", "2024-02-01", (None, "2023-01-01")).startswith("archive_gap")
    assert code("landsat", "1990-01-01", "1990-02-01", None).startswith("no_scenes")
    assert code("sentinel2", "2017-07-01", "2017-07-31", ("2015-06-27", None)).startswith("archive_gap")
    assert code("sentinel2", "2024-07-01", "2024-07-01", ("2015-06-27", None)) == (
        "no_scenes: 2024-07-01: no Sentinel-2 image touches r"
    )


def test_a_unit_in_the_polar_night_asks_nobody() -> None:
    settings = StepSettings(sentinel2_stac_url="http://127.0.0.1:9", request_attempts=1)
    found = search_unit(unit("sentinel2", "2024-12-01", "2024-12-31"), at_latitude(80), settings)
    assert (found.items, found.acquisitions, [note.code for note in found.notes]) == (0, (), ["polar_night"])


def test_reasons_are_counted() -> None:
    entries = [
        LeftOut(item_id=str(n), code=code, reason="x") for n, code in enumerate(["tier", "mss", "mss"])
    ]
    assert why_all_left_out(3, entries).text == "3 STAC items found, none became an image: 2 mss, 1 tier"
