"""The made-up scenes are what they stand in for, and a run without the real ones says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
import yaml
from made_scenes import REGIONS, made_archive
from samples import SHARED, WITHOUT, read_item, shared

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize("told", [{}, {"CI": "1"}, {"CI": "1", WITHOUT: "0"}, {"CI": "1", WITHOUT: "1"}])
def test_without_the_real_data_a_clone_says_what_it_did_not_run_and_ci_fails_unless_it_was_told(
    tmp_path: Path, told: dict[str, str]
) -> None:
    for name in ("tests", "pyproject.toml"):
        (tmp_path / "clone").mkdir(exist_ok=True)
        (tmp_path / "clone" / name).symlink_to(ROOT / name)
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", WITHOUT}} | told
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
    if "CI" in told and told.get(WITHOUT) != "1":
        assert done.returncode == 1
        assert "2 failed" in said
        assert "CI=1, but the real scenes, STAC items and regions are not there" in said
        assert f"{WITHOUT}=1 says that this is known" in said
    else:
        assert done.returncode == 0
        assert "1 passed, 1 skipped" in said
        last = said.splitlines()[-3:]
        assert last[0].startswith("NOT RUN: 1 tests, the real scenes, STAC items and regions are not there")
        assert last[1].startswith("NOT RUN on real scenes: 1 tests ran on made-up ones")


def test_the_workflow_says_that_the_real_data_is_not_there() -> None:
    """A clone on GitHub has no folder beside it."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["check"]
    assert job["env"] == {WITHOUT: 1}
    kept = re.findall(r"--preserve-env=(\S+) \.ci/run", job["steps"][-1]["run"])
    assert WITHOUT in kept[0].split(",")
    assert f"`{WITHOUT}=1`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
