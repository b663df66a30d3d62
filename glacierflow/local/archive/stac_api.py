"""A small, strict STAC API over the archives that the server offers at this moment."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import shapely
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from shapely.errors import ShapelyError
from shapely.geometry import shape
from werkzeug.exceptions import HTTPException

from glacierflow.errors import UsageError
from glacierflow.local.archive.files import Archive, asset_app, load_archive, merge
from glacierflow.local.archive.stac_query import BadRequest, Entry, parse_query
from glacierflow.local.s3 import mount_object

if TYPE_CHECKING:
    from collections.abc import Mapping


_log = logging.getLogger(__name__)

_SPEC = "https://api.stacspec.org/v1.0.0"
_CONFORMANCE = [f"{_SPEC}/core", f"{_SPEC}/collections", f"{_SPEC}/item-search"]
_OWN_LINKS = {"self", "root", "parent", "collection", "next", "thumbnail"}
GEOJSON = "application/geo+json"


class Switch:
    """A WSGI application that can be exchanged while the server runs."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - Flask's and ours are typed differently
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Pass on."""
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer


class Archives:
    """Directories served together; which they are is kept over a restart."""

    def __init__(self, base_url: str, record: Path) -> None:
        self._base_url = base_url
        self._record = record
        self._lock = threading.Lock()
        self.directories: list[Path] = []
        empty = Archive(items=())
        self.stac = Switch(create_app(empty))
        self.assets = Switch(asset_app(empty))

    def restore(self) -> None:
        """Serve again what an earlier server served, as far as it is still there."""
        known = json.loads(self._record.read_text()) if self._record.exists() else []
        for directory in known:
            try:
                self.add(Path(directory))
            except UsageError as error:
                _log.warning("%s; it is no longer served", error.message)

    def add(self, directory: Path) -> tuple[str, ...]:
        """Serve a directory too, or read it anew; returns what in the archives cannot be served.

        Raises:
            UsageError: it is no archive, or contradicts one that is served.
        """
        directory = directory.resolve()
        with self._lock:
            wanted = self.directories if directory in self.directories else [*self.directories, directory]
            # the place in the list keeps the paths of several directories apart, also when one has vanished
            places = {one: f"{place}/" if place else "" for place, one in enumerate(wanted)}
            # what was named last is served where two hold the same scene
            order = [directory, *(one for one in reversed(wanted) if one != directory and one.is_dir())]
            merged = merge([load_archive(one, self._base_url, prefix=places[one]) for one in order])
            for bucket, key, path in merged.mounts:
                mount_object(bucket, key, path)
            self.stac.app, self.assets.app = create_app(merged), asset_app(merged)
            self.directories = list(wanted)
            self._record.write_text(json.dumps([str(one) for one in self.directories]))
            return merged.problems


def create_app(archive: Archive) -> Flask:
    """A WSGI application with the item search of STAC API 1.0 (GET and POST), to be mounted anywhere.

    Answers are sorted by time, latest first, in pages of 100 unless ``limit`` says otherwise; the ``next``
    link of a POST holds the body of the next request, that of a GET the query string. Parameters outside
    ``collections, ids, bbox, intersects, datetime, limit`` are refused with 400.

    Raises:
        UsageError: an item has no time or a broken geometry.
    """
    entries = _order(archive.items)
    app = Flask("glacierflow_stac")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    _add_catalogue(app, entries)
    _add_search(app, entries)

    @app.errorhandler(BadRequest)
    def _bad(error: BadRequest) -> ResponseReturnValue:
        return jsonify({"code": "BadRequest", "description": str(error)}), 400

    @app.errorhandler(HTTPException)
    def _other(error: HTTPException) -> ResponseReturnValue:
        return jsonify(
            {"code": error.name.replace(" ", ""), "description": error.description}
        ), error.code or 500

    return app


def _order(items: Iterable[dict[str, Any]]) -> list[Entry]:
    unique: dict[tuple[str, str], Entry] = {}
    for item in items:
        properties = item["properties"]
        try:
            time = _item_time(str(properties.get("datetime") or properties.get("start_datetime")))
            geometry = shape(item["geometry"]) if item.get("geometry") else None
        except (ValueError, TypeError, KeyError, AttributeError, ShapelyError) as error:
            raise UsageError(
                f"item {item['id']} of {item['collection']} cannot be searched: {error}"
            ) from error
        if geometry is not None:
            shapely.prepare(geometry)
        unique.setdefault((item["collection"], item["id"]), Entry(item, time, geometry))
    return sorted(unique.values(), key=lambda entry: entry.place, reverse=True)


def _item_time(text: str) -> dt.datetime:
    """Time of an item in UTC; recorded items exist that give a date alone."""
    time = dt.datetime.fromisoformat(text)
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def _add_catalogue(app: Flask, entries: list[Entry]) -> None:
    names = sorted({entry.item["collection"] for entry in entries})
    by_name = {(entry.item["collection"], entry.item["id"]): entry.item for entry in entries}

    @app.get("/")
    def landing() -> ResponseReturnValue:
        links = [
            _link("self", ""),
            _link("root", ""),
            _link("conformance", "conformance"),
            _link("data", "collections"),
            _link("search", "search", type=GEOJSON, method="GET"),
            _link("search", "search", type=GEOJSON, method="POST"),
            *(_link("child", f"collections/{name}") for name in names),
        ]
        return jsonify(
            {
                "type": "Catalog",
                "stac_version": "1.0.0",
                "id": "glacierflow-archive",
                "title": "glacierflow's local archive",
                "description": "The imagery archive that the embedded cloud serves.",
                "conformsTo": _CONFORMANCE,
                "links": links,
            }
        )

    @app.get("/conformance")
    def conformance() -> ResponseReturnValue:
        return jsonify({"conformsTo": _CONFORMANCE})

    @app.get("/collections")
    def collections() -> ResponseReturnValue:
        found = [_collection(name, entries) for name in names]
        return jsonify({"collections": found, "links": [_link("self", "collections"), _link("root", "")]})

    @app.get("/collections/<name>")
    def collection(name: str) -> ResponseReturnValue:
        if name not in names:
            return _not_found(f"there is no collection {name}")
        return jsonify(_collection(name, entries))

    @app.get("/collections/<name>/items/<item_id>")
    def item(name: str, item_id: str) -> ResponseReturnValue:
        found = by_name.get((name, item_id))
        if found is None:
            return _not_found(f"collection {name} has no item {item_id}")
        answer = jsonify(_with_links(found))
        answer.mimetype = GEOJSON
        return answer


def _add_search(app: Flask, entries: list[Entry]) -> None:
    @app.route("/search", methods=["GET", "POST"])
    def search() -> ResponseReturnValue:
        given = _body() if request.method == "POST" else _query_string()
        query = parse_query(given)
        hits = [entry for entry in entries if query.takes(entry)]
        rest = hits if query.after is None else [entry for entry in hits if entry.place < query.after]
        page = rest[: query.limit]
        links = [_link("root", "")]
        if len(rest) > len(page):
            links.append(_next_link(given, page[-1].token))
        answer = jsonify(
            {
                "type": "FeatureCollection",
                "stac_version": "1.0.0",
                "stac_extensions": [],
                "context": {"limit": query.limit, "matched": len(hits), "returned": len(page)},
                "numberMatched": len(hits),
                "numberReturned": len(page),
                "features": [_with_links(entry.item) for entry in page],
                "links": links,
            }
        )
        answer.mimetype = GEOJSON
        return answer


def _body() -> dict[str, Any]:
    given = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise BadRequest("the body of a search is a JSON object")
    return given


def _query_string() -> dict[str, Any]:
    given: dict[str, Any] = request.args.to_dict()
    for name in ("collections", "ids", "bbox"):
        if name in given:
            given[name] = given[name].split(",") if given[name] else []
    if "intersects" in given:
        try:
            given["intersects"] = json.loads(given["intersects"])
        except ValueError as error:
            raise BadRequest(f"intersects is not GeoJSON: {error}") from error
    return given


def _next_link(given: Mapping[str, Any], token: str) -> dict[str, Any]:
    if request.method == "POST":
        return _link(
            "next", "search", type=GEOJSON, method="POST", merge=False, body={**given, "next": token}
        )
    return _link(
        "next", f"search?{urlencode({**request.args.to_dict(), 'next': token})}", type=GEOJSON, method="GET"
    )


def _link(rel: str, path: str, **more: object) -> dict[str, Any]:
    return {"rel": rel, "type": "application/json", "href": request.root_url + path, **more}


def _with_links(item: dict[str, Any]) -> dict[str, Any]:
    parent = f"collections/{item['collection']}"
    kept = [link for link in item.get("links", []) if link["rel"] not in _OWN_LINKS and "://" in link["href"]]
    own = [
        _link("self", f"{parent}/items/{item['id']}", type=GEOJSON),
        _link("parent", parent),
        _link("collection", parent),
        _link("root", ""),
    ]
    return {**item, "links": [*own, *kept]}


def _collection(name: str, entries: list[Entry]) -> dict[str, Any]:
    times = [entry.time for entry in entries if entry.item["collection"] == name]
    areas = [
        entry.geometry for entry in entries if entry.item["collection"] == name and entry.geometry is not None
    ]
    bounds = list(shapely.total_bounds(areas).tolist()) if areas else [-180.0, -90.0, 180.0, 90.0]
    span = [time.isoformat().replace("+00:00", "Z") for time in (min(times), max(times))]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": f"{len(times)} items of {name} in the local archive",
        "license": "proprietary",
        "extent": {"spatial": {"bbox": [bounds]}, "temporal": {"interval": [span]}},
        "links": [_link("self", f"collections/{name}"), _link("parent", ""), _link("root", "")],
    }


def _not_found(what: str) -> ResponseReturnValue:
    return jsonify({"code": "NotFound", "description": what}), 404
