"""Real HTTP servers on this machine, with faults on demand."""

from __future__ import annotations

import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def serve(server: ThreadingHTTPServer) -> None:
    """Answer in a thread; one that is shut down ends at once, not at its next half second."""
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()


class Api:
    """A STAC API with one answer a page, and faults on demand."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.page_size = 1
        self.faults: list[int] = []
        """Statuses of the next answers to /search."""
        self.searches: list[dict[str, Any]] = []
        self.raw: bytes | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def send(self, status: int, body: Any) -> None:
                data = outer.raw if outer.raw is not None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                link = {"rel": "search", "href": f"{outer.url}/search", "method": "POST"}
                conforms = [f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "item-search")]
                catalog = {"type": "Catalog", "id": "test", "stac_version": "1.0.0", "description": "test"}
                self.send(200, catalog | {"conformsTo": conforms, "links": [link]})

            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.searches.append(query)
                if outer.faults:
                    self.send(outer.faults.pop(0), {"code": "fault", "description": "on purpose"})
                    return
                start = int(query.get("token", 0))
                end = start + outer.page_size
                links = []
                if end < len(outer.items):
                    body = query | {"token": str(end)}
                    links.append(
                        {"rel": "next", "href": f"{outer.url}/search", "method": "POST", "body": body}
                    )
                features = outer.items[start:end]
                self.send(200, {"type": "FeatureCollection", "features": features, "links": links})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        serve(self.server)


class RangeServer:
    """Static files with ranges; remembers bytes sent; answers a status for paths in ``faults``."""

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, int] = {}
        self.sent = 0
        self.paths: list[str] = []
        outer = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                if self.path in outer.faults:
                    self.send_error(outer.faults[self.path])
                else:
                    super().do_HEAD()

            def do_GET(self) -> None:
                outer.paths.append(self.path)
                if self.path in outer.faults:
                    self.send_error(outer.faults[self.path])
                    return
                file = Path(self.translate_path(self.path))
                if not file.is_file():
                    self.send_error(404)
                    return
                data = file.read_bytes()
                wanted = self.headers.get("Range")
                if wanted:
                    first, last = wanted.removeprefix("bytes=").split("-")
                    part = data[int(first) : min(int(last), len(data) - 1) + 1]
                    self.send_response(206)
                    end = int(first) + len(part) - 1
                    self.send_header("Content-Range", f"bytes {first}-{end}/{len(data)}")
                else:
                    part = data
                    self.send_response(200)
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                outer.sent += len(part)
                self.wfile.write(part)

        handler = functools.partial(Handler, directory=str(folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        serve(self.server)
