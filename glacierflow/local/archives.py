"""The archives the server offers at this moment: STAC API, asset files and S3 mounts, replaced together."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glacierflow.errors import UsageError
from glacierflow.local.archive import Archive, asset_app, load_archive, merge
from glacierflow.local.s3_storage import mount_object
from glacierflow.local.stac_api import create_app

__all__ = ["Archives", "Switch"]

_log = logging.getLogger(__name__)


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
