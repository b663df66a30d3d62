from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from samples import make_region, read_item, real_archive, real_region, recorded_items

from glacierflow.model.layout import AttemptFile, Layout, RunLayout, sensing_time
from glacierflow.model.records import Acquisition, Scene, StepSettings
from glacierflow.products.lineage import (
    PRODUCTION_TAG,
    combine_lines,
    combine_query_parts,
    individual_line,
    product_tags,
    production_hash,
    query_results,
    source_of,
)
from glacierflow.search.acquisitions import group_scenes
from glacierflow.search.items import parse_item, view_of


def scenes(satellite: str) -> list[Scene]:
    folder = {"sentinel2": "sentinel-2-l2a", "landsat": "landsat-c2l1"}[satellite]
    paths = sorted((real_archive() / folder).glob("*/*.json"))
    parsed = [parse_item(read_item(path), satellite) for path in paths]  # type: ignore[arg-type]
    return [scene for scene in parsed if isinstance(scene, Scene)]


def berlin() -> Acquisition:
    return group_scenes(scenes("sentinel2"), "sentinel2", ("33UUU",))[0]


def test_the_individual_line_is_stem_then_tiles_without_newline() -> None:
    assert individual_line(berlin()) == (
        "S2A_MSIL2A_20160529T101032_N0202_R022,"
        "S2A_MSIL2A_20160529T101032_N0202_R022_T33UUU_20160529T153631_B08.tif"
    )


def test_combined_lines_are_in_order_of_sensing_time_whatever_the_satellite() -> None:
    lines = [
        "S2B_MSIL2A_20240103T1_N0510_R1,a",
        "S2A_MSIL2A_20240105T1_N0510_R1,b,c\n",
        "",
        "S2C_MSIL2A_20240101T1_N0510_R1,d",
    ]
    rows = list(csv.reader(io.StringIO(combine_lines(lines))))
    assert rows[0] == ["0", "1", "2"]
    assert [row[1] for row in rows[1:]] == ["d", "a", "b"]
    assert rows[1] == ["S2C_MSIL2A_20240101T1_N0510_R1", "d", ""]


def test_query_results_have_the_predecessors_columns_and_true_overlap() -> None:
    table = list(csv.DictReader(io.StringIO(query_results(scenes("landsat"), real_region("901_Yahtse")))))
    assert len(table) == 2
    first = table[0]
    assert next(iter(first)) == ""
    assert list(first)[-4:] == [
        "geometry_intersect",
        "aoi_intersect_frac",
        "subset_id",
        "subset_id_no_collection",
    ]
    assert len(first) == 33
    assert float(first["aoi_intersect_frac"]) == pytest.approx(1.0)
    assert first["subset_id_no_collection"] == "20160718203706"
    assert first["s3_href"].startswith("s3://usgs-landsat/")
    assert first["landsat:wrs_path"] == "063"


def test_parts_of_units_are_joined_without_doubles() -> None:
    region = real_region("901_Yahtse")
    one, both = query_results(scenes("landsat")[1:], region), query_results(scenes("landsat"), region)
    table = list(csv.DictReader(io.StringIO(combine_query_parts([one, both]))))
    assert [row[""] for row in table] == ["0", "1"]
    assert table[0]["datetime"] < table[1]["datetime"]


def test_the_production_hash_follows_what_decides_pixels_and_nothing_else() -> None:
    region, settings = make_region(), StepSettings()
    before = production_hash(berlin(), region, settings)
    same = StepSettings(sentinel2_stac_url="http://elsewhere", quicklooks=False, base_path="x")
    assert production_hash(berlin(), region, same) == before
    assert production_hash(berlin(), region, StepSettings(resampling="nearest")) != before
    other_grid = make_region(bounds=(3525300, -2236200, 3534300, -2227500))
    assert production_hash(berlin(), other_grid, settings) != before
    newer = berlin().scenes[0].model_copy(update={"baseline": "05.00"})
    assert production_hash(berlin().model_copy(update={"scenes": (newer,)}), region, settings) != before


def test_tags_tell_sources_offsets_and_attribution() -> None:
    tags = product_tags(berlin(), make_region(), StepSettings(), coverage=0.987654)
    (source,) = json.loads(tags["GLACIERFLOW_SOURCES"])
    assert source["offset"] == -0.1
    assert source["offset_applied"] is True
    assert source["baseline"] == "02.02"
    assert tags["ATTRIBUTION"] == "Contains modified Copernicus Sentinel data 2016"
    assert tags["GLACIERFLOW_COVERAGE"] == "0.9877"
    assert tags["GLACIERFLOW_RELATIVE_ORBIT"] == "22"
    assert float(tags["GLACIERFLOW_SUN_ELEVATION"]) == pytest.approx(source["sun_elevation"], abs=1e-6)
    assert "GLACIERFLOW_DIFFERING_OFFSETS" not in tags
    assert len(tags[PRODUCTION_TAG]) == 64


def test_the_mean_of_azimuths_goes_round_north_and_unknown_clouds_are_none() -> None:
    one = berlin().scenes[0].model_copy(update={"sun_azimuth": 350.0, "cloud_cover": -1.0})
    two = one.model_copy(update={"sun_azimuth": 20.0, "sun_elevation": None})
    view = view_of(berlin().model_copy(update={"scenes": (one, two)}))
    assert view["view:sun_azimuth"] == pytest.approx(5.0)
    assert view["view:sun_elevation"] == pytest.approx(one.sun_elevation, abs=1e-6)
    assert "eo:cloud_cover" not in view


def test_source_checksums_are_kept_where_the_item_gives_them() -> None:
    (item,) = [i for i in recorded_items("earth-search-v1/sentinel-2-c1-l2a") if "13TDE_20240402" in i["id"]]
    scene = parse_item(item, "sentinel2")
    assert isinstance(scene, Scene)
    assert source_of(scene)["checksum"] == item["assets"]["nir"]["file:checksum"]


def test_stems_tell_their_time() -> None:
    assert (
        f"{sensing_time('S2A_MSIL2A_20240715T152911_N0511_R068'):%Y%m%dT%H%M%S%z}" == "20240715T152911+0000"
    )
    landsat = "20160718203706_LC80630182016200LGN00_LC08_L1TP_063018_20160718_20200906_02_T1"
    assert f"{sensing_time(landsat):%Y%m%d%H%M%S}" == "20160718203706"
    with pytest.raises(ValueError, match="not the stem"):
        sensing_time("catalog")


def test_keys_are_the_documented_ones() -> None:
    new, old = Layout("base"), Layout("base", "old")
    assert new.product("sentinel2", "r", "stem") == "base/sentinel2/clipped/r/stem.tif"
    assert old.product("sentinel2", "r", "stem") == "base/sentinel2/r/clipped/stem.tif"
    assert new.product("landsat", "r", "stem") == "base/landsat/r/stem_ortho.tif"
    assert new.template("sentinel2", "r") == "base/sentinel2/template/r.tif"
    assert old.template("sentinel2", "r") == "base/sentinel2/r/template/r.tif"
    assert new.template("landsat", "r") == "base/landsat/_reference/r.tif"
    assert new.combined_csv("r") == "base/sentinel2/metadata/combined_csv/r.csv"
    assert new.individual_csv("r", "stem") == "base/sentinel2/metadata/individual_csv/r/stem.csv"
    assert old.individual_csv("r", "stem") == "base/sentinel2/r/metadata/individual_csv/stem.csv"
    assert new.download("r", 2024, "name") == "base/sentinel2/download/2024/r/name_B08.tif"
    assert old.download("r", 2024, "name") == "base/sentinel2/r/download/2024/name_B08.tif"
    assert new.query_results("r") == "base/landsat/_reference/r_stac_query_results.csv"


def test_attempt_keys_are_parsed_as_they_are_made() -> None:
    run = RunLayout("sentinel2-x")
    assert RunLayout.parse_attempt(run.started(12, 3)) == AttemptFile(12, 3, "started")
    assert RunLayout.parse_attempt(run.receipt(0, 1, "no_data")) == AttemptFile(0, 1, "no_data")
    assert RunLayout.parse_attempt("runs/x/attempts/0/1.nonsense.json") is None
    assert RunLayout.parse_run_id(run.manifest) == "sentinel2-x"
    assert RunLayout.parse_run_id("elsewhere/x") is None


def test_every_reason_is_explained_in_the_reference() -> None:
    root = Path(__file__).parents[1]
    used = {
        code
        for room in ("search", "step", "imagery")
        for path in sorted((root / "glacierflow" / room).glob("*.py"))
        for code in re.findall(
            r'(?:leave\(\s*scene,|leave_out\(|_Unusable\(|code=)\s*"([a-z0-9_]+)"',
            path.read_text(),
        )
    }
    assert {"superseded", "low_overlap", "polar_night", "unreadable"} <= used
    explained = set(re.findall(r"`([a-z0-9_]+)`", (root / "docs/reference/lineage.md").read_text()))
    assert used <= explained, used - explained


def test_every_tag_is_explained_in_the_reference() -> None:
    text = (Path(__file__).parents[1] / "docs/reference/lineage.md").read_text()
    for satellite, tiles in (("sentinel2", ("33UUU",)), ("landsat", ())):
        acquisition = group_scenes(scenes(satellite), satellite, tiles)[0]  # type: ignore[arg-type]
        tags = product_tags(acquisition, make_region(), StepSettings(), coverage=1.0, region_cloud=0.0)
        unexplained = {tag for tag in tags if f"`{tag}`" not in text} - {"TIFFTAG_DATETIME"}
        assert unexplained == set()
