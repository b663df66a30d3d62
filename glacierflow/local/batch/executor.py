"""Attempts from start to end: timers, stops, and their output sent to CloudWatch Logs."""

from __future__ import annotations

import datetime as dt
import json
import random
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from glacierflow.local.batch.attempt import Attempt, Order, Runner, StartError, filled_command
from glacierflow.local.batch.jobs import Job, now_ms
from glacierflow.local.batch.scheduler import EXITED, AttemptResult, Place, QueueView, Scheduler
from glacierflow.local.options import CloudOptions

LogSink = Callable[[Job, str, str | None], None]
"""Called with the job, the log stream and a line; with None when the stream starts."""

TIMED_OUT = "Job attempt duration exceeded timeout"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
NOT_STARTED = "Task failed to start"

METADATA_PREFIX = "/_glacierflow/metadata"
_TOKEN = "token-of-the-embedded-cloud"  # noqa: S105 - it guards nothing
NOTICE_INTERVAL_S = 5.0
"""Batch seconds between two looks of a child."""
STOP_GRACE_S, SPOT_NOTICE_S = 30.0, 120.0
"""Batch seconds between SIGTERM and SIGKILL: of a stopped container, and of a reclaimed instance."""
RECLAIM_WITHIN_S = (0.2, 3.0)
"""Real seconds after its start at which a reclaimed attempt gets its notice: early, so that short ones
feel it."""


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

    def __init__(self, job: Job, attempt: Attempt) -> None:
        self.job = job
        self.attempt = attempt
        self.stop: _Stop | None = None
        self.timers: list[threading.Timer] = []

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after some real seconds, unless the attempt ends before."""
        timer = threading.Timer(seconds, what)
        timer.daemon = True
        self.timers.append(timer)
        timer.start()


class InstanceMetadata:
    """WSGI: the metadata service of instances, IMDSv2, as far as children on spot ask it.

    Each attempt has an address of its own: the first part of the path.
    """

    def __init__(self) -> None:
        self._notices: dict[str, str | None] = {}

    def open(self, attempt: str) -> None:
        """From now on the address of an attempt answers that there is no notice."""
        self._notices[attempt] = None

    def give_notice(self, attempt: str, seconds: float) -> None:
        """Say that its instance ends so many real seconds from now."""
        ends = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        self._notices[attempt] = json.dumps({"action": "terminate", "time": f"{ends:%Y-%m-%dT%H:%M:%SZ}"})

    def close(self, attempt: str) -> None:
        """Forget an attempt that has ended."""
        self._notices.pop(attempt, None)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        attempt, _, path = environ.get("PATH_INFO", "").removeprefix("/").partition("/")
        asked = environ["REQUEST_METHOD"], path
        notice = self._notices.get(attempt)
        if asked == ("PUT", "latest/api/token") and "HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS" in environ:
            status, text = "200 OK", _TOKEN
        elif environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN") != _TOKEN:
            status, text = "401 Unauthorized", ""
        elif asked == ("GET", "latest/meta-data/spot/instance-action") and notice is not None:
            status, text = "200 OK", notice
        else:
            status, text = "404 Not Found", ""
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text.encode()]


class Executor:
    """Runs attempts, one thread each."""

    def __init__(
        self,
        options: CloudOptions,
        scheduler: Callable[[], Scheduler],
        log: LogSink,
        runner: Runner,
    ) -> None:
        self._options = options
        self._scheduler = scheduler
        self._log = log
        self._runner = runner
        self.metadata = InstanceMetadata()
        self._lock = threading.RLock()
        self._running: dict[Job, _Running] = {}
        self._early_stops: dict[Job, _Stop] = {}

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
            running.attempt.kill()
        for thread in threads:
            thread.join(2)

    def _attempt(self, job: Job, queue: QueueView, place: Place) -> None:
        number = len(job.attempts) + 1
        stream = f"{job.spec.log_prefix}/default/{uuid.uuid4().hex}"
        attempt: dict[str, Any] = {"container": {"networkInterfaces": []}}
        try:
            if job.spec.start_error:
                raise StartError(f"CannotStartContainerError: {job.spec.start_error}")
            order = _order(job, number, queue, place)
            if place.spot:
                self.metadata.open(stream[-32:])
                order = replace(order, environment=dict(order.environment) | self._notices(stream[-32:]))
            started = self._runner.start(order)
        except StartError as error:
            with self._lock:
                stopped = self._early_stops.pop(job, None) is not None
            result = AttemptResult(None, str(error), NOT_STARTED, may_retry=not stopped)
            self._scheduler().ended(job, attempt, result)
            return
        attempt["startedAt"] = now_ms()
        attempt["container"]["logStreamName"] = stream
        running = _Running(job, started)
        self._log(job, stream, None)
        with self._lock:
            self._running[job] = running
            early = self._early_stops.pop(job, None)
        self._scheduler().started(job, attempt, stream)
        if early:
            self._request_stop(job, early)
        self._set_timers(running, number, place, stream[-32:])
        result = self._wait(running, stream)
        self.metadata.close(stream[-32:])
        self._scheduler().ended(job, attempt, result)

    def _wait(self, running: _Running, stream: str) -> AttemptResult:
        job = running.job
        pump = threading.Thread(target=self._pump, args=(running, stream), daemon=True)
        pump.start()
        ended = running.attempt.wait()
        pump.join(5)
        with self._lock:
            del self._running[job]
        for timer in running.timers:
            timer.cancel()
        if ended.out_of_memory and ended.exit_code:
            return AttemptResult(ended.exit_code, OUT_OF_MEMORY, EXITED, failed=True)
        stop = running.stop
        if stop is None:
            return AttemptResult(ended.exit_code, None, EXITED)
        # A container that finishes its work within a spot notice has succeeded; a stopped one never has.
        job.terminated = stop.by_user
        finished = stop.may_retry and ended.exit_code == 0
        reason = EXITED if finished else stop.status_reason
        return AttemptResult(ended.exit_code, None, reason, may_retry=stop.may_retry, failed=not finished)

    def _pump(self, running: _Running, stream: str) -> None:
        for line in running.attempt.lines():
            self._log(running.job, stream, line.rstrip("\n"))

    def _notices(self, attempt: str) -> dict[str, str]:
        """Where a child on spot looks for the notice, and how often."""
        interval = self._options.real_seconds(NOTICE_INTERVAL_S)
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self._options.endpoint}{METADATA_PREFIX}/{attempt}",
            "GLACIERFLOW_NOTICE_INTERVAL_S": f"{interval:g}",
        }

    def _set_timers(self, running: _Running, number: int, place: Place, name: str) -> None:
        job, options = running.job, self._options
        if job.spec.timeout_s:
            stop = _Stop(TIMED_OUT, may_retry=False, grace_s=STOP_GRACE_S)
            running.later(options.real_seconds(job.spec.timeout_s), lambda: self._request_stop(job, stop))
        chance = random.Random(f"{options.seed}/{job.spec.name}/{job.index}/{number}")  # noqa: S311 - no secret
        if place.spot and chance.random() < options.spot_reclaim:
            instance = f"i-{chance.getrandbits(68):017x}"
            grace = SPOT_NOTICE_S if options.reclaim == "kind" else 0.0
            reclaim = _Stop(f"Host EC2 (instance {instance}) terminated.", may_retry=True, grace_s=grace)
            notice = chance.uniform(*RECLAIM_WITHIN_S)
            if options.reclaim == "kind":
                running.later(notice, lambda: self._request_stop(job, reclaim))
                return
            left = options.real_seconds(SPOT_NOTICE_S)
            running.later(notice, lambda: self.metadata.give_notice(name, left))
            running.later(notice + left, lambda: self._request_stop(job, reclaim))

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
        if stop.grace_s:
            running.attempt.ask_to_end()
        running.later(self._options.real_seconds(stop.grace_s), running.attempt.kill)


def _order(job: Job, number: int, queue: QueueView, place: Place) -> Order:
    """The container of one attempt, with the environment that Batch adds."""
    spec = job.spec
    batch = {
        "AWS_BATCH_JOB_ID": job.job_id,
        "AWS_BATCH_JOB_ATTEMPT": str(number),
        "AWS_BATCH_JQ_NAME": queue.name,
        "AWS_BATCH_CE_NAME": place.name,
    }
    if job.index is not None:
        batch["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
    return Order(
        owner=job.job_id,
        region=spec.region,
        image=spec.image,
        command=filled_command(spec.command, spec.parameters),
        environment=spec.environment | batch,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        user=spec.user,
        read_only=spec.read_only,
    )
