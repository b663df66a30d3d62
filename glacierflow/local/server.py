"""The server process of the embedded cloud: one HTTP port for AWS, the STAC API and the archive's files.

Started by :mod:`glacierflow.local.control` as ``python -m glacierflow.local.server --home DIR --port P``.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from glacierflow.aws import EMBEDDED_ACCESS_KEY
from glacierflow.local import batch_backend, enforcement, s3_storage, state
from glacierflow.local.archives import Archives
from glacierflow.local.control_app import CONTROL_PREFIX, ControlApp
from glacierflow.local.infrastructure import Infrastructure
from glacierflow.local.moto_private import check_moto
from glacierflow.local.options import DEFAULT_IMAGE, CloudOptions
from glacierflow.local.requester_pays import RequesterPays

__all__ = ["EmbeddedServer", "main"]

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
STOPPED = "The embedded cloud was stopped while the job was RUNNING"
TASK_STOPPED = "The embedded cloud was stopped while the task was RUNNING"
CHILDREN_GRACE_S = 5.0
"""Real seconds running children get at shutdown to leave by themselves."""

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _QuietHandler(MotoRequestHandler):  # type: ignore[misc, unused-ignore]
    """No line for every request; errors still go to the log."""

    def log_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Say nothing."""


class _Gate:
    """Marks the state as changed, and keeps web pages out.

    Submitting a job runs a command, so a page in the user's browser must not be able to do it: browsers name
    the page's origin, and a page that rebound its own host name shows it as Host.
    """

    _READS = ("/v1/describe", "/v1/list")

    def __init__(
        self, app: WsgiApp, port: int, changed: Callable[[], None], infrastructure: Infrastructure
    ) -> None:
        self._app = app
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self._changed = changed
        self._infrastructure = infrastructure

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_ORIGIN" in environ or environ.get("HTTP_HOST") not in self._hosts:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"The embedded cloud answers programs on this machine, not web pages.\n"]
        self._infrastructure.on_request(environ)
        answer = self._app(environ, start_response)
        reads = environ["PATH_INFO"].startswith(self._READS)
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} and not reads:
            self._changed()
        return answer


class EmbeddedServer:
    """Everything put together."""

    def __init__(self, options: CloudOptions, port: int, outer: Mapping[str, str]) -> None:
        home = options.home
        check_moto()
        s3_storage.install(home / "state" / "objects")
        self._ends: list[Callable[[], None]] = []
        """What ends the children of services other than AWS Batch."""
        self.infrastructure = Infrastructure(
            home / "state", lambda: self._install_services(options, port, outer)
        )
        self.saver = state.Saver(home / "state", self.infrastructure)
        self.batch = batch_backend.BatchCloud(options, outer, self.saver.changed)
        batch_backend.install(self.batch)
        enforcement.install()
        moto_app = DomainDispatcherApplication(create_backend_app)
        payers = RequesterPays(moto_app, self.saver.changed)
        state.load(home / "state", self.batch.scheduler, payers)
        self.archives = Archives(options.endpoint, home / "archives.json")
        self.archives.restore()
        control = ControlApp(options, self.archives, self.infrastructure, self.shut_down)
        inner = DispatcherMiddleware(payers, {CONTROL_PREFIX: control})
        aws = _Gate(inner, port, self.saver.changed, self.infrastructure)
        app = DispatcherMiddleware(aws, {"/stac": self.archives.stac, "/archive": self.archives.assets})
        # Any: whether it is the threaded kind is decided at run time
        server: Any = make_server(HOST, port, app, threaded=True, request_handler=_QuietHandler)
        server.daemon_threads = True
        self._server = server
        self._stopping = threading.Event()
        self.saver.start(self.batch.scheduler, payers)

    def _install_services(self, options: CloudOptions, port: int, outer: Mapping[str, str]) -> None:
        """What else really runs; it imports the other half of moto, so nobody waits for it in vain."""
        from glacierflow.local import functions, machines, tasks

        invocations = functions.FunctionRunner(options, self.batch.log_line, outer)
        functions.install(invocations)
        runner = tasks.TaskRunner(options, self.batch.runner, self.batch.log_line)
        tasks.install(runner)
        machines.install(port)
        self._ends += [invocations.stop_all, lambda: runner.stop_all(TASK_STOPPED, CHILDREN_GRACE_S)]

    def serve(self) -> None:
        """Answer requests until :meth:`shut_down`, then save."""
        self._server.serve_forever(poll_interval=0.05)
        self._server.server_close()
        self.saver.save()
        _log.info("stopped")

    def shut_down(self) -> None:
        """End the children, which still reach the server meanwhile, then stop; returns at once."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        threading.Thread(target=self._shut_down, name="shut-down").start()

    def _shut_down(self) -> None:
        self.batch.scheduler.close()
        for end in self._ends:
            end()
        self.batch.executor.stop_all(STOPPED, CHILDREN_GRACE_S)
        self._server.shutdown()


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m glacierflow.local.server")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--vcpus", type=float, default=float(os.cpu_count() or 1))
    parser.add_argument("--clock", type=float, default=1.0)
    parser.add_argument("--spot-reclaim", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executor", choices=("process", "docker"), default="process")
    parser.add_argument("--image", default=DEFAULT_IMAGE)
    return parser.parse_args(argv)


def _forget_real_cloud() -> Mapping[str, str]:
    """Take everything about the user's real AWS out of this process; returns the environment as it was."""
    outer = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = EMBEDDED_ACCESS_KEY
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    return outer


def main(argv: list[str]) -> None:
    """Run the server until SIGTERM, SIGINT or a request to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    given = _arguments(argv)
    options = CloudOptions(
        home=given.home,
        endpoint=f"http://{HOST}:{given.port}",
        vcpus=given.vcpus,
        clock=given.clock,
        spot_reclaim=given.spot_reclaim,
        seed=given.seed,
        executor=given.executor,
        image=given.image,
    )
    server = EmbeddedServer(options, given.port, _forget_real_cloud())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.shut_down())
    _log.info("serving %s from %s", options.endpoint, options.home)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
