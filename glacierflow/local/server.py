"""The server process of the embedded cloud: one HTTP port for AWS, the STAC API and the archive's files.

Started by :mod:`glacierflow.local.control` as ``python -m glacierflow.local.server --home DIR --port P``.
"""

from __future__ import annotations

import argparse
import json
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

from glacierflow.cloud import EMBEDDED_ACCESS_KEY, Cloud
from glacierflow.errors import GlacierflowError, UnavailableError
from glacierflow.local import iam, s3, state
from glacierflow.local.archive.stac_api import Archives
from glacierflow.local.batch import backend
from glacierflow.local.batch.executor import METADATA_PREFIX
from glacierflow.local.iam import RequesterPays
from glacierflow.local.infrastructure import Infrastructure
from glacierflow.local.moto_private import check_moto
from glacierflow.local.options import ACCOUNT_ID, DEFAULT_IMAGE, CloudOptions
from glacierflow.stack.deploy import apply, describe, propose
from glacierflow.stack.messages import ended_well, reasons
from glacierflow.stack.templates import MAIN, load_template

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
STOPPED = "The embedded cloud was stopped while the job was RUNNING"
TASK_STOPPED = "The embedded cloud was stopped while the task was RUNNING"
CHILDREN_GRACE_S = 5.0
"""Real seconds running children get at shutdown to leave by themselves."""

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

CONTROL_PREFIX = "/_glacierflow"

Json = dict[str, Any]

STACK = "glacierflow"


class _QuietHandler(MotoRequestHandler):  # type: ignore[misc, unused-ignore]
    """No line for every request; errors still go to the log."""

    def log_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Say nothing."""


class _Gate:
    """Keeps web pages out of everything: AWS, the STAC API and the archive's files.

    Submitting a job runs a command, so a page in the user's browser must not be able to do it: browsers name
    the page's origin, and a page that rebound its own host name shows it as Host.
    """

    def __init__(self, app: WsgiApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_ORIGIN" in environ or environ.get("HTTP_HOST") not in self._hosts:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"The embedded cloud answers programs on this machine, not web pages.\n"]
        return self._app(environ, start_response)


class _Noticed:
    """Marks the state as changed."""

    _READS = ("/v1/describe", "/v1/list")

    def __init__(self, app: WsgiApp, changed: Callable[[], None], infrastructure: Infrastructure) -> None:
        self._app = app
        self._changed = changed
        self._infrastructure = infrastructure

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
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
        s3.install(home / "state" / "objects")
        self._ends: list[Callable[[], None]] = []
        """What ends the children of services other than AWS Batch."""
        self.infrastructure = Infrastructure(
            home / "state", lambda: self._install_services(options, port, outer)
        )
        self.saver = state.Saver(home / "state", self.infrastructure)
        self.batch = backend.BatchCloud(options, outer, self.saver.changed)
        backend.install(self.batch)
        iam.install()
        moto_app = DomainDispatcherApplication(create_backend_app)
        payers = RequesterPays(moto_app, self.saver.changed)
        state.load(home / "state", self.batch.scheduler, payers)
        self.archives = Archives(options.endpoint, home / "archives.json")
        self.archives.restore()
        control = ControlApp(options, self.archives, self.infrastructure, self.shut_down)
        inner = DispatcherMiddleware(
            payers, {CONTROL_PREFIX: control, METADATA_PREFIX: self.batch.executor.metadata}
        )
        aws = _Noticed(inner, self.saver.changed, self.infrastructure)
        all_sides = DispatcherMiddleware(aws, {"/stac": self.archives.stac, "/archive": self.archives.assets})
        app = _Gate(all_sides, port)
        # Any: whether it is the threaded kind is decided at run time
        server: Any = make_server(HOST, port, app, threaded=True, request_handler=_QuietHandler)
        server.daemon_threads = True
        self._server = server
        self._stopping = threading.Event()
        self.saver.start(self.batch.scheduler, payers)

    def _install_services(self, options: CloudOptions, port: int, outer: Mapping[str, str]) -> None:
        """What else really runs; it imports the other half of moto, so nobody waits for it in vain."""
        from glacierflow.local import ecs, lambda_, stepfunctions

        invocations = lambda_.FunctionRunner(options, self.batch.log_line, outer)
        lambda_.install(invocations)
        runner = ecs.TaskRunner(options, self.batch.runner, self.batch.log_line)
        ecs.install(runner)
        stepfunctions.install(port)
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
    parser.add_argument("--reclaim", choices=("aws", "kind"), default="aws")
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
        reclaim=given.reclaim,
        seed=given.seed,
        executor=given.executor,
        image=given.image,
    )
    server = EmbeddedServer(options, given.port, _forget_real_cloud())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.shut_down())
    _log.info("serving %s from %s", options.endpoint, options.home)
    server.serve()


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


def bootstrap(endpoint_url: str, infrastructure: Infrastructure, *, region: str, bucket: str) -> None:
    """Deploy the stack where there never was one, and make the bucket; what is there stays.

    Args:
        endpoint_url: the embedded cloud.
        infrastructure: of it.
        region: AWS region to deploy in.
        bucket: bucket for products and runs; the first one is the stack's own.

    Raises:
        UnavailableError: the stack could not be deployed.
    """
    cloud = Cloud(region=region, endpoint_url=endpoint_url, embedded=True)
    buckets = {one["Name"] for one in cloud.client("s3").list_buckets()["Buckets"]}
    if not infrastructure.was_deployed(region):
        _deploy(cloud, "ExistingBucket" if bucket in buckets else "BucketName", bucket)
        infrastructure.note_deployed(region)
    elif bucket not in buckets:
        _make_bucket(cloud, bucket)


def _deploy(cloud: Cloud, bucket_parameter: str, bucket: str) -> None:
    template = load_template(MAIN)
    proposal = propose(cloud, STACK, template, {bucket_parameter: bucket} | _default_network(cloud.region))
    if proposal is None:
        return
    steps = list(apply(cloud, proposal))
    state = describe(cloud, STACK)
    if state is None or not ended_well(state.status):
        why = "; ".join(f"{one.logical_id}: {one.sentence}" for one in reasons(steps))
        raise UnavailableError(f"the embedded cloud could not deploy batch/template.yaml: {why}")
    _log.info("deployed the stack %s: %d resources", STACK, len(proposal.changes))


def _default_network(region: str) -> dict[str, str]:
    """Asked from moto itself, which is quicker than through a client for EC2."""
    from moto.ec2.models import ec2_backends

    ec2: Any = ec2_backends[ACCOUNT_ID][region]
    vpc = ec2.get_default_vpc()
    subnets = sorted(one.id for one in ec2.get_default_subnets().values())
    return {"Vpc": vpc.id, "Subnets": ",".join(subnets)}


def _make_bucket(cloud: Cloud, bucket: str) -> None:
    # us-east-1 is the one region that must not be named
    where = {} if cloud.region == "us-east-1" else {"LocationConstraint": cloud.region}
    extra = {"CreateBucketConfiguration": where} if where else {}
    cloud.client("s3").create_bucket(Bucket=bucket, **extra)


if __name__ == "__main__":
    main(sys.argv[1:])
