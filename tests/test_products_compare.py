"""``glacierflow compare``: differences are those that numpy finds, and what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from product_trees import REGION, STEMS, our_tree, pixels, their_tree, write_plain

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.products.compare import Comparison, compare_trees
from glacierflow.products.tree import open_tree


def compare(a: Path, b: Path, *, tolerance: int = 0) -> Comparison:
    return compare_trees(open_tree(str(a), Cloud()), open_tree(str(b), Cloud()), tolerance=tolerance)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    return their_tree(tmp_path / "a", "old"), their_tree(tmp_path / "b", "new")


def product_of(tree: Path, stem: str = STEMS[0]) -> Path:
    (path,) = (path for path in tree.rglob(f"{stem}.tif") if "clipped" in path.parts)
    return path


def test_equal_pixels_are_the_same_in_whatever_structure_and_compression(tmp_path: Path) -> None:
    ours, theirs = our_tree(tmp_path / "ours"), their_tree(tmp_path / "theirs")
    found = compare(ours / "1_download_merge_and_clip" / "sentinel2", theirs)
    assert found.states == {"identical": 2}
    assert found.exit_code == 0


def test_another_baseline_is_still_the_same_acquisition(trees: tuple[Path, Path]) -> None:
    a, b = trees
    path = product_of(b)
    path.rename(path.with_name(path.name.replace("_N0511_", "_N0509_")))
    assert compare(a, b).states == {"identical": 2}


def test_differences_are_those_of_numpy(trees: tuple[Path, Path]) -> None:
    a, b = trees
    rng = np.random.default_rng(9)
    one = pixels(0)
    other = (one + rng.choice([0, 0, 1, 4], one.shape)).astype(np.uint16)
    other[3, 3:8] = 0
    write_plain(product_of(b), other)
    found = compare(a, b)
    difference = next(entry for entry in found.differences if entry.state != "identical")
    both = (one > 0) & (other > 0)
    apart = np.abs(one[both].astype(int) - other[both])
    assert difference.state == "different"
    assert difference.pixels == both.sum()
    assert difference.identical_share == pytest.approx((apart == 0).mean())
    assert difference.within_1_share == pytest.approx((apart <= 1).mean())
    assert difference.largest == apart.max() == 4
    assert difference.rms == pytest.approx(np.sqrt((apart**2).mean()))
    assert difference.only_one_valid == 5
    assert compare(a, b, tolerance=4).exit_code == 1, "nodata in other places is no small difference"
    other[3, 3:8] = one[3, 3:8]
    write_plain(product_of(b), other)
    assert compare(a, b, tolerance=3).exit_code == 1
    assert compare(a, b, tolerance=4).states == {"identical": 1, "close": 1}
    assert compare(a, b, tolerance=4).exit_code == 0


def test_what_one_tree_lacks_is_said(trees: tuple[Path, Path]) -> None:
    a, b = trees
    product_of(b, STEMS[1]).unlink()
    assert compare(a, b).states == {"identical": 1, "only_a": 1}
    assert compare(b, a).states == {"identical": 1, "only_b": 1}
    assert compare(a, b).exit_code == 1


def test_another_grid_is_not_compared_pixel_by_pixel(trees: tuple[Path, Path]) -> None:
    a, b = trees
    write_plain(product_of(b), pixels(0)[:-1])
    assert compare(a, b).states == {"identical": 1, "grid": 1}
    assert compare(a, b).exit_code == 1


def test_what_cannot_be_compared_is_no_pass(trees: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = trees
    product_of(b).write_bytes(b"<html>")
    assert compare(a, b).states == {"identical": 1, "damaged": 1}
    assert compare(a, b).exit_code == 2
    (tmp_path / "empty").mkdir()
    assert compare(tmp_path / "empty", tmp_path / "empty").exit_code == 2


def test_trees_that_share_no_image_were_not_compared(
    trees: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for words in ([str(trees[0]), str(tmp_path / "empty")], [str(tmp_path / "empty"), str(trees[0])]):
        assert run(["compare", *words]) == 2
        assert "no image of one has a match in the other" in capsys.readouterr().out


def test_the_command_line(trees: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = map(str, trees)
    assert run(["compare", a, b]) == 0
    assert capsys.readouterr().out == "2 identical\n"
    write_plain(product_of(trees[1]), pixels(7))
    assert run(["compare", a, b]) == 1
    shown = capsys.readouterr().out
    assert f"different  {REGION.name}  S2A_20240701T152911_R068" in shown
    assert run(["compare", a, b, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["states"] == {"identical": 1, "different": 1}
    assert run(["compare", a, f"{b}/no"]) == 64
