"""Attempts as processes of this machine, run by this very Python, with their memory watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from glacierflow.local import processes
from glacierflow.local.attempt import Ended, Order, StartError
from glacierflow.local.child import child_argv, cloud_environment, process_environment
from glacierflow.local.options import CloudOptions

__all__ = ["ProcessRunner"]

MEMORY_POLL_S = 0.2


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
        processes.kill_session(self.process.pid)


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
        record.write_text(str(processes.start_ticks(process.pid)))
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
            for pid, used_mib in processes.session_memory_mib(running).items():
                if used_mib > running[pid].memory_mib:
                    running[pid].out_of_memory = True
                    running[pid].kill()

    def _kill_orphans(self) -> None:
        """End children that outlived a server which was killed: their jobs are FAILED by now."""
        for record in self._pids.glob("*"):
            pid = int(record.name)
            ticks = processes.start_ticks(pid)
            if ticks is not None and str(ticks) == record.read_text():
                processes.kill_session(pid)
            record.unlink()
        shutil.rmtree(self._scratch, ignore_errors=True)
