"""Memory classes and expected time, against what was measured."""

from __future__ import annotations

import datetime as dt

import pytest
from samples import make_region

from glacierflow.errors import UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.imagery.budget import acquisitions_in_hand, peak_mb
from glacierflow.model.records import Region, Unit
from glacierflow.regions import load_catalogue
from glacierflow.runs.workload import (
    VCPUS,
    Measured,
    expected_images,
    expected_peak_mb,
    expected_seconds,
    memory_class,
    million_pixels,
    next_class,
)

MEASURED_MB = {
    "134_Arsuk": 345.0,
    "002_anoritup_kangerdlua": 439.0,
    "122_upernavik_central": 474.0,
    "049_jakobshavn": 504.0,
    "090_petermann": 799.0,
}
"""Peak memory with several Sentinel-2 acquisitions in flight, from receipts."""


def square(km: float) -> Region:
    return make_region().model_copy(
        update={"name": "square", "xmin": 0.0, "ymin": 0.0, "xmax": km * 1e3, "ymax": km * 1e3}
    )


@pytest.mark.parametrize("name", MEASURED_MB)
def test_the_model_lies_above_what_was_measured_but_not_far(name: str) -> None:
    (region,) = load_catalogue(None).select((name,), None).regions
    assert MEASURED_MB[name] <= expected_peak_mb(region, "sentinel2") <= 1.7 * MEASURED_MB[name]


@pytest.mark.parametrize("name", MEASURED_MB)
def test_the_budget_of_a_child_lies_above_what_was_measured_but_not_far(name: str) -> None:
    (region,) = load_catalogue(None).select((name,), None).regions
    pixels = round(million_pixels(region, "sentinel2") * 1e6)
    budget = peak_mb(pixels, acquisitions_in_hand(pixels, 7_864))
    assert MEASURED_MB[name] <= budget <= 1.5 * MEASURED_MB[name]


def test_the_small_class_holds_every_region_of_the_catalogue() -> None:
    regions = load_catalogue(None).select(None, None).regions
    assert {
        memory_class(region, satellite) for region in regions for satellite in ("sentinel2", "landsat")
    } == {7_500}


def test_a_larger_region_or_a_measured_peak_asks_for_more() -> None:
    # 7,500 MiB hold 7,500 * 1.048576 / 1.25 = 6,291 MB, which 420 and 7 MB a million pixels reach at 838.8
    assert memory_class(square(289.5), "sentinel2") == 7_500
    assert memory_class(square(289.7), "sentinel2") == 15_500
    assert memory_class(square(289.7), "landsat") == 7_500
    small = square(10)
    assert memory_class(small, "sentinel2", Measured(peak_mb={"square": 6_290.0})) == 7_500
    assert memory_class(small, "sentinel2", Measured(peak_mb={"square": 6_300.0})) == 15_500
    assert memory_class(small, "sentinel2", Measured(peak_mb={"another": 60_000.0})) == 7_500
    assert memory_class(square(289.7), "sentinel2", Measured(peak_mb={"square": 100.0})) == 15_500


def test_a_region_no_class_holds_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"square is expected to need [\d,]+ MiB, more than the largest"):
        memory_class(square(900), "sentinel2")


def test_the_next_class_up() -> None:
    assert [next_class(mib) for mib in (0, *MEMORY_CLASSES_MIB)] == [*MEMORY_CLASSES_MIB, None]
    assert set(VCPUS) == set(MEMORY_CLASSES_MIB)


def test_time_grows_with_days_and_pixels_and_follows_what_was_measured() -> None:
    region = square(10)  # one million pixels
    unit = Unit(satellite="sentinel2", region="square", date1=dt.date(2024, 1, 1), date2=dt.date(2024, 1, 10))
    assert expected_images(unit) == pytest.approx(8.0)
    assert expected_seconds(unit, region, images=10) == pytest.approx(8 + 10 * (0.5 + 0.1))
    assert expected_seconds(unit, region, images=10, vcpus=2) == pytest.approx(8 + 10 * (0.5 + 0.05))
    slow = Measured(time_factor=2.0)
    assert expected_seconds(unit, region, images=10, measured=slow) == pytest.approx(2 * 14.0)
