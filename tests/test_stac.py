"""A STAC API that misbehaves, played by a real HTTP server: nothing is lost without a word."""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stac_faults as faults
from samples import shared
from stac_faults import Fault, FaultyApi

from glacierflow.errors import DataError, UnavailableError
from glacierflow.search.stac_api import Answer, Catalogue, Query, collection_interval, search_items

IDS = ["a", "b", "c", "d"]
QUERY = Query(
    {"type": "Point", "coordinates": [0, 0]},
    (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 2, 1, tzinfo=dt.UTC)),
)

pytestmark = pytest.mark.usefixtures("waits")

Start = Callable[..., FaultyApi]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[FaultyApi] = []

    def begin(*script: Fault | None, ids: list[str] = IDS) -> FaultyApi:
        started.append(FaultyApi(ids, list(script)))
        return started[-1]

    yield begin
    for api in started:
        api.close()


def search(api: FaultyApi, *, attempts: int = 4, request_s: float = 1.0, total_s: float = 60.0) -> Answer:
    return search_items(Catalogue(api.url, "collection", attempts, request_s, total_s), QUERY)


def ids(answer: Answer) -> list[str]:
    return [item["id"] for item in answer.items]


@pytest.mark.parametrize(
    "fault",
    [
        faults.half,
        faults.reset,
        faults.stall,
        faults.drip,
        faults.status(429),
        faults.status(500),
        faults.status(502),
        faults.status(503),
        faults.status(504),
        faults.content(b"<html>maintenance</html>"),
        faults.content(b'{"type": "FeatureColl'),
        faults.content(b"[]"),
        faults.content(b'{"message": "Internal server error"}'),
        faults.content(b'{"features": null}'),
        faults.content(b'{"features": ["a"]}'),
        faults.content(b"\xff\xfe"),
    ],
    ids=itertools.count(),
)
@pytest.mark.parametrize("page", [0, 2])
def test_one_bad_answer_on_any_page_is_asked_for_again(start: Start, fault: Fault, page: int) -> None:
    api = start(*[None] * page, fault)
    answer = search(api, request_s=0.5)
    assert ids(answer) == IDS
    assert answer.notes == ()
    assert api.asked == [*map(str, range(page + 1)), *map(str, range(page, len(IDS)))]


def test_an_answer_may_be_compressed(start: Start) -> None:
    assert ids(search(start(faults.zipped, faults.zipped))) == IDS


def test_a_storm_of_503_is_outlived_and_a_longer_one_is_named(start: Start) -> None:
    assert ids(search(start(*[faults.status(503)] * 3))) == IDS
    api = start(None, *[faults.status(503)] * 4)
    with pytest.raises(UnavailableError, match=r"HTTP 503 .*asked 4 times"):
        search(api)
    assert api.asked == ["0", "1", "1", "1", "1"]


def test_retry_after_is_waited_for(start: Start, waits: list[float]) -> None:
    assert ids(search(start(faults.status(429, Retry_After="17")))) == IDS
    assert waits == [17.0]


def test_a_wait_beyond_the_deadline_ends_the_search_at_once(start: Start) -> None:
    api = start(faults.status(503, Retry_After="3600"))
    with pytest.raises(UnavailableError, match="the last wait it asks for is 3600 s"):
        search(api)
    assert len(api.asked) == 1


def test_the_whole_search_has_a_deadline(start: Start) -> None:
    api = start(*[faults.stall] * 50)
    with pytest.raises(UnavailableError):
        search(api, attempts=50, request_s=0.3, total_s=1.0)
    assert api.at[-1] - api.at[0] < 1.5


def test_waits_grow_and_are_not_alike(start: Start, waits: list[float]) -> None:
    search(start(*[faults.status(503)] * 7), attempts=8)
    for number, wait in enumerate(waits):
        assert 0.25 * 2**number <= wait <= min(0.5 * 2**number, 30.0)
    assert len({wait / 2**number for number, wait in enumerate(waits)}) == len(waits) == 7


def test_a_refusal_is_believed_when_it_is_said_twice(start: Start) -> None:
    api = start(*[faults.status(400)] * 2)
    with pytest.raises(DataError, match=r"refused the search \(HTTP 400\): it answers with JSON"):
        search(api)
    assert len(api.asked) == 2
    assert ids(search(start(faults.status(400)))) == IDS


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, b'{"message":"Forbidden"}'),
        (400, b'{"errors":["Oops! Something has gone wrong. Please try your request again later."]}'),
        (429, b"<html>slow down</html>"),
    ],
)
def test_a_gateway_that_is_asked_too_often_passes(start: Start, status: int, said: bytes) -> None:
    def throttled(handler: Any, _: bytes) -> None:
        faults.answer(handler, said, status)

    assert ids(search(start(throttled, throttled))) == IDS
    with pytest.raises(UnavailableError, match=rf"HTTP {status} \(asked 4 times\)"):
        search(start(*[throttled] * 4))


class SixMegabytes(FaultyApi):
    """Answers 500 whenever a page would be larger than AWS Lambda may answer, and counts in pages."""

    def __init__(self, count: int, size: int) -> None:
        self.limits: list[int] = []
        self.size = size
        super().__init__([str(number) for number in range(count)], [])

    def fault(self, query: dict[str, Any]) -> Fault | None:
        self.limits.append(query["limit"])
        page = int(query.get("token", "0"))
        return faults.status(500) if len(json.dumps(self.page(page, query))) > 6 * 2**20 else None

    def page(self, start: int, query: dict[str, Any]) -> dict[str, Any]:
        limit = query["limit"]
        some = self.ids[start * limit : (start + 1) * limit]
        features = [{"id": item_id, "pad": "x" * self.size} for item_id in some]
        links = []
        if (start + 1) * limit < len(self.ids):
            body = query | {"token": str(start + 1)}
            links.append({"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": body})
        return {"type": "FeatureCollection", "features": features, "links": links}


@pytest.mark.parametrize(("size", "limits"), [(72_000, [100, 100]), (150_000, [100, 100, 50, 50])])
def test_a_page_that_is_too_large_is_asked_for_with_fewer_items(size: int, limits: list[int]) -> None:
    api = SixMegabytes(155, size)
    answer = search(api)
    api.close()
    assert len(set(ids(answer))) == 155
    smaller = limits[-1] // 2
    assert api.limits == limits + [smaller] * -(-155 // smaller)


def test_an_empty_page_with_a_successor_is_not_the_end(start: Start) -> None:
    api = start(None, faults.edit(lambda page: page.update(features=[])))
    assert ids(search(api)) == ["a", "c", "d"]


def test_pages_in_a_circle_are_noticed(start: Start) -> None:
    def back(page: dict[str, Any]) -> None:
        page["links"][0]["body"]["token"] = "0"

    # the token of the first page is not in the first request, so one round more is turned
    api = start(None, faults.edit(back), None, faults.edit(back))
    with pytest.raises(UnavailableError, match="in a circle"):
        search(api)
    assert len(api.asked) < 8


class Recorded(FaultyApi):
    """Earth Search's own pages, whose last one links a successor too."""

    def __init__(self, script: list[Fault | None], beyond: list[dict[str, Any]]) -> None:
        pages = json.loads((shared("data/stac_items/pages/earth-search-v1-search-pages.json")).read_text())
        self.recorded: list[dict[str, Any]] = pages
        self.beyond = beyond
        super().__init__([], script)

    def page(self, start: int, query: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        tokens = [page["links"][0]["body"]["next"] for page in self.recorded]
        place = tokens.index(query["next"]) + 1 if "next" in query else 0
        if place == len(tokens):
            return {"type": "FeatureCollection", "features": [], "links": self.beyond}
        page = self.recorded[place]
        return page | {"links": [page["links"][0] | {"href": f"{self.url}/search"}]}


@pytest.mark.parametrize("fault", [None, faults.half, faults.status(503), faults.content(b"<html>")])
@pytest.mark.parametrize("points_back", [False, True])
def test_the_recorded_pages_of_earth_search_are_read_to_the_end(
    fault: Fault | None, points_back: bool
) -> None:
    api = Recorded([None, None, None, fault], [])
    if points_back:
        body = api.recorded[0]["links"][0]["body"]
        api.beyond.append({"rel": "next", "href": f"{api.url}/search", "method": "POST", "body": body})
    answer = search(api)
    api.close()
    assert len(set(ids(answer))) == len(answer.items) == 148
    assert answer.notes == ()
    assert len(api.asked) == 15 + 1 + (fault is not None)


def test_empty_pages_without_end_are_no_answer(start: Start) -> None:
    api = start(*[faults.edit(lambda page: page.update(features=[]))] * 30, ids=[str(n) for n in range(40)])
    with pytest.raises(UnavailableError, match="10 empty pages in a row"):
        search(api)


def test_an_item_on_two_pages_is_one_and_is_told(start: Start) -> None:
    answer = search(start(ids=["a", "b", "b", "c"]))
    assert ids(answer) == ["a", "b", "c"]
    assert answer.notes == ("the STAC API gave 4 items, 3 of them different; each counts once",)


def test_a_count_that_is_not_reached_is_searched_again_and_then_told(start: Start) -> None:
    def count(page: dict[str, Any]) -> None:
        page["numberMatched"] = 5

    def drop(page: dict[str, Any]) -> None:
        page["context"] = {"matched": 4}
        page["features"] = []

    # the second page loses its item; the second search has it
    api = start(None, faults.edit(drop))
    answer = search(api)
    assert (sorted(ids(answer)), answer.notes) == (IDS, ())
    answer = search(start(*[faults.edit(count)] * 8))
    assert ids(answer) == IDS
    assert answer.notes == ("the STAC API counts 5 items and gave 4, twice; some may be missing",)


def test_next_links_by_get_and_by_merged_bodies_are_followed(start: Start) -> None:
    def merged(page: dict[str, Any]) -> None:
        page["links"][0] |= {"body": {"token": "2"}, "merge": True}

    api = start(None, faults.edit(merged))
    assert ids(search(api)) == IDS
    assert api.asked == ["0", "1", "2", "3"]

    def by_get(page: dict[str, Any]) -> None:
        page["links"][0] = {"rel": "next", "href": f"{api.url}/search?token=1"}

    api = start(faults.edit(by_get), ids=["a", "b", "c"])
    assert ids(search(api)) == ["a", "b", "c"]
    assert api.asked == ["0", "1", "2"]


def test_what_a_collection_holds(start: Start) -> None:
    api = start()
    catalogue = Catalogue(api.url, "collection", 1, 1.0, 1.0)
    assert collection_interval(catalogue) is None
    api.collection = {"extent": {"temporal": {"interval": [["2015-06-27T10:25:31Z", None]]}}}
    assert collection_interval(catalogue) == (dt.datetime(2015, 6, 27, 10, 25, 31, tzinfo=dt.UTC), None)
    api.collection = {"extent": {"temporal": {"interval": [["yesterday", None]]}}}
    assert collection_interval(catalogue) is None
    # it only explains an empty answer: nobody there is no reason to fail
    assert collection_interval(Catalogue("http://127.0.0.1:9", "collection", 1, 1.0, 1.0)) is None


def test_an_item_nested_100000_deep_costs_its_field_and_nothing_else(start: Start) -> None:
    """Brackets in strings are none, and numbers that are not finite are nothing."""
    odd = "[" * 100_000 + "]" * 100_000
    deep = f'{{"id": "b", "odd": {odd}, "as told": "[[[{{", "n": NaN}}'
    page = f'{{"type": "FeatureCollection", "features": [{{"id": "a", "far": 1e999}}, {deep}], "links": []}}'
    items = search(start(faults.content(page.encode()))).items
    assert str(items[1].pop("odd")).strip("[]") == "None"
    assert items == ({"id": "a", "far": None}, {"id": "b", "as told": "[[[{", "n": None})


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'"' + b"\\" * 99_999])
def test_what_is_nested_without_end_is_no_answer(start: Start, body: bytes) -> None:
    with pytest.raises(UnavailableError, match="does not answer as a STAC API"):
        search(start(*[faults.content(body)] * 2), attempts=2)


def test_an_answer_without_end_is_not_held_but_asked_for_in_smaller_pages(start: Start) -> None:
    """80 MB that travel as less than one."""
    packed = gzip.compress(bytes(80_000_000), 1)

    def bomb(handler: Any, _: bytes) -> None:
        faults.answer(handler, packed, Content_Encoding="gzip")

    assert ids(search(start(bomb, ids=["a"]), attempts=1, request_s=60.0)) == ["a"]
    with pytest.raises(UnavailableError, match="its answer is longer than 67108864 bytes"):
        search(start(*[bomb] * 5), attempts=1, request_s=60.0)


@pytest.mark.parametrize("href", ["search?token=1", "/search?token=1", "?token=1"])
def test_a_relative_next_link_is_resolved(start: Start, href: str) -> None:
    def relative(page: dict[str, Any]) -> None:
        page["links"] = [{"rel": "next", "href": href}]

    assert ids(search(start(faults.edit(relative), ids=["a", "b"]))) == ["a", "b"]


def test_a_next_page_where_nothing_is_read_is_not_opened(start: Start) -> None:
    def away(page: dict[str, Any]) -> None:
        page["links"] = [{"rel": "next", "href": "http://169.254.169.254/search"}]

    with pytest.raises(UnavailableError, match="where nothing is read for it"):
        search(start(faults.edit(away)))


def test_a_search_that_is_sent_on_is_followed_but_not_everywhere(start: Start) -> None:
    on = faults.status(307, Location="/search")
    assert ids(search(start(on, ids=["a"]), attempts=1)) == ["a"]
    with pytest.raises(UnavailableError, match="too many redirects"):
        search(start(*[on] * 4), attempts=1)
    with pytest.raises(DataError, match="a place that is not opened for it"):
        search(start(faults.status(307, Location="http://169.254.169.254/search")), attempts=1)
