"""Units in slots, slots in arrays."""

from __future__ import annotations

import datetime as dt

import pytest
from runs_samples import DATE1, DATE2, some_regions

from glacierflow.model.records import Region
from glacierflow.runs.units import arrange, cut_arrays, plan_units, usual_order
from glacierflow.runs.workload import Measured, expected_seconds

YEARS = dt.date(2016, 3, 1), dt.date(2025, 12, 31)


def sized(*km: float) -> dict[str, Region]:
    """Squares of so many kilometres, in catalogue order."""
    regions = some_regions(len(km))
    return {
        region.name: region.model_copy(
            update={"xmin": 0.0, "ymin": 0.0, "xmax": side * 1e3, "ymax": side * 1e3}
        )
        for region, side in zip(regions, km, strict=True)
    }


def test_units_are_region_by_period_in_catalogue_order() -> None:
    regions = some_regions(3, first=65)
    units = plan_units("landsat", [regions[2], regions[0], regions[0]], *YEARS, "year")
    assert [unit.region for unit in units] == ["065_made_up"] * 10 + ["067_made_up"] * 10
    assert [unit.date1.year for unit in units[:10]] == list(range(2016, 2026))
    assert (units[0].date1, units[0].date2) == (dt.date(2016, 3, 1), dt.date(2016, 12, 31))
    assert {unit.satellite for unit in units} == {"landsat"}


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (0, []),
        (1, [(0, 1)]),
        (192, [(0, 192)]),
        (10_000, [(0, 10_000)]),
        (10_001, [(0, 10_000), (10_000, 1)]),
        (25_000, [(0, 10_000), (10_000, 10_000), (20_000, 5_000)]),
    ],
)
def test_arrays_hold_at_most_ten_thousand(slots: int, expected: list[tuple[int, int]]) -> None:
    assert [(array.first_slot, array.size) for array in cut_arrays(slots)] == expected


def test_with_one_unit_a_region_an_index_is_the_catalogues() -> None:
    regions = sized(10, 40, 20, 40)
    units = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    for given in (units, units[::-1]):
        arrangement = arrange(given, regions)
        assert [slot[0].region[:3] for slot in arrangement.slots] == ["000", "001", "002", "003"]
        assert (arrangement.order, arrangement.roomier) == ("catalogue", 0)


def test_the_catalogues_order_is_one_array_of_the_class_that_the_largest_unit_needs() -> None:
    regions = sized(10, 20, 30)
    units = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    measured = Measured(peak_mb={"000_made_up": 7_000.0, "001_made_up": 20_000.0})
    arrangement = arrange(units, regions, measured=measured)
    assert [slot[0].region[:3] for slot in arrangement.slots] == ["000", "001", "002"]
    (array,) = arrangement.arrays
    assert (array.size, array.memory_mib, arrangement.roomier) == (3, 31_500, 2)


def test_the_usual_order_is_the_catalogues_only_where_an_index_can_be_a_region() -> None:
    regions = list(sized(10, 20).values())
    assert usual_order(plan_units("landsat", regions, *YEARS)) == "catalogue"
    assert usual_order(plan_units("landsat", regions, *YEARS, "year")) == "largest"
    # one year by year is one unit a region
    assert usual_order(plan_units("landsat", regions, DATE1, DATE1, "year")) == "catalogue"
    assert arrange((), {}).slots == ()


def test_several_units_a_region_can_stand_in_the_catalogues_order_too() -> None:
    regions = sized(10, 40)
    units = plan_units("sentinel2", list(regions.values()), *YEARS, "year")
    assert [slot for (slot,) in arrange(units, regions, order="catalogue").slots] == list(units)


def test_the_largest_comes_first_and_equals_stay_in_order() -> None:
    regions = sized(10, 40, 20, 40)
    units = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    arrangement = arrange(units, regions, order="largest")
    assert arrangement.order == "largest"
    assert [slot[0].region[:3] for slot in arrangement.slots] == ["001", "003", "002", "000"]
    (array,) = arrangement.arrays
    assert (array.first_slot, array.size, array.memory_mib, array.on_demand) == (0, 4, 7_500, False)


def test_a_short_period_comes_after_the_long_ones() -> None:
    regions = sized(30)
    units = plan_units(
        "sentinel2", list(regions.values()), dt.date(2023, 12, 30), dt.date(2025, 6, 1), "year"
    )
    arrangement = arrange(units, regions)
    assert [slot[0].date1.year for slot in arrangement.slots] == [2024, 2025, 2023]


def test_an_array_has_one_memory_class_and_the_largest_class_is_first() -> None:
    regions = sized(10, 20, 30)
    units = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    measured = Measured(peak_mb={"000_made_up": 20_000.0, "001_made_up": 7_000.0})
    arrangement = arrange(units, regions, measured=measured, on_demand=True, order="largest")
    assert [slot[0].region[:3] for slot in arrangement.slots] == ["000", "001", "002"]
    assert [(one.first_slot, one.size, one.memory_mib) for one in arrangement.arrays] == [
        (0, 1, 31_500),
        (1, 1, 15_500),
        (2, 1, 7_500),
    ]
    assert all(array.on_demand for array in arrangement.arrays)


def test_every_unit_is_in_exactly_one_slot_of_one_array() -> None:
    regions = sized(*range(5, 45))
    units = plan_units("sentinel2", list(regions.values()), *YEARS, "month")
    for pack in (None, 30.0):
        arrangement = arrange(units, regions, pack_minutes=pack)
        flat = [unit for slot in arrangement.slots for unit in slot]
        assert sorted(flat, key=str) == sorted(units, key=str)
        covered = [
            slot
            for array in arrangement.arrays
            for slot in range(array.first_slot, array.first_slot + array.size)
        ]
        assert covered == list(range(len(arrangement.slots)))


def test_packing_fills_slots_with_units_on_the_same_tiles() -> None:
    regions = sized(10, 10, 10, 10)
    tiles = {"000_made_up": "22WEB", "001_made_up": "21XWA", "002_made_up": "22WEB", "003_made_up": "21XWA"}
    regions = {
        name: region.model_copy(update={"mgrs_tiles": (tiles[name],)}) for name, region in regions.items()
    }
    units = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    one = expected_seconds(units[0], regions["000_made_up"])
    arrangement = arrange(units, regions, pack_minutes=2.5 * one / 60)
    assert [{tiles[unit.region] for unit in slot} for slot in arrangement.slots] == [{"22WEB"}, {"21XWA"}]
    # the slot with the first region of the catalogue stands first
    assert [[unit.region[:3] for unit in slot] for slot in arrangement.slots] == [
        ["000", "002"],
        ["001", "003"],
    ]
    # a unit longer than the limit is alone, not refused
    assert len(arrange(units, regions, pack_minutes=0.5 * one / 60).slots) == 4
