from __future__ import annotations

import csv
import datetime as dt

import pytest
import shapely
from samples import recorded, shared
from shapely.geometry import box

from glacierflow.local.sample import frames
from glacierflow.local.sample.frames import landsat_grid, make_pass, pass_days, sentinel2_grid
from glacierflow.model.records import Region, Satellite

ARSUK = Region(
    name="134_Arsuk",
    index=0,
    mgrs_tiles=("22VFP",),
    xmin=-159850,
    ymin=-3173900,
    xmax=-150850,
    ymax=-3164300,
    outline=(),
)


# --- grids --------------------------------------------------------------------------------


def test_tiles_of_all_192_regions_cover_them() -> None:
    with (shared("facts/glacier_regions.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 192
    for row in rows:
        tiles = [sentinel2_grid(tile).outline() for tile in row["mgrs_tiles"].split()]
        extent = box(float(row["xmin"]), float(row["ymin"]), float(row["xmax"]), float(row["ymax"]))
        # four regions reach up to 2.3 % beyond the tiles that the catalogue gives them
        assert extent.intersection(shapely.union_all(tiles)).area > 0.975 * extent.area, row["region"]
        for tile in tiles:
            assert extent.intersects(tile), row["region"]


def test_landsat_grid_is_like_the_real_ones_and_holds_the_region() -> None:
    real = [item for item in recorded("stac_items/landsatlook/landsat-c2l1") if "pan" in item["assets"]]
    grid = landsat_grid(ARSUK)
    for item in real:
        pan, whole = item["assets"]["pan"], item["properties"]
        assert pan["proj:transform"][2] - whole["proj:transform"][2] == 7.5
        assert pan["proj:shape"][0] == 2 * whole["proj:shape"][0] - 1
        assert (pan["proj:transform"][2] - grid.left) % 15 == 0
        assert (pan["proj:transform"][5] - grid.top) % 15 == 0
    assert shapely.within(box(*ARSUK.bounds), grid.outline())


# --- passes --------------------------------------------------------------------------------


@pytest.mark.parametrize("satellite", ["sentinel2", "landsat"])
def test_three_weeks_have_three_passes_and_a_day_has_one(satellite: Satellite) -> None:
    for shift in range(40):
        day = dt.date(2024, 6, 1) + dt.timedelta(shift)
        assert len(pass_days(satellite, day, day + dt.timedelta(20))) == 3
        assert pass_days(satellite, day, day) == [day]
    kinds = [
        make_pass(satellite, day) for day in pass_days(satellite, dt.date(2024, 6, 1), dt.date(2024, 6, 28))
    ]
    assert sum(one.is_cut for one in kinds) == sum(one.is_cloudy for one in kinds) == 1
    assert sum(one.is_reprocessed for one in kinds) == (satellite == "sentinel2")


def test_no_pass_before_the_satellites_flew() -> None:
    assert pass_days("sentinel2", dt.date(2014, 6, 1), dt.date(2015, 6, 30)) == []
    assert make_pass("landsat", dt.date(2005, 7, 1)).platform == "LE07"
    assert {make_pass("sentinel2", dt.date(2016, 7, day)).platform for day in range(1, 31)} == {"S2A"}


def test_season_starts_in_july() -> None:
    assert frames.season_day(dt.date(2024, 7, 1)) == 0
    assert frames.season_day(dt.date(2024, 6, 29)) == -2
    assert frames.season_day(dt.datetime(2024, 7, 2, 12, tzinfo=dt.UTC)) == 1.5
