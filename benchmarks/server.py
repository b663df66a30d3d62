"""Serve an archive as a distant one: a delay before every answer, and one link of limited bandwidth for all.

HTTP/1.1 with keep-alive and ranges. Files go from the page cache to the socket by sendfile, so that the
server takes little of the processor that the measured program needs. TLS, TCP slow start and the limits that
S3 sets to a single stream are not modelled.

    python benchmarks/server.py ARCHIVE [--port 8090] [--latency-ms 30] [--rate-mb-s 125]

``/stac`` is the STAC API, ``/archive/...`` the files, ``/counters`` what was served since the start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import Flask

from glacierflow.local.archive.files import load_archive
from glacierflow.local.archive.stac_api import create_app

PIECE = 1 << 18
"""Bytes that one connection may send before the others have their turn."""
_SLACK_S = 0.02
"""How much a late timer may be made up for, so that the link is really as fast as it says."""


@dataclass
class Counters:
    """What was served; ``/counters`` itself is not counted."""

    connections: int = 0
    requests: int = 0
    bytes: int = 0
    """Of bodies."""
    statuses: dict[str, int] = field(default_factory=dict)


class Link:
    """A shared link: whoever sends reserves the next free time on it."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    async def carry(self, size: int) -> None:
        """Return when so many bytes would have arrived."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - _SLACK_S) + size / self._bytes_per_s
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a request that matter here."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Answers requests for one archive."""

    stac: Flask
    base_url: str
    files: dict[str, Path]
    latency_s: float
    link: Link
    counters: Counters = field(default_factory=Counters)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until the other side closes it."""
        self.counters.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await self._answer(await _read_request(reader), writer)
        writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.path == "/counters":
            await self._send(writer, 200, json.dumps(asdict(self.counters)).encode(), counted=False)
            return
        self.counters.requests += 1
        await asyncio.sleep(self.latency_s)
        if request.path == "/stac" or request.path.startswith("/stac/"):
            answer = await asyncio.to_thread(self._ask_stac, request)
            await self._send(writer, *answer)
            return
        path = self.files.get(unquote(request.path).removeprefix("/archive/"))
        if path is None:
            await self._send(writer, 404, b"")
        else:
            await self._send_file(writer, path, request)

    def _ask_stac(self, request: Request) -> tuple[int, bytes]:
        answer = self.stac.test_client().open(
            request.path.removeprefix("/stac") or "/",
            base_url=f"{self.base_url}/stac",
            method=request.method,
            query_string=request.query,
            data=request.body,
            content_type=request.headers.get("content-type"),
        )
        return answer.status_code, answer.data

    async def _send(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, *, counted: bool = True
    ) -> None:
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        if counted:
            self._count(status, len(body))
            await self.link.carry(len(body))
        writer.write(head.encode() + body)
        await writer.drain()

    async def _send_file(self, writer: asyncio.StreamWriter, path: Path, request: Request) -> None:
        size = path.stat().st_size
        start, stop, status = _span(request.headers.get("range"), size)
        head = [
            f"HTTP/1.1 {status} -",
            "Content-Type: image/tiff",
            "Accept-Ranges: bytes",
            f'ETag: "{path.stat().st_ino:x}"',
            f"Content-Length: {stop - start}",
        ]
        if status == 206:
            head.append(f"Content-Range: bytes {start}-{stop - 1}/{size}")
        elif status == 416:
            head.append(f"Content-Range: bytes */{size}")
        writer.write("\r\n".join([*head, "", ""]).encode())
        await writer.drain()
        if request.method == "HEAD":
            self._count(status, 0)
            return
        self._count(status, stop - start)
        loop = asyncio.get_running_loop()
        with path.open("rb") as source:
            for offset in range(start, stop, PIECE):
                piece = min(PIECE, stop - offset)
                await self.link.carry(piece)
                await loop.sendfile(writer.transport, source, offset, piece)

    def _count(self, status: int, size: int) -> None:
        self.counters.bytes += size
        self.counters.statuses[str(status)] = self.counters.statuses.get(str(status), 0) + 1


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Request(method, url.path, url.query, headers, body)


def _span(wanted: str | None, size: int) -> tuple[int, int, int]:
    """(first, end, status) of a single byte range; several in one header are answered with the whole file."""
    if wanted is None or not wanted.startswith("bytes=") or "," in wanted:
        return 0, size, 200
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size, 206
    if int(first) >= size:
        return 0, 0, 416
    return int(first), min(size, int(last) + 1) if last else size, 206


async def run(directory: Path, port: int, latency_s: float, bytes_per_s: float) -> None:
    """Serve until killed; tells its address on the first line of standard output."""
    listening = socket.create_server(("127.0.0.1", port), backlog=128)
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    archive = load_archive(directory, base_url)
    server = Server(create_app(archive), base_url, dict(archive.files), latency_s, Link(bytes_per_s))
    answering = await asyncio.start_server(server.serve, sock=listening)
    print(base_url, flush=True)
    await answering.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free one")
    parser.add_argument("--latency-ms", type=float, default=30.0, help="before every answer")
    parser.add_argument("--rate-mb-s", type=float, default=125.0, help="of all connections together")
    given: Any = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.archive, given.port, given.latency_ms / 1e3, given.rate_mb_s * 1e6))


if __name__ == "__main__":
    main()
