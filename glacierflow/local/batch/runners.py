"""Attempts as processes of this machine or as containers of a Docker engine, held to their limits."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from glacierflow.errors import UnavailableError
from glacierflow.image import docker
from glacierflow.image.docker import Container, ContainerSpec
from glacierflow.local.batch import attempt as attempt_module
from glacierflow.local.batch.attempt import (
    Ended,
    Order,
    StartError,
    child_argv,
    cloud_environment,
    process_environment,
)
from glacierflow.local.options import CloudOptions, image_here

MEMORY_POLL_S = 0.2

_LABEL = "glacierflow.home"
# what the engine says where an image is not there, or its registry will not give it
_NO_IMAGE = re.compile(
    r"pull access denied|manifest (for .* not found|unknown)|no such image|no such host|dial tcp|not found:"
    r"|unable to find image|repository .* not found|invalid reference format|failed to resolve reference"
    r"|error response from daemon: get ",
    re.IGNORECASE,
)


class _ProcessAttempt:
    def __init__(self, process: subprocess.Popen[str], memory_mib: int, scratch: Path, record: Path) -> None:
        self.process = process
        self.memory_mib = memory_mib
        self.out_of_memory = False
        self._scratch = scratch
        self._record = record

    def lines(self) -> Iterator[str]:
        if self.process.stdout is not None:
            with self.process.stdout as lines:
                yield from lines

    def wait(self) -> Ended:
        code = self.process.wait()
        # A container ends with its first process; nothing of it lives on.
        self.kill()
        self._record.unlink(missing_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return Ended(128 - code if code < 0 else code, self.out_of_memory)

    def ask_to_end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGTERM)

    def kill(self) -> None:
        attempt_module.kill_session(self.process.pid)


class ProcessRunner:
    """Starts processes, and one thread that ends those beyond their memory."""

    def __init__(self, options: CloudOptions, outer: Mapping[str, str]) -> None:
        self._endpoint = options.endpoint
        self._outer = outer
        self._lock = threading.Lock()
        self._running: dict[int, _ProcessAttempt] = {}
        self._scratch = options.home / "scratch"
        self._pids = options.home / "children"
        self._kill_orphans()
        threading.Thread(target=self._watch_memory, daemon=True, name="memory-watch").start()

    def start(self, order: Order) -> _ProcessAttempt:
        """Start a process in a scratch directory of its own."""
        scratch = self._scratch / uuid.uuid4().hex
        scratch.mkdir(parents=True)
        environment = process_environment(scratch, self._outer)
        environment |= cloud_environment(self._endpoint, order.region, self._outer)
        try:
            process = subprocess.Popen(  # noqa: S603 - running the submitted command is what Batch does
                child_argv(order.command),
                env=environment | dict(order.environment),
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            raise StartError(f"CannotStartContainerError: {error}") from error
        self._pids.mkdir(exist_ok=True)
        record = self._pids / str(process.pid)
        record.write_text(str(attempt_module.start_ticks(process.pid)))
        attempt = _ProcessAttempt(process, order.memory_mib, scratch, record)
        with self._lock:
            self._running[process.pid] = attempt
        return attempt

    def _watch_memory(self) -> None:
        pause = threading.Event()
        while not pause.wait(MEMORY_POLL_S):
            with self._lock:
                ended = [pid for pid, one in self._running.items() if one.process.returncode is not None]
                for pid in ended:
                    del self._running[pid]
                running = dict(self._running)
            if not running:
                continue
            for pid, used_mib in attempt_module.session_memory_mib(running).items():
                if used_mib > running[pid].memory_mib:
                    running[pid].out_of_memory = True
                    running[pid].kill()

    def _kill_orphans(self) -> None:
        """End children that outlived a server which was killed: their jobs are FAILED by now."""
        for record in self._pids.glob("*"):
            pid = int(record.name)
            ticks = attempt_module.start_ticks(pid)
            if ticks is not None and str(ticks) == record.read_text():
                attempt_module.kill_session(pid)
            record.unlink()
        shutil.rmtree(self._scratch, ignore_errors=True)


class _ContainerAttempt:
    def __init__(self, container: Container) -> None:
        self._container = container
        self.lines = container.lines
        self.ask_to_end = container.ask_to_end
        self.kill = container.kill

    def wait(self) -> Ended:
        ended = self._container.wait()
        return Ended(ended.exit_code, ended.out_of_memory)


class ContainerRunner:
    """Starts containers of the definition's image."""

    def __init__(self, options: CloudOptions, outer: Mapping[str, str]) -> None:
        self._options = options
        self._outer = outer
        self._remove_orphans()

    def start(self, order: Order) -> _ContainerAttempt:
        """Create and start a container; its output is followed from its first line."""
        name = f"glacierflow-{uuid.uuid4().hex}"
        try:
            docker.create(
                ContainerSpec(
                    name=name,
                    image=image_here(order.image, self._options.image),
                    command=list(order.command),
                    environment=cloud_environment(self._options.endpoint, order.region, self._outer)
                    | dict(order.environment),
                    memory_mib=order.memory_mib,
                    vcpus=order.vcpus,
                    user=order.user,
                    read_only=order.read_only,
                    labels={_LABEL: str(self._options.home), "glacierflow.job": order.owner},
                )
            )
        except UnavailableError as error:
            kind = (
                "CannotPullContainerError"
                if _NO_IMAGE.search(error.message)
                else "CannotCreateContainerError"
            )
            raise StartError(f"{kind}: {error.message}") from error
        try:
            return _ContainerAttempt(docker.start(name))
        except UnavailableError as error:
            raise StartError(f"CannotStartContainerError: {error.message}") from error

    def _remove_orphans(self) -> None:
        """Remove containers that outlived a server which was killed: their jobs are FAILED by now."""
        label = f"label={_LABEL}={self._options.home}"
        for name in docker.docker("ps", "--all", "--quiet", "--filter", label).split():
            docker.remove(name)
