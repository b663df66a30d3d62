"""The credentials of a container's role, handed out over HTTP as ECS does, and counted."""

from __future__ import annotations

import datetime as dt
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Role:
    """In this process's environment; its first ``fails`` answers are 500."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = 0
        self.fetches = 0
        self.lives: list[dt.timedelta] = []
        """How long the next credentials live; an hour after that."""
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                with lock:
                    outer.fetches += 1
                    number, fails = outer.fetches, outer.fetches <= outer.fails
                    lives = outer.lives.pop(0) if outer.lives and not fails else dt.timedelta(hours=1)
                keys = {name: f"{name}{number}" for name in ("AccessKeyId", "SecretAccessKey", "Token")}
                ends = dt.datetime.now(dt.UTC) + lives
                body = json.dumps(keys | {"Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}).encode()
                self.send_response(500 if fails else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_port}/role"
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        # botocore waits a second before each of its three tries
        monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
