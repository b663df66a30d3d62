"""The server's own requests: is it there, serve this archive, prepare this bucket, stop."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from glacierflow.errors import GlacierflowError
from glacierflow.local.archives import Archives
from glacierflow.local.bootstrap import bootstrap
from glacierflow.local.infrastructure import Infrastructure
from glacierflow.local.options import CloudOptions

__all__ = ["CONTROL_PREFIX", "ControlApp"]

CONTROL_PREFIX = "/_glacierflow"

Json = dict[str, Any]


class ControlApp:
    """WSGI application below :data:`CONTROL_PREFIX`; answers JSON."""

    def __init__(
        self,
        options: CloudOptions,
        archives: Archives,
        infrastructure: Infrastructure,
        stop: Callable[[], None],
    ) -> None:
        self._options = options
        self._archives = archives
        self._infrastructure = infrastructure
        self._stop = stop
        self._lock = threading.Lock()
        self._actions: dict[tuple[str, str], Callable[[Json], Json]] = {
            ("GET", "/health"): self._health,
            ("POST", "/archive"): self._archive,
            ("POST", "/bootstrap"): self._bootstrap,
            ("POST", "/shutdown"): self._shutdown,
        }

    def __call__(self, environ: Json, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        action = self._actions.get((environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer: Json
        try:
            if action is None:
                status, answer = "404 Not Found", {"error": "there is no such request"}
            else:
                status, answer = "200 OK", action(json.loads(body or b"{}"))
        except GlacierflowError as error:
            status, answer = "400 Bad Request", {"error": error.message, "next_step": error.next_step}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def _health(self, _: Json) -> Json:
        directories = [str(directory) for directory in self._archives.directories]
        return {
            "pid": os.getpid(),
            "home": str(self._options.home),
            "archives": directories,
            "executor": self._options.executor,
        }

    def _archive(self, request: Json) -> Json:
        return {"problems": self._archives.add(Path(request["directory"]))}

    def _bootstrap(self, request: Json) -> Json:
        region, bucket = request["region"], request["bucket"]
        with self._lock:
            bootstrap(self._options.endpoint, self._infrastructure, region=region, bucket=bucket)
        return {}

    def _shutdown(self, _: Json) -> Json:
        self._stop()
        return {}
