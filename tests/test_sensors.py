from __future__ import annotations

import copy
import datetime as dt
import json
import time
from typing import Any

import pytest
from made_scenes import sentinel2_item
from samples import read_item, real_archive, recorded_items

from glacierflow.model.layout import acquisition_of
from glacierflow.model.records import LeftOut, Scene
from glacierflow.products.lineage import source_of
from glacierflow.search.acquisitions import group_scenes
from glacierflow.search.items import parse_item, parse_time, view_of


def landsat() -> dict[str, Any]:
    return copy.deepcopy(
        next(
            item
            for item in recorded_items("landsatlook/landsat-c2l1")
            if item["id"] == "LC09_L1TP_138041_20221013_20230326_02_T1"
        )
    )


def usable(item: dict[str, Any], satellite: Any) -> Scene:
    scene = parse_item(item, satellite)
    assert isinstance(scene, Scene), scene
    return scene


def refused(item: dict[str, Any], satellite: Any) -> LeftOut:
    left_out = parse_item(item, satellite)
    assert isinstance(left_out, LeftOut), left_out
    return left_out


@pytest.mark.parametrize(("folder", "count"), [("sentinel-2-l2a", 17), ("sentinel-2-c1-l2a", 20)])
def test_every_recorded_level2a_item_is_usable(folder: str, count: int) -> None:
    items = recorded_items(f"earth-search-v1/{folder}")
    scenes = [usable(item, "sentinel2") for item in items]
    assert len(scenes) == count
    for item, scene in zip(items, scenes, strict=True):
        properties, asset = item["properties"], item["assets"]["nir"]
        uri = properties["s2:product_uri"]
        assert scene.stem == uri[:37]
        assert scene.source_name == uri.replace(".SAFE", "_B08.tif")
        assert scene.place == properties["grid:code"].removeprefix("MGRS-")
        assert scene.epsg == properties["proj:epsg"]
        assert scene.transform == tuple(asset["proj:transform"])
        assert scene.shape == (10980, 10980)
        assert scene.href == asset["href"]
        assert scene.classification_href == item["assets"]["scl"]["href"]
        assert scene.checksum == asset.get("file:checksum")
        assert scene.baseline == properties["s2:processing_baseline"]
        assert (scene.scale, scene.offset) == (0.0001, -0.1)
        # the datatake id is an independent statement of platform, sensing time and orbit
        mission, sensing, *_ = properties["s2:datatake_id"].removeprefix("G").split("_")
        assert scene.acquisition.startswith(f"{mission}_{sensing}_R")


def test_the_offset_flag_is_recorded_only_where_the_item_has_it() -> None:
    flags = {usable(i, "sentinel2").offset_applied for i in recorded_items("earth-search-v1/sentinel-2-l2a")}
    assert flags == {True}
    flags = {
        usable(i, "sentinel2").offset_applied for i in recorded_items("earth-search-v1/sentinel-2-c1-l2a")
    }
    assert flags == {None}


def test_recorded_landsat_items_are_usable_but_for_mss() -> None:
    items = recorded_items("landsatlook/landsat-c2l1")
    parsed = [parse_item(item, "landsat") for item in items]
    scenes = [(item, scene) for item, scene in zip(items, parsed, strict=True) if isinstance(scene, Scene)]
    assert len(scenes) == 46
    for item, scene in scenes:
        pan = item["assets"]["pan"]
        assert scene.asset_key == "pan"
        assert scene.href == pan["alternate"]["s3"]["href"]
        assert scene.requester_pays
        # pan's own grid, not the item's
        assert scene.transform == tuple(pan["proj:transform"])
        assert scene.transform != tuple(item["properties"]["proj:transform"])
        when = item["properties"]["datetime"][:19].translate(str.maketrans("", "", "-:T"))
        assert scene.stem == f"{when}_{item['properties']['landsat:scene_id']}_{item['id']}"
    left = {entry.item_id: entry for entry in parsed if isinstance(entry, LeftOut)}
    assert {item_id[:4] for item_id in left} == {"LM01", "LM02", "LM05"}
    assert {entry.code for entry in left.values()} == {"mss"}
    # LANDSAT_5 with an asset nir08, and yet MSS
    assert "MSS" in left["LM05_L1GS_001001_19850524_20210918_02_T2"].reason


def test_other_collections_are_refused_with_their_name() -> None:
    for folder, satellite in [
        ("earth-search-v1/sentinel-2-l1c", "sentinel2"),
        ("landsatlook/landsat-c2l2-sr", "landsat"),
    ]:
        for item in recorded_items(folder):
            entry = refused(item, satellite)
            assert entry.code == "wrong_collection"
            assert item["collection"] in entry.reason


def test_a_time_without_a_zone_is_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        found = [parse_time(f"2024-07-01T15:00:00{zone}") for zone in ("", "Z", "+00:00")]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert set(found) == {dt.datetime(2024, 7, 1, 15, tzinfo=dt.UTC)}


def test_thematic_mapper_uses_its_near_infrared_band_on_the_items_grid() -> None:
    item = landsat()
    item["id"] = "LT05_L1TP_138041_19950801_20200912_02_T1"
    item["properties"] |= {"platform": "LANDSAT_5", "instruments": ["TM"]}
    del item["assets"]["pan"]
    scene = usable(item, "landsat")
    assert scene.asset_key == "nir08"
    assert scene.transform == tuple(item["properties"]["proj:transform"])
    assert scene.shape == tuple(item["properties"]["proj:shape"])
    assert scene.href.endswith("_B5.TIF")


def test_the_real_archive_parses() -> None:
    for satellite, folder in [("sentinel2", "sentinel-2-l2a"), ("landsat", "landsat-c2l1")]:
        paths = sorted((real_archive() / folder).glob("*/*.json"))
        assert len(paths) == 2, f"the real archive is not there: {real_archive()}"
        for path in paths:
            usable(read_item(path), satellite)


def test_an_item_of_sentinel_2c_parses() -> None:
    """Launched in 2024: none was recorded, but its names are A's with another letter."""
    text = json.dumps(sentinel2_item("20250529", 3760)).replace("S2A_", "S2C_")
    item = json.loads(text.replace("sentinel-2a", "sentinel-2c").replace("N0202", "N0511"))
    assert item["id"] == "S2C_33UUU_20250529_0_L2A"
    scene = usable(item, "sentinel2")
    assert (scene.platform, scene.place, scene.epsg, scene.baseline) == (
        "sentinel-2c",
        "33UUU",
        32633,
        "05.11",
    )
    assert scene.acquisition == "S2C_20250529T101032_R022"
    assert scene.stem == "S2C_MSIL2A_20250529T101032_N0511_R022"
    other = usable(sentinel2_item("20250529", 3760), "sentinel2")
    assert other.acquisition != scene.acquisition, "two satellites never make one acquisition"


def test_pystacs_migrated_projection_code_is_understood() -> None:
    item = landsat()
    item["properties"]["proj:code"] = f"EPSG:{item['properties'].pop('proj:epsg')}"
    assert usable(item, "landsat").epsg == 32645


@pytest.mark.parametrize(
    "grid",
    [
        {"proj:shape": None, "proj:transform": [15.0, 0.0]},
        {"proj:shape": ["many", 2], "proj:transform": "15 0 1 0 -15 2"},
        {"proj:shape": 7, "proj:transform": [15, 0, None, 0, -15, 2]},
    ],
)
def test_no_image_is_lost_for_an_odd_grid_in_its_item(grid: dict[str, Any]) -> None:
    """Only the file's own grid is used."""
    item = landsat()
    item["assets"]["pan"] |= grid
    scene = usable(item, "landsat")
    assert (scene.shape, scene.transform) == (None, None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda item: item["assets"].pop("pan"), "no_asset"),
        (lambda item: item["properties"].pop("datetime"), "malformed_item"),
        (lambda item: item["properties"].update(datetime="yesterday"), "malformed_item"),
        (lambda item: item.update(assets=None), "malformed_item"),
        (lambda item: item["properties"].update(instruments=[]), "mss"),
    ],
)
def test_a_damaged_item_is_left_out_with_a_reason(change: Any, code: str) -> None:
    item = landsat()
    change(item)
    entry = refused(item, "landsat")
    assert entry.code == code
    assert entry.reason


def test_a_name_that_is_no_level2a_product_is_refused() -> None:
    item = copy.deepcopy(recorded_items("earth-search-v1/sentinel-2-l2a")[0])
    item["properties"]["s2:product_uri"] = "S2A_MSIL2A_broken"
    assert refused(item, "sentinel2").code == "unknown_name"


def sentinel2() -> dict[str, Any]:
    return copy.deepcopy(recorded_items("earth-search-v1/sentinel-2-l2a")[0])


NAN, ENDLESS = float("nan"), float("inf")


@pytest.mark.parametrize("odd", [None, NAN, ENDLESS, "many", [], {}, True, -ENDLESS, 10**400])
def test_no_image_is_lost_for_an_odd_optional_field(odd: Any) -> None:
    optional = ("eo:cloud_cover", "view:sun_azimuth", "view:sun_elevation", "proj:epsg", "proj:code")
    others = ("created", "updated", "s2:generation_time", "s2:datastrip_id")
    for satellite, item in (("landsat", landsat()), ("sentinel2", sentinel2())):
        item["properties"] |= dict.fromkeys(optional + others, odd)
        for asset in item["assets"].values():
            asset |= dict.fromkeys(("proj:shape", "raster:bands", "file:checksum", "proj:epsg"), odd)
            asset["proj:transform"] = [odd] * 6
        scene = usable(item, satellite)
        assert (scene.cloud_cover, scene.sun_azimuth, scene.sun_elevation, scene.epsg) == (None,) * 4
        assert (scene.shape, scene.transform, scene.scale) == (None,) * 3
        acquisition = group_scenes([scene], satellite, (scene.place,))[0]  # type: ignore[arg-type]
        json.dumps([view_of(acquisition), source_of(scene)], allow_nan=False)


@pytest.mark.parametrize("code", [32622, 32622.0, "EPSG:32622", "32622"])
def test_a_projection_is_understood_however_it_is_written(code: Any) -> None:
    item = sentinel2()
    item["properties"] |= {"proj:code": None, "proj:epsg": code}
    for asset in item["assets"].values():
        asset.pop("proj:code", None)
    assert usable(item, "sentinel2").epsg == 32622


def test_a_time_is_told_by_begin_and_end_or_by_the_name() -> None:
    ends = {"start_datetime": "2024-07-15T15:00:00Z", "end_datetime": "2024-07-15T15:00:10Z"}
    for satellite, item in (("landsat", landsat()), ("sentinel2", sentinel2())):
        item["properties"] |= {"datetime": None} | ends
        assert usable(item, satellite).datetime == dt.datetime(2024, 7, 15, 15, 0, 5, tzinfo=dt.UTC)
    for name in ends:
        del item["properties"][name]
    scene = usable(item, "sentinel2")
    assert f"{scene.datetime:%Y%m%dT%H%M%S}" == scene.acquisition.split("_")[1]


def test_what_a_landsat_item_lacks_is_in_its_name() -> None:
    item = landsat()
    whole = usable(item, "landsat")
    for name in ("platform", "instruments", "landsat:wrs_path", "landsat:wrs_row", "landsat:scene_id"):
        del item["properties"][name]
    for name in ("landsat:collection_category", "landsat:correction"):
        item["properties"][name] = None
    scene = usable(item, "landsat")
    same = ("platform", "place", "acquisition", "href", "asset_key")
    assert [getattr(scene, name) for name in same] == [getattr(whole, name) for name in same]
    assert scene.stem[:30] == whole.stem[:30]
    assert acquisition_of(f"{scene.stem}_ortho.tif") == scene.acquisition
    tier, correction = item["id"][-2:], item["id"][5:9]
    assert scene.properties["landsat:collection_category"] == tier
    assert scene.properties["landsat:correction"] == correction


def test_an_item_without_a_geometry_is_where_its_bounding_box_is() -> None:
    item = landsat()
    item["geometry"] = None
    west, south, _, _ = item["bbox"]
    assert usable(item, "landsat").footprint["coordinates"][0][0] == [west, south]
    item["bbox"] = [NAN] * 4
    assert usable(item, "landsat").footprint["type"] == "Polygon"
