from __future__ import annotations

import datetime as dt
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import shapely
from pystac_client import Client
from samples import real_archive, shared
from shapely.geometry import box, mapping, shape
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from glacierflow.errors import UsageError
from glacierflow.local.archive.files import Archive, load_archive, merge
from glacierflow.local.archive.stac_api import create_app

BASE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def archive() -> Archive:
    return merge(
        [load_archive(shared("data/stac_items"), BASE), load_archive(real_archive(), BASE, prefix="real")]
    )


@pytest.fixture(scope="module")
def api(archive: Archive) -> Iterator[str]:
    app = DispatcherMiddleware(NotFound(), {"/stac": create_app(archive)})
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/stac"
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, body: object = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=20) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def time_of(item: dict[str, Any]) -> dt.datetime:
    time = dt.datetime.fromisoformat(item["properties"]["datetime"])
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def truth(
    archive: Archive,
    collections: list[str] | None = None,
    area: shapely.Geometry | None = None,
    first: str = "0001-01-01T00:00:00Z",
    last: str = "9999-01-01T00:00:00Z",
) -> list[str]:
    start, end = dt.datetime.fromisoformat(first), dt.datetime.fromisoformat(last)
    hits = [
        item
        for item in archive.items
        if (collections is None or item["collection"] in collections)
        and (area is None or shapely.intersects(area, shape(item["geometry"])))
        and start <= time_of(item) <= end
    ]
    return [item["id"] for item in sorted(hits, key=lambda item: (time_of(item), item["id"]), reverse=True)]


BHUTAN = box(89.0, 26.5, 91.0, 28.0)
SEARCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"collections": ["landsat-c2l1"]}, {"collections": ["landsat-c2l1"]}),
    (
        {"collections": ["landsat-c2l1"], "intersects": mapping(BHUTAN)},
        {"collections": ["landsat-c2l1"], "area": BHUTAN},
    ),
    ({"bbox": [-60.0, -30.0, 30.0, 60.0]}, {"area": box(-60, -30, 30, 60)}),
    (
        {"collections": ["sentinel-2-l2a", "sentinel-2-c1-l2a"], "datetime": "2024-01-01T00:00:00Z/.."},
        {"collections": ["sentinel-2-l2a", "sentinel-2-c1-l2a"], "first": "2024-01-01T00:00:00Z"},
    ),
    ({"datetime": "../2019-01-01T00:00:00Z"}, {"last": "2019-01-01T00:00:00Z"}),
    (
        {"datetime": "2023-03-01T00:00:00Z/2023-05-31T23:59:59Z", "intersects": mapping(BHUTAN)},
        {"first": "2023-03-01T00:00:00Z", "last": "2023-05-31T23:59:59Z", "area": BHUTAN},
    ),
]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(("asked", "expected"), SEARCHES)
@pytest.mark.parametrize("limit", [3, 100])
def test_pystac_client_pages_through_what_shapely_finds(
    api: str, archive: Archive, method: str, asked: dict[str, Any], expected: dict[str, Any], limit: int
) -> None:
    wanted = truth(archive, **expected)
    assert len(wanted) > 3  # so that paging with limit 3 really happens
    search = Client.open(api).search(**asked, method=method, limit=limit)
    pages = [[item["id"] for item in page["features"]] for page in search.pages_as_dicts()]
    assert [item_id for page in pages for item_id in page] == wanted
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len(pages) == -(-len(wanted) // limit)
    assert search.matched() == len(wanted)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_ids_and_items_of_the_client(api: str, method: str) -> None:
    ids = ["S2B_32WNE_20250717_0_L2A", "LC08_L1TP_063018_20160718_20200906_02_T1"]
    items = list(Client.open(api).search(ids=[*ids, "no_such_item"], method=method).items())
    assert [item.id for item in items] == ids
    pan = items[1].assets["pan"]
    assert pan.href.startswith(f"{BASE}/archive/real/landsat-c2l1/LC08_L1TP_063018_20160718")
    assert pan.extra_fields["alternate"]["s3"]["href"].startswith("s3://usgs-landsat/")


def test_both_ends_of_an_interval_belong_to_it_and_a_time_alone_is_exact(api: str) -> None:
    sensed = "2025-07-17T11:21:21.471000Z"
    for interval in (f"{sensed}/2025-07-17T11:21:22Z", f"2025-07-17T11:21:21Z/{sensed}", sensed):
        _, found = ask(f"{api}/search", {"datetime": interval, "collections": ["sentinel-2-l2a"]})
        assert [item["id"] for item in found["features"]] == ["S2B_32WNE_20250717_0_L2A"]


def test_next_link_of_a_post_has_the_shape_of_earth_search(api: str) -> None:
    recorded = json.loads((shared("data/stac_items/pages/earth-search-v1-search-pages.json")).read_text())
    real = next(link for link in recorded[0]["links"] if link["rel"] == "next")
    body = {"collections": ["landsat-c2l1"], "limit": 2}
    _, page = ask(f"{api}/search", body)
    link = next(link for link in page["links"] if link["rel"] == "next")
    assert set(link) == set(real) - {"title"}
    assert (link["method"], link["merge"]) == (real["method"], real["merge"])
    assert link["href"] == f"{api}/search"
    last = page["features"][-1]
    assert link["body"] == {**body, "next": link["body"]["next"]}
    assert link["body"]["next"].split(",")[1:] == [last["id"], "landsat-c2l1"]
    assert real["body"]["next"].split(",")[1:] == [recorded[0]["features"][-1]["id"], "sentinel-2-l1c"]
    assert set(page) == set(recorded[0])


def test_last_page_has_no_next_link(api: str, archive: Archive) -> None:
    _, page = ask(f"{api}/search?limit={len(archive.items)}")
    assert page["numberMatched"] == page["numberReturned"] == len(page["features"]) == len(archive.items)
    assert [link["rel"] for link in page["links"]] == ["root"]


def test_landing_page_collections_and_items(api: str, archive: Archive) -> None:
    client = Client.open(api)
    names = {item["collection"] for item in archive.items}
    assert {collection.id for collection in client.get_collections()} == names
    landsat = client.get_collection("landsat-c2l1")
    assert landsat is not None
    boxes = [shape(item["geometry"]).bounds for item in archive.items if item["collection"] == "landsat-c2l1"]
    assert landsat.extent.spatial.bboxes[0][0] == pytest.approx(min(bounds[0] for bounds in boxes))
    url = f"{api}/collections/sentinel-2-l2a/items/S2B_32WNE_20250717_0_L2A"
    _, item = ask(url)
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert links["self"] == url
    assert links["collection"] == f"{api}/collections/sentinel-2-l2a"
    assert links["root"] == f"{api}/"
    # what the real item says of its origin is kept
    assert links["derived_from"].startswith("https://earth-search.aws.element84.com/")
    served = {key: value for key, value in item.items() if key != "links"}
    original = next(one for one in archive.items if one["id"] == item["id"])
    assert served == {key: value for key, value in original.items() if key != "links"}


def test_what_is_not_supported_is_not_advertised(api: str) -> None:
    _, landing = ask(f"{api}/")
    assert not [
        uri for uri in landing["conformsTo"] if any(word in uri for word in ("filter", "query", "sort"))
    ]
    assert {link["method"] for link in landing["links"] if link["rel"] == "search"} == {"GET", "POST"}


@pytest.mark.parametrize("path", ["collections/none", "collections/landsat-c2l1/items/none", "nothing/here"])
def test_unknown_paths_are_404_with_a_reason(api: str, path: str) -> None:
    status, answer = ask(f"{api}/{path}")
    assert status == 404
    assert answer["code"] == "NotFound"
    assert answer["description"]


BAD: list[tuple[object, str]] = [
    ({"query": {"eo:cloud_cover": {"lt": 5}}}, "query: not supported"),
    ({"filter": {"op": "="}, "filter-lang": "cql2-json"}, "filter, filter-lang: not supported"),
    ({"sortby": []}, "sortby: not supported"),
    ({"datetime": "2024-07-01"}, "2024-07-01 is not an RFC 3339 time"),
    ({"datetime": "2024-13-01T00:00:00Z"}, "2024-13-01T00:00:00Z is not a time"),
    ({"datetime": "2024-07-01T00:00:00"}, "is not an RFC 3339 time"),
    ({"datetime": "../.."}, "open at both ends"),
    ({"datetime": "2024-07-02T00:00:00Z/2024-07-01T00:00:00Z"}, "ends before it begins"),
    ({"datetime": "a/b/c"}, "more than two ends"),
    ({"datetime": 5}, "datetime is a text"),
    ({"bbox": [0, 0, 1, 1], "intersects": mapping(BHUTAN)}, "exclude each other"),
    ({"bbox": [0, 0, 1]}, "4 or 6 numbers"),
    ({"bbox": [0, 2, 1, 1]}, "south 2.0 above its north 1.0"),
    ({"bbox": ["a", 0, 1, 1]}, "list of numbers"),
    ({"intersects": {"type": "Blob"}}, "not a GeoJSON geometry"),
    ({"intersects": "everywhere"}, "not a GeoJSON geometry"),
    (
        {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}},
        "crosses",
    ),
    ({"limit": 0}, "limit 0 is not a whole number"),
    ({"limit": "many"}, "limit many is not a whole number"),
    ({"limit": 10_001}, "limit 10001"),
    ({"next": "page 2"}, "not a token"),
    ({"collections": "landsat-c2l1"}, "collections is a list of names"),
    ([], "a JSON object"),
]


@pytest.mark.parametrize(("body", "reason"), BAD)
def test_bad_searches_are_400_with_a_reason(api: str, body: object, reason: str) -> None:
    status, answer = ask(f"{api}/search", body)
    assert (status, answer["code"]) == (400, "BadRequest")
    assert reason in answer["description"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("filter=a%3D1", "filter: not supported"),
        ("intersects=" + quote("{"), "intersects is not GeoJSON"),
        ("limit=-1", "limit -1"),
        ("bbox=1,2", "4 or 6 numbers"),
    ],
)
def test_bad_query_strings_are_400_with_a_reason(api: str, query: str, reason: str) -> None:
    status, answer = ask(f"{api}/search?{query}")
    assert status == 400
    assert reason in answer["description"]


def test_bbox_across_the_antimeridian() -> None:
    def item(name: str, longitude: float) -> dict[str, Any]:
        place = {"type": "Point", "coordinates": [longitude, 10.0]}
        properties = {"datetime": "2024-07-01T00:00:00Z"}
        return {"id": name, "collection": "c", "geometry": place, "properties": properties, "assets": {}}

    app = create_app(Archive((item("west", -179.0), item("east", 179.0), item("middle", 0.0))))
    found = app.test_client().post("/search", json={"bbox": [170, 0, -170, 20]}).get_json()
    assert [one["id"] for one in found["features"]] == ["west", "east"]


def test_item_that_cannot_be_searched_is_named() -> None:
    item = {"id": "x", "collection": "c", "geometry": None, "properties": {"datetime": None}, "assets": {}}
    with pytest.raises(UsageError, match="item x of c cannot be searched"):
        create_app(Archive((item,)))
