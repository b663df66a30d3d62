"""One search of the STAC API: its parameters checked, and the items it takes."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shapely.errors import ShapelyError
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

_PARAMETERS = {"collections", "ids", "bbox", "intersects", "datetime", "limit", "next"}
_DEFAULT_LIMIT, _MAX_LIMIT = 100, 10_000
_TIME = re.compile(r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")


class BadRequest(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """What is wrong with the request, for the client to read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item with what searching needs."""

    item: dict[str, Any]
    time: dt.datetime
    geometry: BaseGeometry | None

    @property
    def place(self) -> tuple[dt.datetime, str, str]:
        """Where it stands in the order of results."""
        return self.time, self.item["id"], self.item["collection"]

    @property
    def token(self) -> str:
        """Its place as text, the way Earth Search names the last item of a page."""
        return f"{self.time.isoformat()},{self.item['id']},{self.item['collection']}"


@dataclass(frozen=True, slots=True)
class Query:
    """One search, checked."""

    collections: frozenset[str] | None
    ids: frozenset[str] | None
    area: BaseGeometry | None
    first: dt.datetime | None
    last: dt.datetime | None
    limit: int
    after: tuple[dt.datetime, str, str] | None

    def takes(self, entry: Entry) -> bool:
        """Whether the item belongs to the result, on whichever page."""
        return (
            (self.collections is None or entry.item["collection"] in self.collections)
            and (self.ids is None or entry.item["id"] in self.ids)
            and (self.first is None or entry.time >= self.first)
            and (self.last is None or entry.time <= self.last)
            and (self.area is None or (entry.geometry is not None and self.area.intersects(entry.geometry)))
        )


def parse_query(given: Mapping[str, Any]) -> Query:
    """Check the parameters of one search.

    Raises:
        BadRequest: a parameter is unknown or cannot be understood.
    """
    given = {name: value for name, value in given.items() if value is not None}
    unknown = sorted(set(given) - _PARAMETERS)
    if unknown:
        raise BadRequest(
            f"{', '.join(unknown)}: not supported; this API knows {', '.join(sorted(_PARAMETERS))}"
        )
    first, last = _parse_interval(given["datetime"]) if "datetime" in given else (None, None)
    return Query(
        collections=_names(given, "collections"),
        ids=_names(given, "ids"),
        area=_parse_area(given),
        first=first,
        last=last,
        limit=_parse_limit(given.get("limit", _DEFAULT_LIMIT)),
        after=_parse_token(given["next"]) if "next" in given else None,
    )


def _names(given: Mapping[str, Any], key: str) -> frozenset[str] | None:
    if key not in given:
        return None
    names = given[key]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest(f"{key} is a list of names")
    return frozenset(names) or None


def _parse_area(given: Mapping[str, Any]) -> BaseGeometry | None:
    if "bbox" in given and "intersects" in given:
        raise BadRequest("bbox and intersects exclude each other")
    if "intersects" in given:
        try:
            area = shape(given["intersects"])
        except (AttributeError, KeyError, TypeError, ValueError, IndexError, ShapelyError) as error:
            raise BadRequest(f"intersects is not a GeoJSON geometry: {error}") from error
        if area.is_empty or not area.is_valid:
            raise BadRequest("intersects is empty or crosses itself")
        return area
    if "bbox" not in given:
        return None
    try:
        edges = [float(value) for value in given["bbox"]]
    except (TypeError, ValueError) as error:
        raise BadRequest(f"bbox is a list of numbers: {error}") from error
    if len(edges) not in {4, 6}:
        raise BadRequest(f"bbox has 4 or 6 numbers, not {len(edges)}")
    half = len(edges) // 2
    west, south, east, north = edges[0], edges[1], edges[half], edges[half + 1]
    if south > north:
        raise BadRequest(f"bbox has its south {south} above its north {north}")
    if west > east:  # across the antimeridian
        return box(west, south, 180, north).union(box(-180, south, east, north))
    return box(west, south, east, north)


def _parse_interval(text: object) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Both ends, included; an open end is None."""
    if not isinstance(text, str):
        raise BadRequest("datetime is a text")
    parts = text.split("/")
    if len(parts) == 1:
        time = _parse_time(text)
        return time, time
    if len(parts) != 2:
        raise BadRequest(f"datetime {text} has more than two ends")
    first, last = (None if part in {"", ".."} else _parse_time(part) for part in parts)
    if first is None and last is None:
        raise BadRequest(f"datetime {text} is open at both ends")
    if first is not None and last is not None and first > last:
        raise BadRequest(f"datetime {text} ends before it begins")
    return first, last


def _parse_time(text: str) -> dt.datetime:
    if not _TIME.match(text):
        raise BadRequest(f"{text} is not an RFC 3339 time such as 2024-07-01T00:00:00Z")
    try:
        return dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{text} is not a time: {error}") from error


def _parse_limit(value: object) -> int:
    if (
        isinstance(value, bool)
        or not re.fullmatch(r"\d+", str(value))
        or not 1 <= int(str(value)) <= _MAX_LIMIT
    ):
        raise BadRequest(f"limit {value} is not a whole number from 1 to {_MAX_LIMIT}")
    return int(str(value))


def _parse_token(token: object) -> tuple[dt.datetime, str, str]:
    parts = str(token).split(",")
    if len(parts) != 3:
        raise BadRequest(f"next {token} is not a token of this API")
    return _parse_time(parts[0]), parts[1], parts[2]
