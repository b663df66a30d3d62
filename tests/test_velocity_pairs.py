"""Which clips are paired: every rule refuses what it should, by a code and a sentence."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from product_trees import REGION, put, their_tree, write_plain, write_product

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.imagery.grid import geobox_of
from glacierflow.model.layout import Layout
from glacierflow.products.cog import write_cog
from glacierflow.products.tree import open_tree, read_tree
from glacierflow.store import LocalStore, Store
from glacierflow.velocity.clips import Clip, read_clips
from glacierflow.velocity.pairs import Pair, PairRules, choose_pairs, default_rules

RULES = default_rules("sentinel2")


def make_clip(day: str = "2024-07-01", **facts: Any) -> Clip:
    """A clip of Sentinel-2 at a quarter past three."""
    moment = dt.datetime.fromisoformat(f"{day}T15:15:00+00:00")
    stem = f"S2A_MSIL2A_{moment:%Y%m%dT%H%M%S}_N0511_R068"
    made: dict[str, Any] = {
        "key": f"clipped/{stem}.tif",
        "satellite": "sentinel2",
        "region": "900_test",
        "stem": stem,
        "acquisition": f"S2A_{moment:%Y%m%dT%H%M%S}_R068",
        "datetime": moment,
        "platform": "S2A",
        "orbit": "R068",
        "baseline": "05.11",
        "items": ("x",),
        "resampling": "cubic",
        "ours": True,
        "coverage": 0.9,
        "off_nadir": None,
        "production": "0" * 64,
        "size": 100,
        "bounds": (0, 0, 600, 900),
        "shape": (90, 60),
    }
    return Clip.model_validate(made | facts)


def make_landsat(day: str, **facts: Any) -> Clip:
    made = {"satellite": "landsat", "platform": "LC08", "orbit": "009011", "baseline": None, "off_nadir": 0.0}
    key = f"landsat/{day}.tif"
    return make_clip(day, **{**made, "key": key, "acquisition": key, **facts})


FIRST = make_clip()


@pytest.mark.parametrize(
    ("other", "code", "values"),
    [
        (make_clip("2024-07-11", orbit="R025"), "orbit", ["R068", "R025"]),
        (make_clip("2024-07-03"), "too_close", ["2 days", "5 to 60"]),
        (make_clip("2024-09-30"), "too_far", ["91 days", "5 to 60"]),
        (make_clip("2024-07-11", coverage=0.13), "coverage", ["13.0%", "20.0%"]),
        (make_clip("2024-07-11", resampling="nearest"), "nearest", ["--allow-nearest"]),
        (make_clip("2024-07-11", resampling="nearest", ours=False), "nearest", ["another program"]),
        (make_clip("2024-07-11", resampling="bilinear"), "resampling", ["cubic", "bilinear"]),
        (make_clip("2024-07-11", bounds=(5, 0, 605, 900)), "other_grid", ["605", "600"]),
        (make_clip("2024-07-11", shape=(180, 120)), "other_grid", ["180", "90"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_pair_is_refused_with_code_and_values(other: Clip, code: str, values: list[str]) -> None:
    found = choose_pairs([FIRST, other], RULES)
    assert found.pairs == ()
    (refusal,) = found.refused
    assert refusal.code == code
    assert other.key in refusal.keys
    for value in values:
        assert value in refusal.reason


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (make_landsat("2024-07-17", orbit="009012"), "path_row"),
        (make_landsat("2024-07-17", platform="LE07"), "sensor"),
        (make_landsat("2024-07-17", off_nadir=14.2), "off_nadir"),
        (make_landsat("2024-07-17", platform="LC09"), None),
        (make_landsat("2024-07-17", off_nadir=None), None),
    ],
)
def test_rules_of_landsat(other: Clip, code: str | None) -> None:
    found = choose_pairs([make_landsat("2024-07-01"), other], default_rules("landsat"))
    assert [one.code for one in found.refused] == ([] if code is None else [code])
    assert len(found.pairs) == (code is None)


@pytest.mark.parametrize(
    ("baselines", "is_pair"),
    [(("02.14", "03.01"), False), (("05.00", "03.01"), False), (("05.00", "05.11"), True)],
)
def test_a_pair_across_the_change_of_the_elevation_model_needs_two_reprocessed_images(
    baselines: tuple[str, str], is_pair: bool
) -> None:
    one = make_clip("2021-08-18", baseline=baselines[0])
    other = make_clip("2021-08-23", baseline=baselines[1])
    found = choose_pairs([one, other], RULES)
    assert bool(found.pairs) == is_pair
    assert [refusal.code for refusal in found.refused] == ([] if is_pair else ["elevation_model"])


def test_the_change_refuses_no_pair_on_one_side_of_it() -> None:
    days = ("2021-08-12", "2021-08-22"), ("2021-08-23", "2021-09-02")
    for one, other in days:
        assert choose_pairs(
            [make_clip(one, baseline="03.01"), make_clip(other, baseline="03.01")], RULES
        ).pairs


def test_orbits_that_repeat_a_little_early_are_still_five_days_apart() -> None:
    later = make_clip("2024-07-06")
    early = later.model_copy(update={"datetime": later.datetime - dt.timedelta(seconds=40)})
    (pair,) = choose_pairs([FIRST, early], RULES).pairs
    assert pair.days < 5


def test_the_same_clip_twice_is_one_clip_and_makes_no_pair() -> None:
    found = choose_pairs([FIRST, FIRST], RULES)
    assert (found.clips, found.pairs, found.refused) == (1, (), ())


def test_of_two_baselines_of_one_acquisition_the_newer_is_paired() -> None:
    old = FIRST.model_copy(update={"stem": FIRST.stem.replace("0511", "0500"), "key": "clipped/old.tif"})
    found = choose_pairs([old, FIRST, make_clip("2024-07-11")], RULES)
    assert [pair.reference.key for pair in found.pairs] == [FIRST.key]
    (refusal,) = found.refused
    assert refusal.code == "same_acquisition"
    assert FIRST.key in refusal.reason


def test_swapped_dates_are_no_pair() -> None:
    with pytest.raises(ValueError, match="must be earlier than"):
        Pair(reference=make_clip("2024-07-11"), secondary=FIRST)
    (pair,) = choose_pairs([make_clip("2024-07-11"), FIRST], RULES).pairs
    assert pair.reference == FIRST


def test_an_image_is_in_a_bounded_number_of_pairs_the_nearest_first() -> None:
    clips = [make_clip(f"2024-07-{day:02}") for day in (1, 6, 11, 16, 21, 26)]
    found = choose_pairs(clips, RULES.model_copy(update={"most_per_image": 2}))
    days = [round(pair.days) for pair in found.pairs]
    assert sorted(days) == [5, 5, 5, 5, 5, 25]
    assert {refusal.code for refusal in found.refused} == {"enough"}
    assert len(found.pairs) + len(found.refused) == 15


def test_a_second_span_takes_anniversaries_and_nothing_between() -> None:
    clips = [
        make_clip("2023-07-01"),
        make_clip("2023-07-11"),
        make_clip("2024-07-05"),
        make_clip("2024-01-01"),
    ]
    found = choose_pairs(clips, PairRules(spans=((5, 60), (360, 372))))
    assert sorted(round(pair.days) for pair in found.pairs) == [10, 360, 370]


def test_the_name_of_a_pair_tells_platforms_times_and_orbit() -> None:
    (pair,) = choose_pairs([FIRST, make_clip("2024-07-11", platform="S2B")], RULES).pairs
    assert pair.name == "S2A-S2B_900_test_20240701T151500_20240711T151500_R068"


def test_regions_are_not_mixed() -> None:
    found = choose_pairs([FIRST, make_clip("2024-07-11", region="901_other")], RULES)
    assert (found.pairs, found.refused) == ((), ())


def write_clip(root: Path, stem: str, **tags: str) -> None:
    layout = Layout("1_download_merge_and_clip")
    path = root / layout.product("sentinel2", REGION.name, stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    box = geobox_of(REGION, "sentinel2")
    told = {
        "GLACIERFLOW_PRODUCTION": "a" * 64,
        "GLACIERFLOW_COVERAGE": "0.8123",
        "GLACIERFLOW_RESAMPLING": "cubic",
        "GLACIERFLOW_SOURCES": json.dumps([{"item": f"{stem}_item", "baseline": "05.10"}]),
    }
    write_cog(path, np.full(box.shape, 700, np.uint16), box, told | tags)


STEMS = ("S2A_MSIL2A_20240701T152911_N0511_R068", "S2B_MSIL2A_20240706T152911_N0511_R068")


def test_headers_tell_what_pairing_needs(tmp_path: Path) -> None:
    write_clip(tmp_path, STEMS[0])
    (clip,), unusable = read_clips(open_tree(str(tmp_path), Cloud()))
    assert unusable == ()
    assert (clip.platform, clip.orbit, clip.baseline, clip.coverage) == ("S2A", "R068", "05.10", 0.8123)
    assert clip.items == (f"{STEMS[0]}_item",)
    assert (clip.bounds, clip.shape) == (REGION.bounds, (90, 60))


def test_the_predecessors_clips_are_known_by_their_names(tmp_path: Path) -> None:
    clips, unusable = read_clips(open_tree(str(their_tree(tmp_path)), Cloud()))
    assert unusable == ()
    assert [(clip.platform, clip.ours, clip.resampling) for clip in clips] == [
        ("S2A", False, "nearest"),
        ("S2B", False, "nearest"),
    ]


def test_files_that_are_no_clips_are_named_with_the_reason(tmp_path: Path) -> None:
    layout = Layout("1_download_merge_and_clip")
    put(tmp_path / layout.product("sentinel2", REGION.name, STEMS[0]), "not an image")
    image = np.ones((90, 60), np.uint16)
    write_plain(tmp_path / layout.product("sentinel2", REGION.name, STEMS[1]), image, crs="EPSG:32622")
    write_product(tmp_path, layout, REGION, "picnic", image)
    clips, unusable = read_clips(open_tree(str(tmp_path), Cloud()))
    assert clips == ()
    assert sorted(one.code for one in unusable) == ["unnamed", "unreadable", "unreadable"]
    assert any("EPSG:32622" in one.reason for one in unusable)


class HeadsOnly:
    """A bucket that gives the first bytes of objects, and nothing else."""

    remote = True

    def __init__(self, root: Path) -> None:
        self._inner = LocalStore(root)
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        assert name in {"list", "uri"}, name
        return getattr(self._inner, name)

    def get_head(self, key: str, size: int) -> bytes | None:
        self.asked.append(size)
        return self._inner.get_head(key, size)


def test_a_bucket_is_asked_for_the_heads_of_clips_and_for_no_pixel(tmp_path: Path) -> None:
    write_clip(tmp_path, STEMS[0])
    store = HeadsOnly(tmp_path)
    (clip,), _ = read_clips(read_tree("s3://bucket", cast("Store", store), ""))
    assert clip.platform == "S2A"
    assert store.asked == [65_536]


def pairs_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run(["velocity", "pairs", *arguments, "--json"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, answer


def test_the_verb_shows_pairs_and_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stem in (*STEMS, "S2A_MSIL2A_20240708T151911_N0511_R025"):
        write_clip(tmp_path, stem)
    code, answer = pairs_json(capsys, str(tmp_path))
    assert code == 0
    assert [pair["name"] for pair in answer["pairs"]] == [
        "S2A-S2B_900_test_20240701T152911_20240706T152911_R068"
    ]
    assert answer["codes"] == {"orbit": 2}
    assert run(["velocity", "pairs", str(tmp_path), "--refused"]) == 0
    said = capsys.readouterr().out
    assert "2024-07-01 15:29" in said
    assert "refused: orbit: " in said
    assert said.endswith("clips: 3, pairs: 1; refused: 2 orbit\n")


def test_options_choose_clips_and_change_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stem in STEMS:
        write_clip(tmp_path, stem)
    for options, pairs in (
        (["--days", "6:60"], 0),
        (["--days", "1:4,5:5"], 1),
        (["--min-coverage", "0.82"], 0),
        (["--date1", "2024-07-02"], 0),
        (["--regions", "901_other"], 0),
        (["--satellite", "landsat"], 0),
    ):
        code, answer = pairs_json(capsys, str(tmp_path), *options)
        assert (code, len(answer["pairs"])) == (1 - pairs, pairs), options


def test_the_predecessors_clips_are_taken_when_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(their_tree(tmp_path))
    code, answer = pairs_json(capsys, root, "--days", "1:60")
    assert (code, answer["codes"]) == (1, {"nearest": 2})
    code, answer = pairs_json(capsys, root, "--days", "1:60", "--allow-nearest")
    assert (code, len(answer["pairs"])) == (0, 1)


@pytest.mark.parametrize(
    "options", [["--days", "60"], ["--days", "9:3"], ["--date1", "July"], ["--satellite", "spot5"]]
)
def test_bad_values_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert run(["velocity", "pairs", str(tmp_path), *options]) == 64
    said = capsys.readouterr().err
    assert f"{options[0]} = {options[1]}" in said
    assert "next: " in said
