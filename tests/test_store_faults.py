"""A bucket whose answers break inside the body, and whose refusals pass: over real sockets."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from roles import Role

from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, DataError, StoreError, UsageError
from glacierflow.store import S3Store

pytestmark = pytest.mark.usefixtures("waits")

BODY = bytes(range(256)) * 400


class Bucket:
    """S3 with one object of ``BODY``; ``plan`` names the fault of each request, by its number from 0."""

    def __init__(self) -> None:
        self.plan: Callable[[int], str | None] = lambda _number: None
        self.requests = 0
        self.puts: list[bytes] = []
        self.tokens: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                fault = outer.next(self)
                if fault is not None and fault.startswith("4"):
                    self.refuse(fault)
                    return
                crc = zlib.crc32(BODY) ^ (fault == "checksum")
                self.send_response(200)
                self.send_header("ETag", '"made-up"')
                self.send_header("x-amz-checksum-crc32", base64.b64encode(crc.to_bytes(4, "big")).decode())
                self.send_header("Content-Length", str(len(BODY)))
                self.end_headers()
                if fault in ("cut", "reset"):
                    self.wfile.write(BODY[: len(BODY) // 2])
                    self.wfile.flush()
                    if fault == "reset":
                        linger = struct.pack("ii", 1, 0)
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        self.connection.close()
                    self.close_connection = True
                    return
                self.wfile.write(BODY)

            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                fault = outer.next(self)
                if fault is not None:
                    self.refuse(fault)
                    return
                outer.puts.append(content)
                self.send_response(200)
                self.send_header("ETag", '"made-up"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def refuse(self, fault: str) -> None:
                status, code = fault.split(" ")
                body = f"<Error><Code>{code}</Code></Error>".encode()
                self.send_response(int(status))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def next(self, handler: BaseHTTPRequestHandler) -> str | None:
        self.tokens.append(handler.headers.get("X-Amz-Security-Token"))
        self.requests += 1
        return self.plan(self.requests - 1)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    bucket = Bucket()
    yield bucket
    bucket.server.shutdown()
    bucket.server.server_close()


@pytest.fixture
def store(bucket: Bucket) -> S3Store:
    return S3Store("made-up", Cloud(endpoint_url=bucket.url, retries=0))


ONCE = ["cut", "reset", "checksum", "403 AccessDenied"]


@pytest.mark.parametrize("fault", ONCE)
def test_one_odd_answer_is_asked_again(bucket: Bucket, store: S3Store, fault: str) -> None:
    bucket.plan = lambda number: fault if number % 2 == 0 else None
    assert store.get("a") == BODY
    assert store.get_head("a", len(BODY)) == BODY
    assert store.sha256("a") == hashlib.sha256(BODY).hexdigest()
    assert bucket.requests == 6


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_body_that_breaks_again_and_again_is_worth_another_attempt(
    bucket: Bucket, store: S3Store, fault: str
) -> None:
    bucket.plan = lambda _number: fault
    with pytest.raises(StoreError, match="s3://made-up/a: "):
        store.get("a")
    assert bucket.requests == 5


def test_bytes_that_changed_are_known_at_the_second_look(bucket: Bucket, store: S3Store) -> None:
    bucket.plan = lambda _number: "checksum"
    with pytest.raises(DataError, match="its bytes changed"):
        store.sha256("a")
    assert bucket.requests == 2
    assert store.get_head("a", len(BODY)) is None


def test_a_refusal_with_good_credentials_is_believed_the_second_time(bucket: Bucket, store: S3Store) -> None:
    bucket.plan = lambda _number: "403 AccessDenied"
    with pytest.raises(UsageError, match="S3 answers AccessDenied"):
        store.get("a")
    with pytest.raises(UsageError, match="S3 answers AccessDenied"):
        store.put("a", b"x")
    assert bucket.requests == 4


def test_a_token_of_a_role_is_fetched_anew_and_one_of_a_person_is_told(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.plan = lambda number: "400 ExpiredToken" if number in (0, 2) else None
    cloud = Cloud(endpoint_url=bucket.url, retries=0)
    with monkeypatch.context() as patch:
        role = Role(patch)
        store = S3Store("made-up", cloud)
        assert store.get("a") == BODY
        (tmp_path / "image").write_bytes(b"whole")
        assert store.put_file("a", tmp_path / "image") == '"made-up"'
        role.close()
    assert bucket.tokens == ["Token1", "Token2", "Token2", "Token3"]
    assert b"whole" in bucket.puts[0]
    bucket.plan = lambda _number: "400 ExpiredToken"
    with pytest.raises(CredentialsError, match="ExpiredToken"):
        S3Store("made-up", cloud).get("a")
