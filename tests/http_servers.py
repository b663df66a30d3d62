"""Real HTTP servers on this machine, with faults on demand."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import threading
from collections.abc import Callable
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
    """Static files with ranges; remembers bytes sent; answers a status for paths in ``faults``.

    Nobody is answered while ``answers`` is not set.
    """

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, int] = {}
        self.sent = 0
        self.paths: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
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
                outer.answers.wait()
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


class CallProxy:
    """Hands calls on to another server, and does something when one of them is done."""

    def __init__(self, target: str) -> None:
        self.calls: list[str] = []
        """``METHOD path`` of each, in order."""
        self.after: Callable[[str], None] = lambda call: None
        """Called with a call that is done, before its answer is given."""
        host = target.removeprefix("http://")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def hand_on(self) -> None:
                call = f"{self.command} {self.path}"
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.calls.append(call)
                server = http.client.HTTPConnection(host, timeout=60)
                server.request(self.command, self.path, body, dict(self.headers) | {"Host": host})
                answer = server.getresponse()
                data = answer.read()
                server.close()
                outer.after(call)
                with contextlib.suppress(ConnectionError):
                    self.send_response_only(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                            self.send_header(name, value)
                    length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(data))
                    self.send_header("Content-Length", length or "0")
                    self.end_headers()
                    self.wfile.write(data)

        for verb in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            setattr(Handler, f"do_{verb}", Handler.hand_on)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        serve(self.server)
