"""Real data beside the checkout or what stands in for it, and small made-up values, for all tests."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_scenes import REGIONS, made_archive
from pyproj import Transformer

from glacierflow.model.records import Region, Unit

SHARED = Path(__file__).parents[1].parent / "shared"


WITHOUT = "GLACIERFLOW_TESTS_WITHOUT_DATA"
"""Set to 1 where it is known that the real data is not there: what can stand in stands in, CI or not."""


stood_in: set[str] = set()
"""Tests that ran on made-up scenes because the real ones are not there."""


def _must_be_real() -> bool:
    """In CI, unless told otherwise: a green run there proves that everything ran."""
    return "CI" in os.environ and os.environ.get(WITHOUT) != "1"


def shared(path: str) -> Path:
    """A file or folder of the real data beside the checkout; without them the test ends here, said aloud."""
    if not SHARED.is_dir():
        missing = f"the real scenes, STAC items and regions are not there: {SHARED}"
        if _must_be_real():
            pytest.fail(f"CI=1, but {missing}; {WITHOUT}=1 says that this is known", pytrace=False)
        pytest.skip(missing)
    return SHARED / path


def real_archive() -> Path:
    """Four real scenes with their items and regions; made-up ones on the same grids where there are none."""
    if SHARED.is_dir() or _must_be_real():
        return shared("data/real")
    stood_in.add(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0])
    return made_archive()


ARCHIVES: dict[str, Callable[[], Path]] = {"real": lambda: shared("data/real"), "made-up": made_archive}
"""Both, for tests that prove the pixels themselves: they run on the made-up scenes everywhere."""


def real_regions() -> Path:
    """The catalogue of their regions."""
    return real_archive() / "regions.csv"


def real_arguments() -> tuple[str, ...]:
    """The options that name the real scenes and their regions."""
    return "--archive", str(real_archive()), "--regions-file", str(real_regions())


def read_item(path: Path) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(path.read_text())
    return item


def recorded_items(folder: str) -> list[dict[str, Any]]:
    """Recorded items of a folder below stac_items; a clear failure where the data is not there."""
    where = shared("data/stac_items") / folder
    paths = sorted(where.glob("*.json"))
    assert paths, f"the recorded STAC items are not there: {where}"
    return [read_item(path) for path in paths]


def recorded(pattern: str) -> list[dict[str, Any]]:
    """Every JSON object below the folders of a pattern."""
    files = sorted(shared("data").glob(f"{pattern}/**/*.json"))
    return [item for item in map(json.loads, (file.read_text() for file in files)) if isinstance(item, dict)]


def make_region(
    name: str = "900_test",
    tiles: tuple[str, ...] = ("33UUU",),
    bounds: tuple[float, float, float, float] = (3525300, -2236200, 3534300, -2227200),
    index: int = 0,
) -> Region:
    xmin, ymin, xmax, ymax = bounds
    transform = Transformer.from_crs(3413, 4326, always_xy=True).transform
    corners = [(xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax), (xmin, ymin)]
    outline = tuple(transform(x, y) for x, y in corners)
    return Region(
        name=name,
        index=index,
        mgrs_tiles=tiles,
        xmin=xmin,
        ymin=ymin,
        xmax=xmax,
        ymax=ymax,
        outline=outline,
    )


def real_region(name: str) -> Region:
    """A region of the real archive."""
    row = next(row for row in csv.DictReader(REGIONS.splitlines()) if row["region"] == name)
    bounds = (float(row["xmin"]), float(row["ymin"]), float(row["xmax"]), float(row["ymax"]))
    return make_region(name, tuple(row["mgrs_tiles"].split()), bounds)


def make_unit(region: str = "900_test", satellite: str = "sentinel2") -> Unit:
    return Unit.model_validate(
        {
            "satellite": satellite,
            "region": region,
            "date1": dt.date(2016, 5, 1),
            # the real Landsat scenes are of July and August
            "date2": dt.date(2016, 6, 30) if satellite == "sentinel2" else dt.date(2016, 8, 31),
        }
    )
