"""Attempts as real processes: started, watched, stopped, and their output sent to CloudWatch Logs."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glacierflow.local import processes
from glacierflow.local.child import child_argv, child_environment
from glacierflow.local.jobs import Job, now_ms
from glacierflow.local.options import CloudOptions
from glacierflow.local.scheduler import EXITED, AttemptResult, Place, QueueView, Scheduler

__all__ = ["Executor", "LogSink"]

LogSink = Callable[[Job, str, str | None], None]
"""Called with the job, the log stream and a line; with None when the stream starts."""

TIMED_OUT = "Job attempt duration exceeded timeout"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
NOT_STARTED = "Task failed to start"

STOP_GRACE_S, SPOT_NOTICE_S = 30.0, 120.0
"""Batch seconds between SIGTERM and SIGKILL: of a stopped container, and of a reclaimed instance."""
RECLAIM_WITHIN_S = (0.2, 3.0)
"""Real seconds after its start at which a reclaimed attempt gets its notice: early, so that short ones
feel it."""
MEMORY_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class _Stop:
    """Why an attempt is being stopped."""

    status_reason: str
    may_retry: bool
    grace_s: float
    """Batch seconds until SIGKILL."""
    by_user: bool = False


class _Running:
    """One running attempt."""

    def __init__(self, job: Job, process: subprocess.Popen[str]) -> None:
        self.job = job
        self.process = process
        self.stop: _Stop | None = None
        self.out_of_memory = False
        self.timers: list[threading.Timer] = []

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after some real seconds, unless the attempt ends before."""
        timer = threading.Timer(seconds, what)
        timer.daemon = True
        self.timers.append(timer)
        timer.start()


class Executor:
    """Runs attempts, one thread each, and one more that watches memory."""

    def __init__(
        self,
        options: CloudOptions,
        scheduler: Callable[[], Scheduler],
        log: LogSink,
        outer: Mapping[str, str],
    ) -> None:
        self._options = options
        self._scheduler = scheduler
        self._log = log
        self._outer = outer
        self._lock = threading.RLock()
        self._running: dict[Job, _Running] = {}
        self._early_stops: dict[Job, _Stop] = {}
        self._scratch = options.home / "scratch"
        self._pids = options.home / "children"
        self._kill_orphans()
        threading.Thread(target=self._watch_memory, daemon=True, name="memory-watch").start()

    def launch(self, job: Job, queue: QueueView, place: Place) -> None:
        """Start an attempt; called by the scheduler."""
        threading.Thread(
            target=self._attempt, args=(job, queue, place), daemon=True, name=f"attempt-{job.job_id}"
        ).start()

    def terminate(self, job: Job, reason: str) -> None:
        """SIGTERM now, SIGKILL after the grace period, and no other attempt."""
        self._request_stop(job, _Stop(reason, may_retry=False, grace_s=STOP_GRACE_S, by_user=True))

    def stop_all(self, reason: str, wait_s: float) -> None:
        """End everything that runs, within ``wait_s`` real seconds."""
        with self._lock:
            jobs = list(self._running)
        for job in jobs:
            self.terminate(job, reason)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("attempt-")]
        for thread in threads:
            thread.join(wait_s / max(1, len(threads)))
        with self._lock:
            left = list(self._running.values())
        for running in left:
            processes.kill_session(running.process.pid)
        for thread in threads:
            thread.join(2)

    def _attempt(self, job: Job, queue: QueueView, place: Place) -> None:
        number = len(job.attempts) + 1
        task = uuid.uuid4().hex
        stream = f"{job.spec.log_prefix}/default/{task}"
        attempt: dict[str, Any] = {"container": {"networkInterfaces": []}}
        scratch = self._scratch / task
        try:
            process = self._start(job, number, queue, place, scratch)
        except (OSError, ValueError, IndexError) as error:
            with self._lock:
                stopped = self._early_stops.pop(job, None) is not None
            reason = f"CannotStartContainerError: {error}"
            result = AttemptResult(None, reason, NOT_STARTED, may_retry=not stopped)
            self._scheduler().ended(job, attempt, result)
            return
        attempt["startedAt"] = now_ms()
        attempt["container"]["logStreamName"] = stream
        running = _Running(job, process)
        self._log(job, stream, None)
        with self._lock:
            self._running[job] = running
            early = self._early_stops.pop(job, None)
        self._scheduler().started(job, attempt, stream)
        if early:
            self._request_stop(job, early)
        self._set_timers(running, number, place)
        result = self._wait(running, stream)
        shutil.rmtree(scratch, ignore_errors=True)
        self._scheduler().ended(job, attempt, result)

    def _start(
        self, job: Job, number: int, queue: QueueView, place: Place, scratch: Path
    ) -> subprocess.Popen[str]:
        if job.spec.start_error:
            raise ValueError(job.spec.start_error)
        scratch.mkdir(parents=True)
        environment = child_environment(
            job,
            attempt=number,
            queue=queue.name,
            compute_environment=place.name,
            endpoint=self._options.endpoint,
            scratch=scratch,
            outer=self._outer,
        )
        process = subprocess.Popen(  # noqa: S603 - running the submitted command is what Batch does
            child_argv(job.spec.command, job.spec.parameters),
            env=environment,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._pids.mkdir(exist_ok=True)
        (self._pids / str(process.pid)).write_text(str(processes.start_ticks(process.pid)))
        return process

    def _wait(self, running: _Running, stream: str) -> AttemptResult:
        process, job = running.process, running.job
        pump = threading.Thread(target=self._pump, args=(job, process, stream), daemon=True)
        pump.start()
        code = process.wait()
        # A container ends with its first process; nothing of it lives on.
        processes.kill_session(process.pid)
        pump.join(5)
        with self._lock:
            del self._running[job]
        for timer in running.timers:
            timer.cancel()
        (self._pids / str(process.pid)).unlink(missing_ok=True)
        exit_code = 128 - code if code < 0 else code
        if running.out_of_memory:
            return AttemptResult(exit_code, OUT_OF_MEMORY, EXITED, failed=True)
        stop = running.stop
        if stop is None:
            return AttemptResult(exit_code, None, EXITED)
        # A container that finishes its work within a spot notice has succeeded; a stopped one never has.
        job.terminated = stop.by_user
        finished = stop.may_retry and exit_code == 0
        reason = EXITED if finished else stop.status_reason
        return AttemptResult(exit_code, None, reason, may_retry=stop.may_retry, failed=not finished)

    def _pump(self, job: Job, process: subprocess.Popen[str], stream: str) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._log(job, stream, line.rstrip("\n"))

    def _set_timers(self, running: _Running, number: int, place: Place) -> None:
        job, options = running.job, self._options
        if job.spec.timeout_s:
            stop = _Stop(TIMED_OUT, may_retry=False, grace_s=STOP_GRACE_S)
            running.later(options.real_seconds(job.spec.timeout_s), lambda: self._request_stop(job, stop))
        chance = random.Random(f"{options.seed}/{job.spec.name}/{job.index}/{number}")  # noqa: S311 - no secret
        if place.spot and chance.random() < options.spot_reclaim:
            instance = f"i-{chance.getrandbits(68):017x}"
            reclaim = _Stop(
                f"Host EC2 (instance {instance}) terminated.", may_retry=True, grace_s=SPOT_NOTICE_S
            )
            running.later(chance.uniform(*RECLAIM_WITHIN_S), lambda: self._request_stop(job, reclaim))

    def _request_stop(self, job: Job, stop: _Stop) -> None:
        with self._lock:
            running = self._running.get(job)
            if running is None:
                if job.status == "STARTING":
                    self._early_stops[job] = stop
                return
            # A reclaim on its way does not shield a job from a person or a timeout; else the first counts.
            if running.stop and not (running.stop.may_retry and not stop.may_retry):
                return
            running.stop = stop
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.process.pid, signal.SIGTERM)
        running.later(
            self._options.real_seconds(stop.grace_s), lambda: processes.kill_session(running.process.pid)
        )

    def _watch_memory(self) -> None:
        pause = threading.Event()
        while not pause.wait(MEMORY_POLL_S):
            with self._lock:
                running = {one.process.pid: one for one in self._running.values()}
            if not running:
                continue
            for pid, used_mib in processes.session_memory_mib(running).items():
                if used_mib > running[pid].job.spec.memory_mib:
                    running[pid].out_of_memory = True
                    processes.kill_session(pid)

    def _kill_orphans(self) -> None:
        """End children that outlived a server which was killed: their jobs are FAILED by now."""
        for record in self._pids.glob("*"):
            pid = int(record.name)
            ticks = processes.start_ticks(pid)
            if ticks is not None and str(ticks) == record.read_text():
                processes.kill_session(pid)
            record.unlink()
        shutil.rmtree(self._scratch, ignore_errors=True)
