"""A server of ranges that misbehaves on purpose, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = b"<html><body>We are down for maintenance</body></html>"


REFUSALS = {
    "expired": (400, b"<Error><Code>ExpiredToken</Code></Error>"),
    "skewed": (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>"),
    "denied": (403, b"<Error><Code>AccessDenied</Code></Error>"),
    "forbidden": (403, b'{"message":"Forbidden"}'),
    "dripping": (404, bytes(4096)),
}


class FaultyServer:
    """Serves bytes under names; ``plan`` decides the fault of each request.

    A fault is a name below, a status, or the URL to redirect to; None answers properly. The plan is asked
    with the number of the request (from 0) and its first byte; ``faults`` decides by the file's name, asked
    with the first byte.
    """

    def __init__(
        self, files: dict[str, bytes], plan: Callable[[int, int], Any] = lambda _n, _f: None
    ) -> None:
        self.files, self.plan = files, plan
        self.etags: dict[str, str] = {name: f'"{name}-1"' for name in files}
        self.faults: dict[str, Callable[[int], Any]] = {}
        self.requests = 0
        self.connections: set[tuple[str, int]] = set()
        self.headers: list[dict[str, str]] = []
        self.release = threading.Event()
        """Set to end the requests that stall."""
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                with lock:
                    number = outer.requests
                    outer.requests += 1
                    outer.connections.add(self.client_address)
                    outer.headers.append(dict(self.headers.items()))
                    fault = outer.plan(number, first)
                    if fault is None and name in outer.faults:
                        fault = outer.faults[name](first)
                    if fault == "changed":
                        outer.etags[name] = f'"{name}-{number}"'
                outer.answer(self, name, first, last, fault)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, name: str, first: int, last: int, fault: Any) -> None:
        data = self.files[name]
        if isinstance(fault, int):
            code = b"SlowDown" if fault == 503 else b"Whatever"
            self.send(handler, fault, b"<Error><Code>" + code + b"</Code></Error>", {"Retry-After": "0"})
            return
        if isinstance(fault, str) and fault.startswith(("http", "file")):
            self.send(handler, 302, b"", {"Location": fault})
            return
        if fault in REFUSALS:
            self.send(handler, *REFUSALS[fault], {}, "drip" if fault == "dripping" else None)
            return
        if fault == "drop":
            handler.close_connection = True
            handler.connection.close()
            return
        if fault == "stall":
            self.release.wait(30)
            handler.close_connection = True
            return
        if fault == "page":
            self.send(handler, 200, PAGE, {"Content-Type": "text/html"})
            return
        if fault == "whole file":
            self.send(handler, 200, data, {})
            return
        if first >= len(data):
            self.send(handler, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        part = data[first : last + 1]
        start = first + 7 if fault == "another range" else first
        if fault == "flipped":
            middle = len(part) // 2
            part = part[:middle] + bytes([part[middle] ^ 0x55]) + part[middle + 1 :]
        headers = {
            "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}",
            "ETag": self.etags[name],
        }
        self.send(handler, 206, part, headers, fault)

    def send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str],
        fault: Any = None,
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault == "cut":
            handler.wfile.write(body[: len(body) // 2])
            handler.close_connection = True
            return
        if fault == "drip":
            for at in range(0, len(body), 100):
                if self.release.wait(0.05):
                    break
                handler.wfile.write(body[at : at + 100])
                handler.wfile.flush()
            handler.close_connection = True
            return
        handler.wfile.write(body)
