"""Start, find and stop the embedded cloud's server process; needs no moto itself."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from glacierflow.errors import UnavailableError, UsageError
from glacierflow.image import docker
from glacierflow.local.options import DEFAULT_IMAGE, ExecutorKind, ReclaimForm

HOST = "127.0.0.1"
DEFAULT_BUCKET = "greenland-glacier-data"
DEFAULT_REGION = "us-west-2"
_AS_IT_RUNS = (None, 1.0, 0.0, "aws", 0, None, None)
_AT_START = "--vcpus, --clock, --spot-reclaim, --reclaim, --seed, --executor and --image"

_LOG_LINES = 15
_STOP_WAIT_S = 20.0
# The server is on this machine: a proxy must not be asked for it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_servers: dict[int, subprocess.Popen[bytes]] = {}
"""Servers this very process started, by process id: they outlive it, or are reaped by it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running embedded cloud."""

    url: str
    stac_url: str
    """The archives' STAC API."""
    pid: int
    port: int
    home: str
    archive: str | None
    """The archive named last, if any."""
    executor: ExecutorKind = "process"
    """What children run as."""


def default_home() -> Path:
    """Directory of the embedded cloud's state: ``local`` below GLACIERFLOW_HOME or the user's data folder."""
    chosen = os.environ.get("GLACIERFLOW_HOME")
    if chosen:
        return Path(chosen).expanduser() / "local"
    import platformdirs

    return Path(platformdirs.user_data_dir("glacierflow")) / "local"


def up(
    home: Path,
    *,
    archive: Path | None = None,
    port: int | None = None,
    vcpus: float | None = None,
    clock: float = 1.0,
    spot_reclaim: float = 0.0,
    reclaim: ReclaimForm = "aws",
    seed: int = 0,
    executor: ExecutorKind | Literal["auto"] | None = None,
    image: str | None = None,
    bucket: str = DEFAULT_BUCKET,
    region: str = DEFAULT_REGION,
    wait_s: float = 180.0,
) -> Endpoint:
    """Start the embedded cloud, or find the one that runs; then serve the archive and prepare the bucket.

    Args:
        home: directory of its state.
        archive: a directory of STAC items to serve besides those served already.
        port: None takes the port of last time if it is free, else any.
        vcpus: vCPUs children may use together; None: all of this machine.
        clock: Batch seconds in a real second, for timeouts and grace periods; a function's timeout is real.
        spot_reclaim: share of spot attempts that lose their instance, 0..1.
        reclaim: how they lose it, as AWS takes it away or more kindly.
        seed: decides which.
        executor: what children run as; ``auto``: containers where a Docker engine answers and has the image,
            else processes; None: processes, or as the running one does.
        image: stands for those of the embedded account's ECR, where children are containers.
        bucket: made if there is none.
        region: AWS region to prepare.
        wait_s: how long the server may take to answer, in seconds.

    Raises:
        UsageError: the extra is not installed, the port is taken, the archive is none, or a value is out
            of range.
        UnavailableError: the server did not start.
    """
    _require_moto()
    if archive is not None and not archive.is_dir():
        raise UsageError(
            f"--archive {archive} is not a directory",
            next_step="name a directory of STAC items, or make one with `glacierflow local sample DIR`",
        )
    _check_range(vcpus, clock, spot_reclaim)
    home = home.expanduser().resolve()
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        running = status(home)
        if running is None:
            arguments: dict[str, float | str] = {"clock": clock, "spot-reclaim": spot_reclaim, "seed": seed}
            arguments["reclaim"] = reclaim
            if vcpus is not None:
                arguments["vcpus"] = vcpus
            if executor is not None:
                arguments["executor"] = _choose_executor(executor, image or DEFAULT_IMAGE)
            if image is not None:
                arguments["image"] = image
            running = _start(home, _choose_port(home, port), arguments, wait_s)
        elif (vcpus, clock, spot_reclaim, reclaim, seed, executor, image) != _AS_IT_RUNS:
            raise UsageError(
                f"the embedded cloud already runs, and {_AT_START} are set when it starts",
                next_step="run `glacierflow local down` first",
            )
        elif port is not None and port != running.port:
            raise UsageError(
                f"the embedded cloud already runs on port {running.port}, not on {port}",
                next_step="run `glacierflow local down` first",
            )
        _ask(running.url, "bootstrap", {"bucket": bucket, "region": region}, timeout_s=60)
        if archive is not None:
            _ask(running.url, "archive", {"directory": str(archive.resolve())}, timeout_s=120)
            running = Endpoint(**(asdict(running) | {"archive": str(archive.resolve())}))
            _write(home, running)
        return running


def down(home: Path) -> bool:
    """Stop the embedded cloud; its state stays. False where none was running."""
    home = home.expanduser().resolve()
    if not home.is_dir():
        return False
    with _locked(home):
        return _stop(home)


def reset(home: Path) -> None:
    """Stop the embedded cloud if it runs, and forget all its state."""
    home = home.expanduser().resolve()
    if not home.is_dir():
        return
    with _locked(home):
        _stop(home)
        for name in ("state", "children", "scratch"):
            shutil.rmtree(home / name, ignore_errors=True)
        for name in ("archives.json", "settings.json", "server.log", "endpoint.json"):
            (home / name).unlink(missing_ok=True)


def status(home: Path) -> Endpoint | None:
    """The embedded cloud of this home, if its process lives and answers."""
    home = home.expanduser().resolve()
    try:
        found = Endpoint(**json.loads((home / "endpoint.json").read_text()))
        if not _alive(found.pid):
            return None
        # a busy machine may take long to answer; a server that is gone refuses at once
        health = _ask(found.url, "health", timeout_s=15)
    except (OSError, ValueError, TypeError, UnavailableError, UsageError):
        return None
    return found if (health.get("pid"), health.get("home")) == (found.pid, str(home)) else None


def _require_moto() -> None:
    if importlib.util.find_spec("moto") is None:
        raise UsageError(
            "the embedded cloud needs: pip install 'glacierflow[local]'",
            next_step="install the extra, or leave out --local to use AWS",
        )


def _check_range(vcpus: float | None, clock: float, spot_reclaim: float) -> None:
    if vcpus is not None and vcpus <= 0:
        raise UsageError(f"--vcpus {vcpus:g} is not more than 0")
    if clock <= 0:
        raise UsageError(f"--clock {clock:g} is not more than 0")
    if not 0 <= spot_reclaim <= 1:
        raise UsageError(f"--spot-reclaim {spot_reclaim:g} is not between 0 and 1")


def _choose_executor(asked: ExecutorKind | Literal["auto"], image: str) -> ExecutorKind:
    if asked == "process":
        return "process"
    if asked == "auto" and docker.engine_version() is None:
        return "process"
    docker.require_engine()
    if docker.inspect("image", image) is not None:
        return "docker"
    if asked == "auto":
        return "process"
    raise UsageError(
        f"there is no image {image} here", next_step="run `glacierflow container build`, or name another"
    )


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One command at a time."""
    with (home / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as the server will bind: connections of an earlier server that still fade away do not matter
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _choose_port(home: Path, asked: int | None) -> int:
    if asked is not None:
        if not 1 <= asked <= 65535:
            raise UsageError(f"--port {asked} is not between 1 and 65535")
        if not _is_free(asked):
            raise UsageError(
                f"port {asked} is in use by another program",
                next_step="name another with --port, or leave it out and a free one is taken",
            )
        return asked
    with contextlib.suppress(OSError, ValueError, KeyError):
        last = int(json.loads((home / "settings.json").read_text())["port"])
        if _is_free(last):
            return last
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _start(home: Path, port: int, arguments: dict[str, float | str], wait_s: float) -> Endpoint:
    command = [sys.executable, "-m", "glacierflow.local.server", "--home", str(home), "--port", str(port)]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own server
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=home
        )
    _servers[process.pid] = process
    url = f"http://{HOST}:{port}"
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise UnavailableError(
                f"the embedded cloud ended at its start (exit code {process.returncode}):\n{_log_tail(home)}",
                next_step=f"read {home / 'server.log'}",
            )
        with contextlib.suppress(UnavailableError, UsageError):
            health = _ask(url, "health")
            if health.get("pid") == process.pid:
                archives = health["archives"]
                archive = archives[-1] if archives else None
                endpoint = Endpoint(
                    url, f"{url}/stac", process.pid, port, str(home), archive, health["executor"]
                )
                (home / "settings.json").write_text(json.dumps({"port": port}))
                _write(home, endpoint)
                return endpoint
        time.sleep(0.05)
    process.kill()
    process.wait()
    del _servers[process.pid]
    raise UnavailableError(
        f"the embedded cloud did not answer within {wait_s:g} s:\n{_log_tail(home)}",
        next_step=f"read {home / 'server.log'}",
    )


def _stop(home: Path) -> bool:
    running = status(home)
    if running is None:
        (home / "endpoint.json").unlink(missing_ok=True)
        return False
    # it may be gone before its answer is whole
    with contextlib.suppress(UnavailableError):
        _ask(running.url, "shutdown", {})
    until = time.monotonic() + _STOP_WAIT_S
    while time.monotonic() < until and _alive(running.pid):
        time.sleep(0.05)
    if _alive(running.pid):
        os.kill(running.pid, 9)
        if (own := _servers.pop(running.pid, None)) is not None:
            own.wait()
    (home / "endpoint.json").unlink(missing_ok=True)
    return True


def _alive(pid: int) -> bool:
    own = _servers.get(pid)
    if own is not None and own.poll() is not None:
        del _servers[pid]
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _write(home: Path, endpoint: Endpoint) -> None:
    aside = home / "endpoint.json.part"
    aside.write_text(json.dumps(asdict(endpoint), indent=2) + "\n")
    aside.replace(home / "endpoint.json")


def _log_tail(home: Path) -> str:
    return "\n".join((home / "server.log").read_text(errors="replace").splitlines()[-_LOG_LINES:])


def _ask(url: str, what: str, body: dict[str, Any] | None = None, timeout_s: float = 5.0) -> dict[str, Any]:
    """One request to the server's own interface.

    Raises:
        UnavailableError: no answer.
        UsageError: the server refused.
    """
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{url}/_glacierflow/{what}", data=data)  # noqa: S310 - our own URL
    try:
        with _opener.open(request, timeout=timeout_s) as response:
            return cast("dict[str, Any]", json.load(response))
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace")
        try:
            told = json.loads(text)
        except ValueError:
            raise UnavailableError(f"the embedded cloud answered {error.code} to {what}") from error
        raise UsageError(told["error"], next_step=told.get("next_step")) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnavailableError(f"the embedded cloud at {url} does not answer: {error}") from error
