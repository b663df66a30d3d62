"""Asking a STAC API that may misbehave: every page is fetched, or the search says that it was not.

pystac-client opens the API and words the search; requests and paging are ours, because its own stop at an
empty page that has a successor, follow a link in circles, and give up when a connection breaks inside a body.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urljoin, urlsplit

from glacierflow import net
from glacierflow.errors import DataError, UnavailableError
from glacierflow.faults import Fault, Remedy, fault_of_status, kind_of, reason_of
from glacierflow.search.items import parse_time

if TYPE_CHECKING:
    from pystac_client.item_search import ItemSearch
    from pystac_client.stac_api_io import StacApiIO

    from glacierflow.model.records import StepSettings


log = logging.getLogger("glacierflow")

_PAGE_SIZE = 100
_SMALLEST_PAGE = 10
_MAYBE_TOO_LARGE = frozenset({413, 500, 502, 504})
"""What servers answer where one page is more than they can send: AWS Lambda's limit is 6 MB."""
_ERROR, _QUOTED_BYTES, _LARGEST_ANSWER = 400, 4096, 1 << 26
_EMPTY_PAGES = 10
"""In a row: more is no answer."""

Interval = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Which API and collection to ask, and how patiently."""

    url: str
    collection: str
    attempts: int
    request_s: float
    """Seconds one request may take, its whole body included."""
    total_s: float
    """Seconds a whole search may take, waits included."""

    @classmethod
    def of(cls, url: str, collection: str, settings: StepSettings) -> Catalogue:
        """With the patience of the settings."""
        return cls(
            url, collection, settings.request_attempts, settings.request_timeout_s, settings.search_timeout_s
        )


@dataclass(frozen=True, slots=True)
class Query:
    """Where and when."""

    geometry: dict[str, Any]
    interval: Interval
    """First and last moment, both included."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Items of a search, each once, and what was odd about the answer."""

    items: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


class _TooLarge(Fault):
    """What a server answers that is down, and one that cannot send so large a page."""


def _limit_of(href: str, parameters: dict[str, Any] | None) -> int:
    """Items a page that a request asks for, 0 where it asks for none."""
    said = (parameters or {}).get("limit") or parse_qs(urlsplit(href).query).get("limit", ["0"])[0]
    return int(said) if str(said).isdecimal() else 0


@dataclass
class _Line:
    """One conversation with an API: its deadline, its attempts."""

    catalogue: Catalogue
    patience: net.Patience = field(init=False)

    def __post_init__(self) -> None:
        ends = net.CLOCK.now() + self.catalogue.total_s
        self.patience = net.Patience(self.catalogue.attempts, ends)

    def ask(self, io: StacApiIO, method: str, href: str, parameters: dict[str, Any] | None) -> str:
        """The text of one answer that is a JSON object, after as many attempts as it takes and may take.

        Raises:
            Fault: the API refused the request, or a page with fewer items should be asked for.
            UnavailableError: none of the attempts was answered, or the time is up.
        """
        failed_before = self.catalogue.attempts <= 1

        def once() -> str:
            nonlocal failed_before
            seconds = min(self.catalogue.request_s, self.patience.left_s)
            try:
                return _ask_once(io, method, href, parameters, seconds)
            except _TooLarge as fault:
                if failed_before and _limit_of(href, parameters) > _SMALLEST_PAGE:
                    raise Fault(Remedy.LESS, fault.reason) from fault
                failed_before = True
                raise

        try:
            return net.persist(once, self.patience, href)
        except Fault as fault:
            if fault.remedy is Remedy.AGAIN:
                raise self._unavailable(fault) from fault
            raise

    def refused(self, fault: Fault) -> DataError:
        """What is left where the API understood and said no."""
        return DataError(f"the STAC API {self.catalogue.url} refused the search ({fault}): {fault.detail}")

    def _unavailable(self, fault: Fault) -> UnavailableError:
        often = "once" if fault.tries == 1 else f"{fault.tries} times"
        asking = f"the last wait it asks for is {fault.wait_s:.0f} s; " if fault.wait_s else ""
        return UnavailableError(
            f"the STAC API {self.catalogue.url} does not answer: {fault} ({asking}asked {often})",
            next_step="try again later, or check the URL and the network",
        )


def search_items(catalogue: Catalogue, query: Query) -> Answer:
    """All items of a collection in a place and time.

    Raises:
        UnavailableError: the API did not give every page, after retries.
        DataError: the API refused the search.
    """
    line = _Line(catalogue)
    items, given, matched = _all_pages(line, query)
    notes = []
    if matched > len(items):
        # Items may have moved between pages while they were turned; a second look settles it.
        again, given_again, matched = _all_pages(line, query)
        items, given = items | again, max(given, given_again)
        if matched > len(items):
            text = f"the STAC API counts {matched} items and gave {len(items)}, twice; some may be missing"
            notes.append(text)
    if given > len(items):
        notes.append(f"the STAC API gave {given} items, {len(items)} of them different; each counts once")
    return Answer(tuple(items.values()), tuple(notes))


def count_items(catalogue: Catalogue, query: Query) -> int:
    """How many items a place and time have: as the API counts them, else by turning every page.

    Raises:
        UnavailableError: the API did not answer, after retries.
        DataError: the API refused the search.
    """
    from pystac import STACTypeError

    line = _Line(catalogue)
    try:
        page = next(_pages(line, _open_search(line, query, limit=1)))
    except Fault as fault:
        raise line.refused(fault) from fault
    except (ValueError, KeyError, TypeError, AttributeError, STACTypeError) as error:
        raise UnavailableError(f"{catalogue.url} does not answer as a STAC API: {error}") from error
    return _matched(page) or (len(search_items(catalogue, query).items) if page["features"] else 0)


def collection_interval(catalogue: Catalogue) -> tuple[dt.datetime | None, dt.datetime | None] | None:
    """First and last moment the collection claims to hold, open ends None; None where it is not known."""
    line, href = _Line(catalogue), f"{catalogue.url.rstrip('/')}/collections/{catalogue.collection}"
    try:
        extent = net.read_json(line.ask(_make_io(line), "GET", href, None))["extent"]
        first, last = extent["temporal"]["interval"][0]
        return parse_time(first) if first else None, parse_time(last) if last else None
    except (UnavailableError, Fault, KeyError, IndexError, TypeError, ValueError):
        return None


def _all_pages(line: _Line, query: Query) -> tuple[dict[str, dict[str, Any]], int, int]:
    """Items by id, how many the pages held, and how many the API says there are (0 where it does not say).

    Where a page may be too large for the server the search begins anew with smaller ones: the place of a page
    may be counted in pages.
    """
    limit = _PAGE_SIZE
    while True:
        try:
            return _pages_of(line, query, limit)
        except Fault as fault:
            if fault.remedy is not Remedy.LESS:
                raise line.refused(fault) from fault
            limit //= 2
            log.info("%s: %s; asked again for %d items a page", line.catalogue.url, fault, limit)


def _pages_of(line: _Line, query: Query, limit: int) -> tuple[dict[str, dict[str, Any]], int, int]:
    from pystac import STACTypeError

    items: dict[str, dict[str, Any]] = {}
    given = matched = 0
    try:
        for page in _pages(line, _open_search(line, query, limit)):
            features = page["features"]
            given += len(features)
            matched = max(matched, _matched(page))
            items |= {str(item["id"]): item for item in features}
    except (ValueError, KeyError, TypeError, AttributeError, STACTypeError) as error:
        raise UnavailableError(f"{line.catalogue.url} does not answer as a STAC API: {error}") from error
    return items, given, matched


def _matched(page: dict[str, Any]) -> int:
    count = page.get("numberMatched", (page.get("context") or {}).get("matched"))
    return count if isinstance(count, int) else 0


def _open_search(line: _Line, query: Query, limit: int = _PAGE_SIZE) -> ItemSearch:
    from pystac_client import Client

    with warnings.catch_warnings():
        # An API that does not list its conformance classes still searches; a person cannot act on it.
        warnings.simplefilter("ignore")
        client = Client.open(line.catalogue.url, stac_io=_make_io(line))
        return client.search(
            collections=[line.catalogue.collection],
            intersects=query.geometry,
            datetime=query.interval,
            limit=limit,
        )


def _pages(line: _Line, search: ItemSearch) -> Iterator[dict[str, Any]]:
    """Every page, also behind an empty one.

    Some servers link a successor from their last page, and from the empty page there back to an earlier one:
    that is an end. A page with items whose successor was there before is a server that lost its way.

    Raises:
        UnavailableError: pages go round in a circle, or go on empty.
    """
    io = _make_io(line)
    method, href, parameters = search.method or "POST", search.url, search.get_parameters()
    turned: set[str] = set()
    empty = 0
    while empty < _EMPTY_PAGES:
        request = json.dumps([method, href, parameters], sort_keys=True)
        if request in turned:
            if empty:
                return
            raise _lost(line, f"turns its pages in a circle after {len(turned)}")
        turned.add(request)
        page = net.read_json(line.ask(io, method, href, parameters))
        empty = 0 if page["features"] else empty + 1
        yield page
        link = next((link for link in page.get("links") or () if link.get("rel") == "next"), None)
        if link is None:
            return
        method = str(link.get("method", "GET")).upper()
        # a GET carries its parameters in the address, a POST in a body that may only name what changes
        body = link.get("body") or {}
        parameters = ({**parameters, **body} if link.get("merge") else body) if method == "POST" else {}
        href = urljoin(href, str(link["href"]))
        if not net.may_open(href, line.catalogue.url):
            raise _lost(line, f"has its next page at {href}, where nothing is read for it")
    raise _lost(line, f"gives {empty} empty pages in a row, each with a successor")


def _lost(line: _Line, what: str) -> UnavailableError:
    told = f"the STAC API {line.catalogue.url} {what}; the search is not complete"
    return UnavailableError(told, next_step="try again later, or shorten the date range")


def _make_io(line: _Line) -> StacApiIO:
    """pystac-client's connection, its requests made by ``line``."""
    from pystac_client.stac_api_io import StacApiIO

    class PatientIO(StacApiIO):
        def request(
            self,
            href: str,
            method: str | None = None,
            headers: dict[str, str] | None = None,  # noqa: ARG002 - the signature is pystac-client's
            parameters: dict[str, Any] | None = None,
        ) -> str:
            return line.ask(self, method or "GET", href, parameters)

    return PatientIO(max_retries=None)


def _ask_once(
    io: StacApiIO, method: str, href: str, parameters: dict[str, Any] | None, seconds: float
) -> str:
    """One request, its body included, within some seconds.

    Raises:
        Fault: it gave no page of items, or not the JSON object that was asked for.
    """
    import requests
    from urllib3.exceptions import HTTPError

    ends = net.CLOCK.now() + seconds

    def send(method: str, url: str) -> requests.Response:
        kind = "json" if method == "POST" else "params"
        content: Any = {kind: parameters if kind == "json" or url == href else None}
        content |= {"timeout": max(seconds, 0.001), "stream": True, "allow_redirects": False}
        return io.session.request(method, url, **content)

    try:
        with net.follow(send, method, href) as answer:
            said = net.whole(answer.raw, ends, _LARGEST_ANSWER)
    except net.TooLong as error:
        raise _TooLarge(Remedy.AGAIN, str(error)) from error
    except (requests.RequestException, HTTPError, OSError) as error:
        raise Fault(Remedy.AGAIN, reason_of(error)) from error
    status = answer.status_code
    if status < _ERROR:
        return _checked(method, href, said)
    wait_s = net.retry_after(answer.headers.get("Retry-After"))
    if status in _MAYBE_TOO_LARGE:
        raise _TooLarge(Remedy.AGAIN, f"it answers {status}", wait_s=wait_s)
    raise fault_of_status(status, said[:_QUOTED_BYTES], wait_s=wait_s)


def _checked(method: str, href: str, said: bytes) -> str:
    """The answer as text, if it is what was asked for: a page of items where a search was posted."""
    try:
        answer = json.loads(said := net.shallow(said))
    except ValueError as error:
        told = f"{href} does not answer as a STAC API, but with {kind_of(said)}"
        raise Fault(Remedy.AGAIN, told) from error
    features = answer.get("features") if isinstance(answer, dict) else None
    is_page = isinstance(features, list) and all(isinstance(item, dict) and "id" in item for item in features)
    if not isinstance(answer, dict) or (method == "POST" and not is_page):
        raise Fault(Remedy.AGAIN, f"{href} does not answer as a STAC API: no page of items")
    return said.decode()
