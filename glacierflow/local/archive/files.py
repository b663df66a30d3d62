"""An archive: a directory of STAC items with their assets beside them; the files are served with ranges."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from glacierflow.errors import UsageError
from glacierflow.store import split_s3_uri

StartResponse = Callable[[str, list[tuple[str, str]]], object]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

K = TypeVar("K")

_REMOTE = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_CHUNK = 1 << 18
_MEDIA_TYPES = {".tif": "image/tiff", ".tiff": "image/tiff", ".json": "application/json", ".png": "image/png"}


@dataclass(frozen=True, slots=True)
class Archive:
    """What a directory of items offers."""

    items: tuple[dict[str, Any], ...]
    """STAC items, their own assets at absolute hrefs."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Asset files by the path at which ``asset_app`` serves them."""
    mounts: tuple[tuple[str, str, Path], ...] = ()
    """(bucket, key, file): the S3 keys at which the items say their assets lie."""
    problems: tuple[str, ...] = ()
    """One sentence each: what in the directory cannot be served."""


def load_archive(directory: Path, base_url: str, *, prefix: str = "") -> Archive:
    """Read all STAC items below a directory.

    Assets at relative hrefs become ``{base_url}/archive/{prefix}/{path}``; those with an
    ``alternate.s3.href``, or at an s3:// href whose file lies beside the item, keep that href and are mounted
    there. Remote hrefs stay as they are. An asset whose file is missing stays in the item and is a problem.

    Args:
        directory: searched to any depth; JSON files that are no STAC items are passed over.
        base_url: where the server will answer, such as ``http://127.0.0.1:5000``.
        prefix: put before the paths, to keep several directories apart.

    Raises:
        UsageError: the directory is missing or holds no STAC item.
    """
    if not directory.is_dir():
        raise UsageError(
            f"the archive {directory} is not a directory",
            next_step="name a directory of STAC item files, or make one with `glacierflow local sample DIR`",
        )
    reading = _Reading(directory.resolve(), f"{base_url.rstrip('/')}/archive/", prefix)
    for path in sorted(reading.root.rglob("*.json")):
        if not path.name.startswith("."):  # hidden files are being written, or are another program's
            reading.add(path)
    if not reading.items and not reading.problems:
        raise UsageError(
            f"the archive {directory} holds no STAC item",
            next_step="items are JSON files of type Feature with a stac_version and a collection",
        )
    mounts = tuple((bucket, key, file) for (bucket, key), file in reading.mounts.items())
    return Archive(tuple(reading.items), reading.files, mounts, tuple(reading.problems))


def merge(archives: Sequence[Archive]) -> Archive:
    """All archives as one; of an item or S3 key that two of them hold the first wins: a problem to tell.

    Raises:
        UsageError: two files claim the same path.
    """
    items: dict[tuple[str, str], dict[str, Any]] = {}
    files: dict[str, Path] = {}
    mounts: dict[tuple[str, str], Path] = {}
    problems = [problem for archive in archives for problem in archive.problems]
    for archive in archives:
        for item in archive.items:
            key = (item["collection"], item["id"])
            if key in items:
                problems.append(f"item {key[1]} of {key[0]} is there more than once; the first is served")
            items.setdefault(key, item)
        for path, file in archive.files.items():
            _claim(files, path, file, f"path {path}")
        for bucket, key_in_bucket, file in archive.mounts:
            if mounts.setdefault((bucket, key_in_bucket), file) != file:
                problems.append(f"s3://{bucket}/{key_in_bucket} is there more than once; the first is served")
    return Archive(
        tuple(items.values()),
        files,
        tuple((bucket, key_in_bucket, file) for (bucket, key_in_bucket), file in mounts.items()),
        tuple(problems),
    )


def _claim(claimed: dict[K, Path], key: K, file: Path, what: str) -> None:
    if claimed.setdefault(key, file) != file:
        raise UsageError(
            f"two archives have a file for the {what}: {claimed[key]} and {file}",
            next_step="serve one of them, or load them with different prefixes",
        )


class _Reading:
    """Collects what one directory holds."""

    def __init__(self, root: Path, url: str, prefix: str) -> None:
        self.root = root
        self.items: list[dict[str, Any]] = []
        self.files: dict[str, Path] = {}
        self.mounts: dict[tuple[str, str], Path] = {}
        self.problems: list[str] = []
        self._url = url
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""

    def add(self, path: Path) -> None:
        """Take the file in, if it is a STAC item."""
        where = path.relative_to(self.root)
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            self.problems.append(f"{where} is not readable JSON: {error}")
            return
        if not isinstance(content, dict) or content.get("type") != "Feature" or "stac_version" not in content:
            return
        wanted: dict[str, type] = {"id": str, "collection": str, "properties": dict, "assets": dict}
        missing = [key for key, kind in wanted.items() if not isinstance(content.get(key), kind)]
        if missing:
            self.problems.append(f"{where} is no usable STAC item: {', '.join(missing)} missing")
            return
        item = copy.deepcopy(content)
        for key in content["assets"]:
            if not self._place(item["assets"][key], path, f"{where}: asset {key}"):
                del item["assets"][key]
        self.items.append(item)

    def _place(self, asset: dict[str, Any], item_file: Path, what: str) -> bool:
        """Give the asset the hrefs at which it will be served; False where it can have none."""
        href = asset.get("href")
        if not isinstance(href, str) or not href:
            self.problems.append(f"{what} has no href")
            return False
        if href.startswith("s3://"):
            beside = item_file.parent / href.rpartition("/")[2]
            if beside.is_file():
                self._mount(href, beside, what)
            return True
        if _REMOTE.match(href):
            return True
        file = (item_file.parent / unquote(href)).resolve()
        if not file.is_relative_to(self.root):
            self.problems.append(f"{what} at {href} lies outside the archive and is not served")
            return False
        path = self._prefix + file.relative_to(self.root).as_posix()
        asset["href"] = self._url + quote(path)
        if not file.is_file():
            self.problems.append(f"{what} at {href} is not there")
            return True
        self.files[path] = file
        s3_href = (asset.get("alternate") or {}).get("s3", {}).get("href")
        if s3_href:
            self._mount(s3_href, file, what)
        return True

    def _mount(self, s3_href: str, file: Path, what: str) -> None:
        try:
            bucket, key = split_s3_uri(s3_href)
        except UsageError as error:
            self.problems.append(f"{what}: {error.message}")
            return
        if self.mounts.setdefault((bucket, key), file) != file:
            self.problems.append(f"{what}: another file is already at {s3_href}")


def asset_app(archive: Archive) -> WsgiApp:
    """A WSGI application that serves the archive's files, and nothing else, with HTTP ranges.

    It answers GET and HEAD; its paths are those of ``Archive.files`` (mount it at ``/archive``).
    """
    files = dict(archive.files)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method not in {"GET", "HEAD"}:
            return _refuse(start_response, "405 Method Not Allowed", [("Allow", "GET, HEAD")])
        # WSGI hands the path over as latin-1, whatever its bytes were
        wanted = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace").lstrip("/")
        file = files.get(wanted)
        if file is None or not file.is_file():
            return _refuse(start_response, "404 Not Found", [])
        return _send(file, environ.get("HTTP_RANGE", ""), start_response, body=method == "GET")

    return app


def _refuse(start_response: StartResponse, status: str, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    start_response(status, [*headers, ("Content-Length", "0")])
    return []


def _send(file: Path, wanted: str, start_response: StartResponse, *, body: bool) -> Iterable[bytes]:
    size = file.stat().st_size
    headers = [
        ("Accept-Ranges", "bytes"),
        ("Content-Type", _MEDIA_TYPES.get(file.suffix.lower(), "application/octet-stream")),
    ]
    span = _parse_range(wanted, size)
    if span is not None and span[0] >= span[1]:
        return _refuse(
            start_response, "416 Range Not Satisfiable", [*headers, ("Content-Range", f"bytes */{size}")]
        )
    start, stop = span or (0, size)
    status = "200 OK"
    if span is not None:
        status = "206 Partial Content"
        headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    start_response(status, [*headers, ("Content-Length", str(stop - start))])
    return _pieces(file, start, stop) if body else []


def _parse_range(text: str, size: int) -> tuple[int, int] | None:
    """(first, end) of a single byte range, empty where it cannot be satisfied; None: send everything.

    Several ranges in one header are answered with the whole file, as RFC 9110 allows.
    """
    found = _RANGE.match(text.replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        return (max(0, size - int(last)), size) if int(last) else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _pieces(file: Path, start: int, stop: int) -> Iterator[bytes]:
    with file.open("rb") as source:
        source.seek(start)
        while start < stop:
            piece = source.read(min(_CHUNK, stop - start))
            if not piece:
                return
            start += len(piece)
            yield piece
