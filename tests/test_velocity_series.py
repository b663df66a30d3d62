"""Granules together: a lazy Dataset and time series, against fields that are known."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer
from test_velocity_pairs import FIRST, make_clip

import glacierflow
from glacierflow.cli.app import run
from glacierflow.errors import DataError, UsageError
from glacierflow.velocity.granule import Velocity, write_netcdf
from glacierflow.velocity.ground import settle
from glacierflow.velocity.pairs import Pair
from glacierflow.velocity.track import Flag, Posting, Shifts, Tracking
from glacierflow.velocity.units import map_scale

LEFT, TOP, ROWS, COLS = -200_000.0, -2_000_000.0, 6, 8


def write_granule(root: Path, day: int, *, left: float = LEFT) -> Path:
    """Ice that moves by 100 * day + column along x and by -row along y; the first row is water."""
    pair = Pair(reference=FIRST, secondary=make_clip(f"2024-07-{day:02}"))
    cols, rows = np.meshgrid(np.arange(COLS, dtype=float), np.arange(ROWS, dtype=float))
    vx, vy = 100.0 * day + cols, -rows
    flag = np.full(vx.shape, Flag.MEASURED, np.uint8)
    nothing = [np.full(vx.shape, np.nan, np.float32) for _ in range(2)]
    shifts = Shifts(vx, vy, flag, nothing[0], nothing[1], np.full(vx.shape, 32, np.uint16))
    shifts.put(rows == 0, Flag.WATER)
    grid = Affine(100, 0, left, 0, -100, TOP)
    made = Velocity(
        pair=pair,
        transform=grid,
        posting=Posting(ROWS, COLS, 10),
        shifts=shifts,
        vx=vx,
        vy=vy,
        ground=settle(vx, vy, np.zeros(vx.shape, bool), None, pair.days),
        scale=map_scale(left + 100 * cols, TOP - 100 * rows),
        pixel_m=10,
        metres="ground",
        settings=Tracking(),
        max_speed_m_day=50,
        mask=None,
        production="0" * 64,
    )
    path = root / f"2_velocity/sentinel2/900_test/{pair.name}_G0100_V1.nc"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_netcdf(path, made, created=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for day in (21, 11):
        write_granule(tmp_path, day)
    return tmp_path


def test_granules_are_one_lazy_dataset_in_order_of_time(tree: Path) -> None:
    found = glacierflow.open_velocity("900_test", where=tree)
    assert found.sizes == {"time": 2, "y": ROWS, "x": COLS, "nv": 2}
    assert found.vx.chunks is not None
    np.testing.assert_array_equal(found.vx[:, 3, 4], [1104, 2104])
    np.testing.assert_array_equal(found.vy[0, 3], [-3] * COLS)
    assert np.isnan(found.v[0, 0]).all()
    assert [str(day)[:10] for day in found.time.values] == ["2024-07-06", "2024-07-11"]
    assert found.map_scale.dims == ("y", "x")
    assert found.granule.values[0].startswith("S2A_900_test_20240701")


def test_dates_choose_by_the_midpoint(tree: Path) -> None:
    found = glacierflow.open_velocity("900_test", ("2024-07-07", "2024-07-11"), where=tree)
    assert float(found.vx[0, 3, 4]) == 2104


@pytest.mark.parametrize(
    ("region", "dates", "words"),
    [
        ("901_other", None, "no velocity granule of 901_other"),
        ("900_test", ("2020-01-01", "2020-02-01"), "in these days"),
        ("900_test", ("July", "August"), "July is not a date"),
    ],
)
def test_what_is_not_there_is_said(tree: Path, region: str, dates: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        glacierflow.open_velocity(region, dates, where=tree)


def test_granules_of_two_grids_are_not_one_dataset(tree: Path) -> None:
    write_granule(tree, 26, left=LEFT + 50)
    with pytest.raises(DataError, match="another grid"):
        glacierflow.open_velocity("900_test", where=tree)


def node(row: int, col: int) -> tuple[float, float]:
    """Longitude and latitude near a node."""
    place = Transformer.from_crs(3413, 4326, always_xy=True).transform
    found: tuple[float, float] = place(LEFT + 100 * col + 70, TOP - 100 * row - 40)
    return found


def rows_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_point_has_a_time_series(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = "{:.7f},{:.7f}".format(*node(3, 4))
    assert run(["velocity", "at", "--where", str(tree), "--", here]) == 0
    first, second = rows_of(capsys)
    assert (first["vx"], first["vy"], first["flag"]) == ("1104.0", "-3.0", "measured")
    assert (second["vx"], second["midpoint"]) == ("2104.0", "2024-07-11T15:15:00Z")
    assert (first["first"], first["second"], first["days"]) == (
        "2024-07-01T15:15:00Z",
        "2024-07-11T15:15:00Z",
        "10.0000",
    )


def test_a_line_is_a_place_every_100_metres_and_water_has_a_flag(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {
        "type": "Feature",
        "properties": {"name": "flow"},
        "geometry": {"type": "LineString", "coordinates": [node(0, 2), node(4, 2)]},
    }
    path = tmp_path / "line.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [line]}))
    out = tmp_path / "series.csv"
    assert run(["velocity", "at", str(path), "--where", str(tree), "--out", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))[:5]
    assert {row["place"] for row in rows} == {"flow"}
    assert [float(row["distance_m"]) for row in rows] == pytest.approx([0, 100, 200, 300, 400], abs=1)
    assert [row["vy"] for row in rows] == ["", "-1.0", "-2.0", "-3.0", "-4.0"]
    assert rows[0]["flag"] == "water"


@pytest.mark.parametrize("word", ["nowhere.gpkg", "-49.5;69.1", "-49.5,169.1"])
def test_what_is_no_place_is_refused(tree: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["velocity", "at", "--where", str(tree), "--", word]) == 64
    assert word in capsys.readouterr().err


def test_a_place_outside_all_granules_is_said(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["velocity", "at", "--where", str(tree), "--", "-10.0,70.0"]) == 1
    assert "no granule" in capsys.readouterr().err
