"""From clips to granules: scale, stable ground, files whole and right. Truth: PROJ, geodesics, real rock."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from compliance_checker.runner import CheckSuite, ComplianceChecker
from netCDF4 import Dataset
from PIL import Image
from pyproj import Geod, Transformer
from real_clips import write_clips, write_small_clips
from samples import shared

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.products.tree import open_tree
from glacierflow.store import LocalStore
from glacierflow.velocity.clips import read_clips
from glacierflow.velocity.ground import NO_SHIFT, ROCK_SHIFT, SLOW_SHIFT, settle
from glacierflow.velocity.pairs import Pair, choose_pairs, default_rules
from glacierflow.velocity.produce import Made, VelocitySettings, make_granules
from glacierflow.velocity.units import DAYS_PER_YEAR, Converter, map_scale

ROCK = "data/velocity/yahtse_rock.geojson"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("latitude", [60, 70, 80])
@pytest.mark.parametrize("azimuth", [0, 60, 90])
def test_a_known_way_on_the_ground_has_its_length_in_ground_metres(latitude: float, azimuth: float) -> None:
    to_map = Transformer.from_crs(4326, 3413, always_xy=True).transform
    start, ground_m = (-40.0, latitude), 100.0
    lon, lat, _ = Geod(ellps="WGS84").fwd(*start, azimuth, ground_m)
    before, after = np.array(to_map(*start)), np.array(to_map(lon, lat))
    scale = map_scale(*(np.array([[value]]) for value in before))
    moved = (after - before) / 10
    vx, vy = Converter(10, DAYS_PER_YEAR, scale).velocity(np.array([[moved[0]]]), np.array([[-moved[1]]]))
    assert np.hypot(vx, vy).item() == pytest.approx(ground_m, rel=1e-3)
    vx, vy = Converter(10, DAYS_PER_YEAR, scale, "map").velocity(
        np.array([[moved[0]]]), np.array([[-moved[1]]])
    )
    assert np.hypot(vx, vy).item() == pytest.approx(ground_m * scale.item(), rel=1e-3)


def test_the_scale_is_that_of_the_projection() -> None:
    to_map = Transformer.from_crs(4326, 3413, always_xy=True).transform
    x, y = to_map([-45, -45, -45], [60, 70, 83])
    np.testing.assert_allclose(map_scale(np.array(x), np.array(y)), [1.0388, 1.0, 0.9740], atol=7e-4)


def field(nodes: int) -> tuple[Any, Any, Any]:
    """Fast ice, but for as many nodes of rock; all shifted by 40 and -25 m/yr."""
    random = np.random.default_rng(3)
    vx, vy = random.normal(40, 5, (40, 40)), random.normal(-25, 8, (40, 40))
    rock = np.zeros((40, 40), bool)
    rock.flat[:nodes] = True
    vx[~rock] += 900
    return vx, vy, rock


def test_rock_settles_the_shift_and_its_spread_is_the_error() -> None:
    vx, vy, rock = field(300)
    found = settle(vx, vy, np.ones_like(rock), rock, 16)
    assert (found.stable_shift_flag, found.stable_count_stationary) == (ROCK_SHIFT, 300)
    assert found.x.stable_shift == pytest.approx(40, abs=1)
    assert found.y.stable_shift == pytest.approx(-25, abs=1.5)
    assert found.x.error == found.x.error_stationary == pytest.approx(5, rel=0.15)
    assert found.y.error == found.y.error_stationary == pytest.approx(8, rel=0.15)


def test_without_a_mask_the_slowest_quarter_is_used_and_is_not_called_rock() -> None:
    vx, vy, rock = field(400)
    found = settle(vx, vy, np.ones_like(rock), None, 16)
    assert (found.stable_shift_flag, found.stable_count_stationary) == (SLOW_SHIFT, 0)
    assert found.x.error_stationary is None
    assert found.x.stable_shift == pytest.approx(40, abs=1)


def test_too_few_nodes_are_no_ground_and_the_error_is_modelled() -> None:
    vx, vy, rock = field(0)
    measured = np.zeros_like(rock)
    measured[0, :20] = True
    found = settle(vx, vy, measured, None, 16)
    assert (found.stable_shift_flag, found.x.stable_shift) == (NO_SHIFT, 0.0)
    assert found.x.error == pytest.approx(25.5 * DAYS_PER_YEAR / 16)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared("data/velocity")
    return write_clips(tmp_path_factory.mktemp("clips"))


def pairs_of(root: Path) -> tuple[Pair, ...]:
    found, _ = read_clips(open_tree(str(root), Cloud()))
    return choose_pairs(found, default_rules("landsat")).pairs


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_clips(tmp_path_factory.mktemp("small"))


def make(root: Path, target: Path, **more: Any) -> list[Made]:
    more = {"now": lambda: NOW, **more}
    settings = more.pop("settings", VelocitySettings(max_speed_m_day=10))
    return list(make_granules(pairs_of(root), LocalStore(root), LocalStore(target), settings, **more))


@pytest.fixture(scope="module")
def yahtse(clips: Path) -> Iterator[Dataset]:
    """The granule of the real pair, beside its clips."""
    store = LocalStore(clips)
    (made,) = make_granules(
        pairs_of(clips),
        store,
        store,
        VelocitySettings(max_speed_m_day=10),
        mask=shared(ROCK),
        now=lambda: NOW,
    )
    assert made.outcome == "made"
    with Dataset(clips / made.key) as file:
        yield file


def meanings(file: Dataset) -> dict[str, int]:
    flag = file["flag"]
    return dict(zip(flag.flag_meanings.split(), flag.flag_values.tolist(), strict=True))


def test_the_real_pair_stands_still_on_rock_and_is_valid_nearly_everywhere(yahtse: Dataset) -> None:
    flag, number = np.asarray(yahtse["flag"][0]), meanings(yahtse)
    rock = flag == number["rock"]
    assert rock.sum() > 500
    for name in ("vx", "vy"):
        values = np.asarray(yahtse[name][0][rock])
        assert abs(np.median(values)) <= 0.1
        assert np.median(np.abs(values - np.median(values))) <= 30
    measured = np.isin(flag, [number["measured"], number["rock"]])
    assert measured.mean() >= 0.85
    # the trunk of the glacier flows at hundreds of metres a year (CARST: 490 to 1,761 on fast nodes)
    speed = np.asarray(yahtse["v"][0][measured])
    assert 1000 < np.quantile(speed, 0.99) < 3000


def test_every_node_without_a_number_says_why(yahtse: Dataset) -> None:
    flag, number = np.asarray(yahtse["flag"][0]), meanings(yahtse)
    numbered = np.isin(flag, [number[name] for name in ("measured", "filled", "rock")])
    np.testing.assert_array_equal(np.isfinite(yahtse["vx"][0].filled(np.nan)), numbered)
    assert set(np.unique(flag)) <= set(number.values())
    assert "cloud does not occur" in yahtse["flag"].comment


def test_the_granule_says_when_where_and_from_what(yahtse: Dataset) -> None:
    bounds = yahtse["time_bnds"][0]
    acquired = [np.datetime64(text) for text in ("2016-07-18T20:37:06", "2016-08-03T20:37:09")]
    days = [(moment - np.datetime64("1970-01-01T00:00:00")) / np.timedelta64(1, "D") for moment in acquired]
    np.testing.assert_allclose(bounds, days, atol=1e-5)
    assert yahtse["time"][0] == pytest.approx(sum(days) / 2)
    assert (yahtse.velocity_metres, yahtse.days_per_year) == ("ground", DAYS_PER_YEAR)
    assert yahtse.id_img1 == "LC08_L1TP_063018_20160718_20200906_02_T1"
    x, y = yahtse["x"][:], yahtse["y"][:]
    assert (x[0], x[1] - x[0], y[0], y[1] - y[0]) == (-3286450, 100, 379150, -100)
    # 60.2 N: PROJ gives 1.0385
    assert float(yahtse["map_scale"][112, 67]) == pytest.approx(1.0385, abs=1e-3)
    assert yahtse["vx"].stable_shift_flag == ROCK_SHIFT


def test_the_cf_checker_finds_nothing(yahtse: Dataset, tmp_path: Path) -> None:
    CheckSuite.load_all_available_checkers()
    report = tmp_path / "report.json"
    fine, _ = ComplianceChecker.run_checker(
        ds_loc=yahtse.filepath(),
        checker_names=["cf:1.8"],
        verbose=0,
        criteria="strict",
        output_filename=str(report),
        output_format="json",
    )
    told = json.loads(report.read_text())["cf:1.8"]
    groups = [*told["high_priorities"], *told["medium_priorities"], *told["low_priorities"]]
    assert [message for group in groups for message in group["msgs"]] == []
    assert fine


def test_speed_picture_and_item_lie_beside_it(yahtse: Dataset) -> None:
    path = Path(yahtse.filepath())
    base = str(path).removesuffix(".nc")
    with rasterio.open(f"{base}_v.tif") as source:
        assert (source.crs.to_epsg(), source.res, source.tags()["units"]) == (3413, (100, 100), "m yr-1")
        np.testing.assert_array_equal(source.read(1), yahtse["v"][0].filled(np.nan))
    with Image.open(f"{base}.png") as picture:
        assert picture.format == "PNG"
    item = json.loads(Path(f"{base}.json").read_text())
    assert item["properties"]["glacierflow:production"] == yahtse.production
    for asset in item["assets"].values():
        assert (path.parent / asset["href"]).stat().st_size == asset["file:size"]
    sources = [link["href"] for link in item["links"]]
    assert len(sources) == 2
    root = path.parents[3]
    for href in sources:
        there = (path.parent / href).resolve().relative_to(root.resolve())
        assert there.as_posix().startswith("1_download_merge_and_clip/stac/landsat/903_YahtseWhole/2016")


def test_what_is_there_is_left_and_other_settings_make_it_anew(small: Path, tmp_path: Path) -> None:
    fast = VelocitySettings(max_speed_m_day=10)
    (first,) = make(small, tmp_path, settings=fast)
    before = (tmp_path / first.key).read_bytes()
    (again,) = make(small, tmp_path, settings=fast)
    assert (first.outcome, again.outcome) == ("made", "there")
    (anew,) = make(small, tmp_path, settings=fast, reprocess=True)
    assert anew.outcome == "made"
    # with another creation date HDF5's checksum of the attributes would differ as well
    assert (tmp_path / first.key).read_bytes() == before
    (other,) = make(small, tmp_path, settings=fast.model_copy(update={"metres": "map"}))
    assert other.outcome == "made"
    assert other.replaced is not None
    with Dataset(tmp_path / first.key) as file:
        assert file.velocity_metres == "map"


def test_a_clip_that_is_cut_short_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    root = write_small_clips(tmp_path / "clips")
    pairs = pairs_of(root)
    path = root / pairs[0].secondary.key
    path.write_bytes(path.read_bytes()[:20_000])
    target = tmp_path / "out"
    (made,) = make_granules(pairs, LocalStore(root), LocalStore(target), VelocitySettings())
    assert made.outcome == "failed"
    assert made.reason
    assert not list(target.rglob("*"))


def test_the_verb_makes_granules_and_says_what_became_of_each(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["velocity", "run", str(small), "--base-dir", str(tmp_path), "--max-speed", "10"]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "measured, error" in said
    assert "by slowest quarter" in said
    assert said.endswith("granules: 1 made; pairs refused by rules: 0\n")
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["granules"][0]["outcome"] == "there"
    assert run([*words, "--days", "20:30"]) == 1
    assert "no two clips make a pair" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is not a file"), ("{}", "cannot be read"), ('{"class": "lake"}', "lake")],
)
def test_a_mask_that_cannot_be_used_is_refused(
    small: Path, tmp_path: Path, content: str | None, words: str
) -> None:
    mask = tmp_path / "mask.geojson"
    if content == "{}":
        mask.write_text("no geometry")
    elif content is not None:
        feature = {
            "type": "Feature",
            "properties": json.loads(content),
            "geometry": {"type": "Point", "coordinates": [-141, 60]},
        }
        mask.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(UsageError, match=words):
        make(small, tmp_path / "out", mask=mask)
