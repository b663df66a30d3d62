"""The made-up scenes are what they stand in for, and a run without the real ones says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from made_scenes import REGIONS, made_archive
from samples import SHARED, read_item, shared


def pairs() -> list[tuple[Path, Path]]:
    """Items of the real archive and those that stand in for them."""
    real, made = shared("data/real"), made_archive()
    names = sorted(path.relative_to(real) for path in real.rglob("*.json"))
    assert names == sorted(path.relative_to(made) for path in made.rglob("*.json"))
    return [(real / name, made / name) for name in names]


def test_regions_and_grids_are_those_of_the_real_scenes() -> None:
    assert (shared("data/real") / "regions.csv").read_text().split() == REGIONS.split()
    for items in pairs():
        real, made = (next(path.parent.glob("*.[tT]*")) for path in items)
        assert real.name == made.name
        with rasterio.open(real) as one, rasterio.open(made) as other:
            for what in ("crs", "transform", "shape", "dtypes", "nodata", "block_shapes", "compression"):
                assert getattr(one, what) == getattr(other, what), what


def test_items_have_the_shape_of_the_real_ones() -> None:
    for real, made in (map(read_item, items) for items in pairs()):
        assert made.keys() == real.keys()
        for key in ("id", "collection", "geometry", "bbox"):
            assert made[key] == real[key], key
        assert made["properties"].keys() <= real["properties"].keys()
        for key, value in real["properties"].items():
            assert type(made["properties"].get(key, value)) is type(value), key
        ((name, asset),) = made["assets"].items()
        for key in ("href", "alternate", "proj:shape", "proj:transform"):
            assert asset.get(key) == real["assets"][name].get(key), key


ON_THE_ARCHIVE = "tests/test_sensors.py::test_the_real_archive_parses"
ON_RECORDED_ITEMS = "tests/test_tiles.py::test_corners_of_all_recorded_sentinel2_tiles"


@pytest.mark.parametrize("is_ci", [False, True])
def test_without_the_real_data_a_clone_says_what_it_did_not_run_and_ci_fails(
    tmp_path: Path, *, is_ci: bool
) -> None:
    for name in ("tests", "pyproject.toml"):
        (tmp_path / "clone").mkdir(exist_ok=True)
        (tmp_path / "clone" / name).symlink_to(Path(__file__).parents[1] / name)
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | (
        {"CI": "1"} if is_ci else {}
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ON_THE_ARCHIVE, ON_RECORDED_ITEMS],
        cwd=tmp_path / "clone",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout
    assert str(tmp_path / SHARED.name) in said, said
    if is_ci:
        assert done.returncode == 1
        assert "2 failed" in said
        assert "CI=1, but the real scenes, STAC items and regions are not there" in said
    else:
        assert done.returncode == 0
        assert "1 passed, 1 skipped" in said
        assert "NOT RUN: 1 tests, the real scenes, STAC items and regions are not there" in said
        assert "NOT RUN on real scenes: 1 tests ran on made-up ones" in said
