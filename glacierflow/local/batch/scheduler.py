"""Which job may start when: dependencies, queues, and the vCPUs there are.

Everything happens under one lock, at the moment something changes; there is no polling.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from glacierflow.local.batch.jobs import WAITING, Job, now_ms
from glacierflow.local.batch.submission import should_retry

EXITED = "Essential container in task exited"
CHILD_FAILED = "Array Child Job failed"
DEPENDENCY_FAILED = "Dependent Job failed"
TOO_BIG = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - The job requires more vCPUs than maxvCpus allows."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A compute environment, as far as placing jobs needs it."""

    arn: str
    name: str
    max_vcpus: float
    enabled: bool
    spot: bool


@dataclass(frozen=True, slots=True)
class QueueView:
    """A job queue as it is configured now."""

    name: str
    priority: int
    places: tuple[Place, ...]
    """In the order in which the queue tries them."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How one attempt ended."""

    exit_code: int | None
    """None where the container never started."""
    reason: str | None
    """Detail of the container, such as ``OutOfMemoryError: ...``."""
    status_reason: str
    may_retry: bool = True
    """False where Batch ends a job whatever its retry strategy: terminated, or timed out."""
    failed: bool = False
    """Failed whatever the exit code."""

    @property
    def succeeded(self) -> bool:
        """Whether the job has succeeded."""
        return self.exit_code == 0 and not self.failed


class Scheduler:
    """All jobs of one embedded cloud."""

    def __init__(
        self,
        *,
        vcpus: float,
        queue_view: Callable[[str, str], QueueView | None],
        launch: Callable[[Job, QueueView, Place], None],
        changed: Callable[[], None],
    ) -> None:
        self.lock = threading.RLock()
        self.top: dict[str, Job] = {}
        """Plain jobs and parents, in order of submission."""
        self.by_id: dict[str, Job] = {}
        self._vcpus = vcpus
        self._queue_view = queue_view
        self._launch = launch
        self._changed = changed
        self._runnable: dict[tuple[str, str], deque[Job]] = {}
        self._active: dict[Job, Place] = {}
        self._closed = False

    def restore(self, jobs: Iterable[Job]) -> None:
        """Take over jobs of an earlier server; what had not ended then has FAILED."""
        with self.lock:
            for job in jobs:
                self._register(job)
                for unit in (*job.children, job):
                    if unit.done:
                        continue
                    reason = f"The embedded cloud was stopped while the job was {unit.status}"
                    if unit.attempts and "stoppedAt" not in unit.attempts[-1]:
                        unit.attempts[-1] |= {"stoppedAt": now_ms(), "statusReason": reason}
                    self._settle(unit, "FAILED", CHILD_FAILED if unit.children else reason)

    def submit(self, job: Job, dependencies: dict[Job, list[Job]]) -> None:
        """Accept a job; ``dependencies`` names for each of its units what has to succeed first."""
        with self.lock:
            self._register(job)
            failed: list[Job] = []
            for unit in job.units:
                needed = dependencies.get(unit, [])
                open_ones = [other for other in needed if not other.done]
                if any(other.status == "FAILED" for other in needed):
                    failed.append(unit)
                    continue
                for other in open_ones:
                    other.dependents.append(unit)
                unit.unmet = len(open_ones)
                if open_ones:
                    self._set(unit, "PENDING")
                else:
                    self._make_runnable(unit)
            for unit in failed:
                self._end(unit, "FAILED", DEPENDENCY_FAILED)
            self.dispatch()

    def dispatch(self) -> None:
        """Start what fits, queue by queue in order of priority, first come first served within a queue."""
        with self.lock:
            if self._closed:
                return
            views = {key: self._queue_view(*key) for key, waiting in self._runnable.items() if waiting}
            ordered = sorted(
                ((key, view) for key, view in views.items() if view), key=lambda pair: -pair[1].priority
            )
            for key, view in ordered:
                waiting = self._runnable[key]
                while waiting and (place := self._place(waiting[0], view)):
                    job = waiting.popleft()
                    self._active[job] = place
                    self._set(job, "STARTING")
                    self._launch(job, view, place)
            self._changed()

    def started(self, job: Job, attempt: dict[str, Any], log_stream: str) -> None:
        """An attempt's process runs."""
        with self.lock:
            job.attempts.append(attempt)
            job.started_at = attempt["startedAt"]
            job.log_stream = log_stream
            job.exit_code = job.container_reason = None
            self._set(job, "RUNNING")
            self._changed()

    def ended(self, job: Job, attempt: dict[str, Any], result: AttemptResult) -> None:
        """An attempt is over: record it, then retry the job or end it."""
        with self.lock:
            self._active.pop(job, None)
            attempt |= {"stoppedAt": now_ms(), "statusReason": result.status_reason}
            if not any(known is attempt for known in job.attempts):
                job.attempts.append(attempt)
            job.exit_code, job.container_reason = result.exit_code, result.reason
            if result.exit_code is not None:
                attempt["container"]["exitCode"] = result.exit_code
            if result.reason:
                attempt["container"]["reason"] = result.reason
            if result.succeeded:
                self._end(job, "SUCCEEDED", result.status_reason)
            elif self._retries(job, result):
                self._make_runnable(job, first=True)
                job.status_reason = result.status_reason
            else:
                self._end(job, "FAILED", result.status_reason)
            self.dispatch()

    def withdraw(self, jobs: Iterable[Job], reason: str, *, terminated: bool) -> list[Job]:
        """End the jobs that have not started; return the others."""
        with self.lock:
            begun = []
            for job in jobs:
                if job.status in WAITING:
                    job.cancelled, job.terminated = not terminated, terminated
                    self._end(job, "FAILED", reason)
                else:
                    begun.append(job)
            self.dispatch()
            return begun

    def waiting(self, region: str, queue: str) -> list[Job]:
        """The RUNNABLE jobs of a queue in the order in which they will start."""
        with self.lock:
            return list(self._runnable.get((region, queue), ()))

    def close(self) -> None:
        """Start nothing any more."""
        with self.lock:
            self._closed = True

    def forget(self, region: str) -> None:
        """Drop the records of a region's jobs."""
        with self.lock:
            for job in [job for job in self.top.values() if job.spec.region == region]:
                del self.top[job.job_id]
                for unit in (*job.children, job):
                    self.by_id.pop(unit.job_id, None)

    def _register(self, job: Job) -> None:
        self.top[job.job_id] = job
        for unit in (*job.children, job):
            self.by_id[unit.job_id] = unit

    @staticmethod
    def _retries(job: Job, result: AttemptResult) -> bool:
        if not result.may_retry or len(job.attempts) >= job.spec.max_attempts:
            return False
        return should_retry(
            job.spec.retry,
            exit_code=result.exit_code,
            reason=result.reason,
            status_reason=result.status_reason,
        )

    def _place(self, job: Job, view: QueueView) -> Place | None:
        """The first environment with room; a job bigger than the machine runs when nothing else does."""
        need = job.spec.vcpus
        enabled = [place for place in view.places if place.enabled]
        if enabled and all(place.max_vcpus < need for place in enabled):
            job.status_reason = TOO_BIG
            return None
        used = sum(active.spec.vcpus for active in self._active)
        if self._active and used + need > self._vcpus:
            return None
        for place in enabled:
            here = sum(active.spec.vcpus for active, where in self._active.items() if where.arn == place.arn)
            if here + need <= place.max_vcpus:
                return place
        return None

    def _make_runnable(self, job: Job, *, first: bool = False) -> None:
        """Queue a job at the back, or a retry at the front, as Batch does."""
        self._set(job, "RUNNABLE")
        waiting = self._runnable.setdefault((job.spec.region, job.spec.queue), deque())
        if first:
            waiting.appendleft(job)
        else:
            waiting.append(job)

    def _end(self, job: Job, status: str, reason: str | None) -> None:
        """Settle a job and, without recursion, everything that hangs on it."""
        work = [(job, status, reason)]
        while work:
            unit, end, why = work.pop()
            if unit.done:
                continue
            if unit.status == "RUNNABLE":
                self._runnable[unit.spec.region, unit.spec.queue].remove(unit)
            self._settle(unit, end, why)
            for other in unit.dependents:
                if end == "FAILED":
                    work.append((other, "FAILED", DEPENDENCY_FAILED))
                else:
                    other.unmet -= 1
                    if other.unmet == 0 and not other.done:
                        self._make_runnable(other)
            parent = unit.parent
            if (
                parent
                and not parent.done
                and parent.counts["SUCCEEDED"] + parent.counts["FAILED"] == len(parent.children)
            ):
                failed = parent.counts["FAILED"] > 0
                work.append((parent, "FAILED" if failed else "SUCCEEDED", CHILD_FAILED if failed else None))

    def _settle(self, job: Job, status: str, reason: str | None) -> None:
        self._set(job, status)
        job.status_reason = reason or job.status_reason
        job.stopped_at = now_ms()

    @staticmethod
    def _set(job: Job, status: str) -> None:
        parent = job.parent
        if parent:
            parent.counts[job.status] -= 1
            parent.counts[status] += 1
            if status in {"PENDING", "RUNNABLE"} and parent.status == "SUBMITTED":
                parent.status = "PENDING"
        job.status = status
