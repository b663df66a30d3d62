"""Grouping, duplicates and left-out reasons; the STAC API itself is played by a real HTTP server."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from http_servers import Api
from samples import make_region, make_unit, read_item, real_archive, real_region

from glacierflow.errors import DataError, UnavailableError
from glacierflow.model.records import Scene, StepSettings, Unit
from glacierflow.net import may_open
from glacierflow.regions import load_catalogue
from glacierflow.search.acquisitions import Found, group_scenes, search_unit
from glacierflow.search.items import parse_item

pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()


def berlin(number: int = 0) -> dict[str, Any]:
    return read_item(sorted((real_archive() / "sentinel-2-l2a").glob("*/*.json"))[number])


def yahtse(number: int = 0) -> dict[str, Any]:
    return read_item(sorted((real_archive() / "landsat-c2l1").glob("*/*.json"))[number])


def retile(item: dict[str, Any], tile: str, baseline: str = "0202", sequence: int = 0) -> dict[str, Any]:
    """The same pass over another tile, or in another processing baseline."""
    item = copy.deepcopy(item)
    uri = item["properties"]["s2:product_uri"]
    uri = uri.replace("T33UUU", f"T{tile}").replace("N0202", f"N{baseline}")
    item["properties"]["s2:product_uri"] = uri
    item["id"] = f"S2A_{tile}_20160529_{sequence}_L2A"
    return item


def search(api: Api, unit: Unit, *, tiles: tuple[str, ...] = ("33UUU",), **settings: Any) -> Found:
    region = make_region(tiles=tiles) if unit.satellite == "sentinel2" else real_region("901_Yahtse")
    chosen = StepSettings(
        sentinel2_stac_url=api.url, landsat_stac_url=api.url, request_attempts=3, **settings
    )
    return search_unit(unit, region, chosen)


def codes(found: Found) -> dict[str, str]:
    return {entry.item_id: entry.code for entry in found.left_out}


def test_all_pages_are_read_and_the_last_day_is_included(api: Api) -> None:
    api.items = [berlin(0), berlin(1)]
    found = search(api, make_unit())
    assert [acquisition.key for acquisition in found.acquisitions] == [
        "S2A_20160529T101032_R022",
        "S2A_20160608T101032_R022",
    ]
    assert found.items == 2
    assert len(api.searches) == 2
    assert api.searches[0]["collections"] == ["sentinel-2-l2a"]
    first, last = api.searches[0]["datetime"].split("/")
    assert first == "2016-05-01T00:00:00Z"
    assert dt.datetime.fromisoformat(last) >= dt.datetime(2016, 6, 30, 23, 59, 59, tzinfo=dt.UTC)


def dated(item: dict[str, Any], moment: str) -> dict[str, Any]:
    """The item as if it were of another moment."""
    item = copy.deepcopy(item)
    item["id"] = f"{item['id']}-{moment}"
    item["properties"]["datetime"] = moment
    return item


def test_an_api_that_does_not_look_at_dates_or_collection_is_corrected_and_told(api: Api) -> None:
    """Asked for May and June 2016, to the last moment."""
    edges = [dated(berlin(), moment) for moment in ("2016-04-30T23:59:59.999Z", "2016-07-01T00:00:00Z")]
    other = dated(berlin(), "2016-05-29T10:10:32Z") | {"collection": "sentinel-2-c1-l2a"}
    early = dated(berlin(), "2013-05-29T10:10:32Z")
    api.items = [berlin(), *edges, other, early]
    found = search(api, make_unit())
    assert [scene.item_id for one in found.acquisitions for scene in one.scenes] == [berlin()["id"]]
    assert codes(found) == dict.fromkeys([item["id"] for item in (*edges, other, early)], "not_asked_for")
    reasons = " ".join(entry.reason for entry in found.left_out)
    assert "it is of 2016-04-30, and 2016-05-01 to 2016-06-30 was asked for" in reasons
    assert "collection sentinel-2-c1-l2a, and sentinel-2-l2a was asked for" in reasons
    (note,) = (note for note in found.notes if note.code == "odd_answer")
    assert note.text == "4 of the 5 items that the STAC API gave were not asked for; they are left out"
    api.items = edges
    assert {note.code for note in search(api, make_unit()).notes} >= {"odd_answer", "archive_gap"}


def test_an_item_of_another_place_is_left_out_whatever_overlap_is_wanted(api: Api) -> None:
    away = copy.deepcopy(yahtse())
    away["id"] += "-away"
    away["geometry"]["coordinates"] = [
        [[lon + 20, lat] for lon, lat, *_ in away["geometry"]["coordinates"][0]]
    ]
    api.items = [yahtse(), away]
    found = search(api, make_unit("901_Yahtse", "landsat"), landsat_min_overlap=0.0)
    assert codes(found) == {away["id"]: "not_asked_for"}
    assert [note.code for note in found.notes] == ["odd_answer"]


def test_tiles_of_one_datatake_are_merged_in_the_regions_order(api: Api) -> None:
    one = retile(berlin(), "32UQD")
    one["properties"]["datetime"] = "2016-05-29T10:10:47.000Z"
    api.items = [berlin(), one]
    found = search(api, make_unit(), tiles=("32UQD", "33UUU"))
    (acquisition,) = found.acquisitions
    assert [scene.place for scene in acquisition.scenes] == ["32UQD", "33UUU"]
    assert acquisition.datetime == dt.datetime(2016, 5, 29, 10, 10, 32, 27000, dt.UTC)


def test_of_two_baselines_the_newest_is_kept_and_the_other_recorded(api: Api) -> None:
    newer = retile(berlin(), "33UUU", "0500", 1)
    api.items = [newer, berlin()]
    found = search(api, make_unit())
    (acquisition,) = found.acquisitions
    assert [scene.item_id for scene in acquisition.scenes] == [newer["id"]]
    assert acquisition.stem == "S2A_MSIL2A_20160529T101032_N0500_R022"
    assert codes(found) == {"S2A_33UUU_20160529_0_L2A": "superseded"}
    assert newer["id"] in found.left_out[0].reason


def test_a_tile_at_the_seam_of_two_data_strips_is_two_products_and_both_count(api: Api) -> None:
    def part(
        strip: str, sequence: int, baseline: str = "0510", made: str = "20160529T200000"
    ) -> dict[str, Any]:
        item = retile(berlin(), "33UUU", baseline, sequence)
        item["properties"] |= {
            "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_{made}_S{strip}_N05.10",
            "s2:generation_time": made,
        }
        return item

    api.items = [
        part("20160529T101034", 0),
        part("20160529T101258", 1),
        part("20160529T101034", 2, made="20170101T000000"),  # made again, of the first strip
        part("20160529T101258", 3, baseline="0202"),
    ]
    found = search(api, make_unit())
    (acquisition,) = found.acquisitions
    # the later first, so that it wins where both are valid
    assert [scene.item_id for scene in acquisition.scenes] == [api.items[2]["id"], api.items[1]["id"]]
    assert codes(found) == {api.items[0]["id"]: "superseded", api.items[3]["id"]: "superseded"}


def strip(
    number: int, began: str | None = None, baseline: str = "0510", *, made: str = "", applied: Any = True
) -> dict[str, Any]:
    """One product of a tile: when its data strip began, if that is told, and when it was processed."""
    item = retile(berlin(), "33UUU", baseline, number)
    properties = item["properties"]
    properties["s2:product_uri"] = properties["s2:product_uri"].replace("T153631", f"T15363{number}")
    properties["earthsearch:boa_offset_applied"] = applied
    if made:
        properties["s2:generation_time"] = made
    if began:
        properties["s2:datastrip_id"] = f"S2A_OPER_MSI_L2A_DS_2APS_20160529T200000_S20160529T{began}_N05.10"
    return item


FIRST, SECOND = "101034", "101258"


@pytest.mark.parametrize(
    ("products", "kept", "left"),
    [
        # compatible baselines; the newer first
        ([(FIRST, "0510"), (SECOND, "0511")], [1, 0], {}),
        # only one of two strips was reprocessed, told and untold
        ([(FIRST, "0510"), (SECOND, "0510"), (FIRST, "0511")], [2, 1], {0: "superseded"}),
        ([(None, "0510"), (None, "0510"), (None, "0511")], [2, 1, 0], {}),
        # nobody tells the strips: of one baseline they count as two, of two baselines as one
        ([(None, "0510"), (None, "0510")], [1, 0], {}),
        ([(FIRST, "0202"), (None, "0510")], [1], {0: "superseded"}),
        ([(FIRST, "0202"), (FIRST, "0510")], [1], {0: "superseded"}),
        # the same strip, though its beginning was computed anew
        ([(FIRST, "0510"), ("101036", "0510")], [1], {0: "superseded"}),
        # a processor of somebody's own
        ([(FIRST, "9999"), (FIRST, "0510")], [1], {0: "superseded"}),
        ([(None, "9999"), (None, "0202")], [1], {0: "superseded"}),
        ([(FIRST, "9999")], [0], {}),
    ],
)
def test_the_versions_of_a_tile_that_together_are_all_of_it(
    api: Api, products: list[tuple[str | None, str]], kept: list[int], left: dict[int, str]
) -> None:
    api.items = [strip(number, *product) for number, product in enumerate(products)]
    names = [item["id"] for item in api.items]
    for items in (api.items, api.items[::-1]):
        api.items = items
        found = search(api, make_unit())
        (acquisition,) = found.acquisitions
        assert [scene.item_id for scene in acquisition.scenes] == [names[number] for number in kept]
        assert codes(found) == {names[number]: code for number, code in left.items()}
        used = [products[number][1] for number in kept]
        assert acquisition.stem == f"S2A_MSIL2A_20160529T101032_N{max(used)}_R022"


def test_a_version_is_later_by_its_processing_not_by_its_item(api: Api) -> None:
    one = strip(0, FIRST, made="2024-01-01T00:00:00Z")
    two = strip(1, FIRST, made="2023-01-01T00:00:00Z")
    one["properties"]["created"], two["properties"]["created"] = (
        "2024-01-02T00:00:00Z",
        "2025-01-01T00:00:00Z",
    )
    api.items = [one, two]
    found = search(api, make_unit())
    assert [scene.item_id for scene in found.acquisitions[0].scenes] == [one["id"]]
    assert "processed 20230101000000 is superseded by" in found.left_out[0].reason


@pytest.mark.parametrize(
    ("applied", "kept"),
    [
        ((True, False), [0]),
        ((False, True), [1]),
        # two strips against one
        ((False, True, False), [2, 0]),
        # offset -0.1 without a flag means DN that are 1000 higher, as the flag "not applied" does
        ((None, False), [1, 0]),
    ],
)
def test_strips_whose_dn_mean_something_else_are_never_put_together(
    api: Api, applied: tuple[bool | None, ...], kept: list[int]
) -> None:
    began = (FIRST, SECOND, "101510")
    api.items = [strip(number, began[number], applied=flag) for number, flag in enumerate(applied)]
    found = search(api, make_unit())
    (acquisition,) = found.acquisitions
    assert [scene.item_id for scene in acquisition.scenes] == [api.items[number]["id"] for number in kept]
    others = {item["id"] for item in api.items} - {scene.item_id for scene in acquisition.scenes}
    assert codes(found) == dict.fromkeys(others, "other_offset")
    for entry in found.left_out:
        assert acquisition.scenes[0].item_id in entry.reason
        assert "DN 1000" in entry.reason


def test_a_tile_that_is_not_listed_is_left_out_by_name(api: Api) -> None:
    api.items = [berlin(), retile(berlin(), "32UQD")]
    found = search(api, make_unit())
    assert codes(found) == {"S2A_32UQD_20160529_0_L2A": "tile_not_listed"}


def test_missing_tiles_are_told_and_taken_on_request(api: Api) -> None:
    (bowdoin,) = load_catalogue().select(["163_Bowdoin"], None).regions
    api.items = [retile(berlin(), "19XDG"), retile(berlin(), "19XEG"), retile(berlin(), "18XWM")]
    unit = make_unit("163_Bowdoin")

    def asked(choice: Any) -> Found:
        settings = StepSettings(sentinel2_stac_url=api.url, request_attempts=1, mgrs_tiles=choice)
        return search_unit(unit, bowdoin, settings)

    listed, auto = asked("listed"), asked("auto")
    assert [scene.place for scene in listed.acquisitions[0].scenes] == ["19XEG"]
    assert [note.text for note in listed.notes] == [
        "1.47% of 163_Bowdoin lies outside its tiles 19XEG; mgrs_tiles = auto would add 19XDG"
    ]
    # the list first, whatever the API's order
    assert [scene.place for scene in auto.acquisitions[0].scenes] == ["19XEG", "19XDG"]
    assert auto.notes[0].text.endswith("auto adds 19XDG")
    assert set(codes(auto)) == {"S2A_18XWM_20160529_0_L2A"}


def test_cloud_by_the_catalogue_leaves_whole_acquisitions_out(api: Api) -> None:
    clear, cloudy = berlin(), retile(berlin(), "32UQD")
    clear["properties"]["eo:cloud_cover"], cloudy["properties"]["eo:cloud_cover"] = 10, 70
    unknown = berlin(1)
    del unknown["properties"]["eo:cloud_cover"]
    api.items = [clear, cloudy, unknown]
    tiles = ("33UUU", "32UQD")
    assert len(search(api, make_unit(), tiles=tiles).acquisitions) == 2
    # the mean of the two tiles is 40 %
    assert len(search(api, make_unit(), tiles=tiles, max_cloud_cover=0.4).acquisitions) == 2
    found = search(api, make_unit(), tiles=tiles, max_cloud_cover=0.39)
    assert [acquisition.scenes[0].item_id for acquisition in found.acquisitions] == [unknown["id"]]
    assert codes(found) == {clear["id"]: "cloudy", cloudy["id"]: "cloudy"}
    assert found.left_out[0].reason == "cloud covers 40.0 % of the image, more than 39%"


def test_two_passes_on_one_day_stay_apart() -> None:
    scene = parse_item(berlin(), "sentinel2")
    assert isinstance(scene, Scene)
    later = scene.model_copy(update={"acquisition": "S2B_20160529T115032_R108", "item_id": "b"})
    assert len(group_scenes([scene, later], "sentinel2", ("33UUU",))) == 2


def test_landsat_tiers_corrections_overlap_and_versions(api: Api) -> None:
    def variant(item_id: str, **properties: Any) -> dict[str, Any]:
        item = yahtse()
        item["id"] = item_id
        item["properties"] |= properties
        return item

    far = variant("far", **{"landsat:wrs_row": "019"})
    north = [[lon, lat + 0.5] for lon, lat in real_region("901_Yahtse").outline]
    far["geometry"] = {"type": "Polygon", "coordinates": [[*north, north[0]]]}
    api.items = [
        yahtse(),
        variant("real-time", **{"landsat:collection_category": "RT"}),
        variant("systematic", **{"landsat:correction": "L1GS"}),
        variant("twin", created="2020-01-01T00:00:00Z"),
        variant("tier-two", **{"landsat:collection_category": "T2", "created": "2025-01-01T00:00:00Z"}),
        far,
    ]
    unit = make_unit("901_Yahtse", "landsat")
    found = search(api, unit)
    (acquisition,) = found.acquisitions
    assert acquisition.scenes[0].item_id == yahtse()["id"]
    assert codes(found) == {
        "real-time": "tier",
        "systematic": "correction",
        "twin": "superseded",
        "tier-two": "superseded",
        "far": "low_overlap",
    }
    assert "0.0%" in next(e.reason for e in found.left_out if e.item_id == "far")


def test_of_a_scene_processed_twice_the_later_processing_counts(api: Api) -> None:
    """Whatever the API's order, the dates of the items, or a fraction of a second in the time of sensing."""

    def version(day: str, tier: str, created: str) -> dict[str, Any]:
        item = yahtse()
        item["id"] = item["id"].replace("20200906_02_T1", f"{day}_02_{tier}")
        item["properties"] |= {"landsat:collection_category": tier, "created": created}
        return item

    later = version("20240722", "T2", "2020-01-01T00:00:00Z")
    later["properties"]["datetime"] = later["properties"]["datetime"].replace("Z", "1Z")
    earlier = version("20240716", "T1", "2025-01-01T00:00:00Z")
    for api.items in ([later, earlier], [earlier, later]):
        found = search(api, make_unit("901_Yahtse", "landsat"))
        (acquisition,) = found.acquisitions
        assert acquisition.scenes[0].item_id == later["id"]
        assert codes(found) == {earlier["id"]: "superseded"}


@pytest.mark.parametrize(
    ("api_url", "href", "may"),
    [
        ("https://192.0.2.1/v1", "https://198.41.0.4/a.tif", True),
        ("https://198.41.0.4/v1", "s3://usgs-landsat/a.tif", True),
        ("https://198.41.0.4/v1", "http://127.0.0.1:8080/a.tif", False),
        ("https://198.41.0.4/v1", "http://localhost/a.tif", False),
        ("https://198.41.0.4/v1", "http://[::1]/a.tif", False),
        ("https://198.41.0.4/v1", "http://0.0.0.0/a.tif", False),
        ("https://198.41.0.4/v1", "http://2130706433/a.tif", False),
        ("https://198.41.0.4/v1", "http://10.0.0.7/a.tif", False),
        ("https://198.41.0.4/v1", "/etc/passwd", False),
        ("https://198.41.0.4/v1", "file:///etc/passwd", False),
        ("https://198.41.0.4/v1", "/vsicurl/http://198.41.0.4/a.tif", False),
        ("http://10.0.0.1/v1", "http://10.0.0.7/a.tif", True),
        ("http://10.0.0.1/v1", "http://127.0.0.1/a.tif", False),
        ("http://127.0.0.1:5000", "http://10.0.0.7/a.tif", True),
        ("http://127.0.0.1:5000", "/data/a.tif", True),
        ("http://127.0.0.1:5000", "http://169.254.169.254/a.tif", False),
        ("http://169.254.1.1/v1", "http://169.254.169.254/a.tif", False),
    ],
)
def test_an_api_names_nothing_further_inwards_than_itself(api_url: str, href: str, may: bool) -> None:
    assert may_open(href, api_url) is may


def test_an_image_in_a_place_that_is_not_opened_is_left_out(api: Api) -> None:
    item, other = berlin(0), berlin(1)
    item["assets"]["nir"]["href"] = "http://169.254.169.254/latest/a.tif"
    other["assets"]["scl"] = {"href": "http://169.254.169.254/latest/scl.tif"}
    api.items = [item, other]
    found = search(api, make_unit())
    assert codes(found) == {item["id"]: "forbidden_place"}
    assert found.acquisitions[0].scenes[0].classification_href is None


def test_a_footprint_that_crosses_itself_is_measured_all_the_same(api: Api) -> None:
    item = yahtse()
    # the corners of a footprint in the wrong order, as an archive may have it
    ring = item["geometry"]["coordinates"][0]
    ring[1], ring[2] = ring[2], ring[1]
    api.items = [item]
    found = search(api, make_unit("901_Yahtse", "landsat"))
    assert found.items == len(found.acquisitions) + len(found.left_out) == 1


def test_a_busy_api_is_asked_again(api: Api) -> None:
    api.items = [berlin()]
    api.faults = [503, 429]
    assert len(search(api, make_unit()).acquisitions) == 1
    assert len(api.searches) == 3


def test_an_api_that_stays_down_is_unavailable(api: Api) -> None:
    api.faults = [503] * 10
    with pytest.raises(UnavailableError, match="does not answer"):
        search(api, make_unit())
    assert len(api.searches) == 3


def test_a_refused_search_is_bad_data_when_it_is_said_twice(api: Api) -> None:
    api.faults = [400] * 2
    with pytest.raises(DataError, match="refused the search"):
        search(api, make_unit())
    assert len(api.searches) == 2


def test_a_page_that_is_no_stac_api_says_so(api: Api) -> None:
    api.raw = b"<html>maintenance</html>"
    with pytest.raises(UnavailableError, match="does not answer as a STAC API"):
        search(api, make_unit())


def test_nobody_listening_is_unavailable() -> None:
    settings = StepSettings(sentinel2_stac_url="http://127.0.0.1:9", request_attempts=1)
    with pytest.raises(UnavailableError):
        search_unit(make_unit(), make_region(), settings)
