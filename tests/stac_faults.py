"""A STAC API whose answers to /search follow a script of faults."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[[BaseHTTPRequestHandler, bytes], None]
"""What is done with the answer instead of sending it."""


def answer(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def half(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """The connection ends inside the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """The connection is reset, without any answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def stall(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """The headers come, the body does not."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    time.sleep(3)


def drip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A byte now and then, each in time for a timeout between bytes."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    try:
        for place in range(30):
            handler.wfile.write(body[place : place + 1])
            time.sleep(0.1)
    except OSError:
        pass
    handler.close_connection = True


def status(code: int, **headers: str) -> Fault:
    return lambda handler, body: answer(handler, b"{}", code, **headers)


def content(body: bytes) -> Fault:
    return lambda handler, _: answer(handler, body)


def edit(change: Callable[[dict[str, Any]], None]) -> Fault:
    """A good answer with something changed in it."""

    def send(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        page = json.loads(body)
        change(page)
        answer(handler, json.dumps(page).encode())

    return send


def zipped(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    answer(handler, gzip.compress(body), Content_Encoding="gzip")


class FaultyApi:
    """Pages of one item each; ``script[n]`` is done to the n-th answer, None is nothing."""

    def __init__(self, ids: list[str], script: list[Fault | None]) -> None:
        self.asked: list[str] = []
        """Token of each request to /search."""
        self.at: list[float] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                if self.path.startswith("/search?token="):
                    token = self.path.rpartition("=")[2]
                    outer.asked.append(token)
                    answer(self, json.dumps(outer.page(int(token), {})).encode())
                    return
                if self.path.startswith("/collections/"):
                    answer(self, json.dumps(outer.collection).encode())
                    return
                link = {"rel": "search", "href": f"{outer.url}/search", "method": "POST"}
                conforms = [f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "item-search")]
                catalog = {"type": "Catalog", "id": "test", "stac_version": "1.0.0", "description": "test"}
                answer(self, json.dumps(catalog | {"conformsTo": conforms, "links": [link]}).encode())

            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                token = query.get("token", "0")
                outer.asked.append(token)
                outer.at.append(time.monotonic())
                scripted = script[len(outer.asked) - 1] if len(outer.asked) <= len(script) else None
                fault = scripted or outer.fault(query)
                body = json.dumps(outer.page(int(token), query)).encode()
                if fault is None:
                    answer(self, body)
                else:
                    fault(self, body)

        self.ids = ids
        self.collection: dict[str, Any] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def fault(self, query: dict[str, Any]) -> Fault | None:  # noqa: ARG002
        """What is done with an answer by what was asked."""
        return None

    def page(self, start: int, query: dict[str, Any]) -> dict[str, Any]:
        features = [{"id": item_id} for item_id in self.ids[start : start + 1]]
        links = []
        if start + 1 < len(self.ids):
            body = query | {"token": str(start + 1)}
            links.append({"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": body})
        return {"type": "FeatureCollection", "features": features, "links": links}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
