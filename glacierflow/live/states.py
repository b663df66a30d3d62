"""How the slots of a run stand on each service, in the words of AWS Batch, and how they are ended there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from glacierflow.aws.batch import describe_run, find_job
from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.launch.stepfunctions import (
    describe_execution,
    never_sent,
    not_begun,
    running_executions,
)
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.runs.ledger import AttemptKey, EntryReader
from glacierflow.runs.records import Attempts, JobRecord, list_attempts
from glacierflow.runs.states import GOOD_OUTCOMES, LIVE_STATES, BatchView, SlotState
from glacierflow.store import Store

LONGEST_S: dict[str, float] = {"lambda": 900.0}
"""Seconds after which an attempt without a receipt cannot be alive any more."""

_EXPIRES = dt.timedelta(hours=6, minutes=15)
"""An asynchronous invocation waits six hours at most in Lambda's queue."""

_EXIT_CODES = {"done": 0, "no_data": 0, "partial": 0, "interrupted": 75, "unavailable": 75}

_DESCRIBE_LIMIT = 100
_TASK_STATES = {
    "PROVISIONING": "RUNNABLE",
    "PENDING": "STARTING",
    "ACTIVATING": "STARTING",
    "RUNNING": "RUNNING",
    "DEACTIVATING": "RUNNING",
    "STOPPING": "RUNNING",
    "DEPROVISIONING": "RUNNING",
}
_SHOWN = dt.timedelta(minutes=10)
"""By then ECS shows every task it was asked to run; it forgets one an hour after its end."""


def states_by_attempts(
    job: JobRecord,
    attempts: Mapping[int, Attempts],
    starts: Mapping[tuple[int, int], AttemptEntry],
    now: dt.datetime,
    *,
    cancelled: bool = False,
) -> dict[int, SlotState]:
    """The state of each slot of an array, in the words of AWS Batch.

    Args:
        job: the record that stands for the array.
        attempts: attempts by slot, from the listing.
        starts: what the latest attempts without a receipt wrote when they started, and what interrupted ones
            wrote at their end.
        now: the time, UTC.
        cancelled: whether what has not begun will do nothing.
    """
    states = {slot: _state(job, slot, attempts.get(slot), starts, now) for slot in job.slots}
    if not cancelled:
        return states
    return {
        slot: replace(state, state="FAILED", ended_by_request=True, explained=True)
        if state.state == "SUBMITTED"
        else state
        for slot, state in states.items()
    }


def _state(
    job: JobRecord,
    slot: int,
    attempts: Attempts | None,
    starts: Mapping[tuple[int, int], AttemptEntry],
    now: dt.datetime,
) -> SlotState:
    where = f"{job.job_id}/{slot}"
    if attempts is None:
        if job.service == "lambda" and now - job.submitted_at > _EXPIRES:
            reason = "the invocation never began; see the queue for failures"
            return SlotState("FAILED", where, status_reason=reason, cause="start", explained=True)
        return SlotState("SUBMITTED", where)
    outcome, started = attempts.outcomes[attempts.latest], starts.get((slot, attempts.latest))
    if started is not None and started.sent_on and started.ended_at is not None:
        if now - started.ended_at > _EXPIRES:
            return SlotState(
                "FAILED", where, status_reason=_NOT_GONE_ON, exit_code=75, cause="timeout", explained=True
            )
        return SlotState("SUBMITTED", where)
    if outcome is not None:
        return _ended(job, where, outcome)
    longest = LONGEST_S.get(job.service)
    if started is not None and longest is not None:
        age = (now - started.started_at).total_seconds()
        if age > longest:
            return SlotState("FAILED", where, status_reason=_TIMED_OUT, cause="timeout", explained=True)
    return SlotState("RUNNING", where)


_TIMED_OUT = "Lambda's deadline cut the invocation"
_NOT_GONE_ON = f"{_TIMED_OUT}, and the invocation for what was left never began; see the queue for failures"


def _ended(job: JobRecord, where: str, outcome: str) -> SlotState:
    state = "SUCCEEDED" if outcome in GOOD_OUTCOMES else "FAILED"
    stopped_in_time = outcome == "interrupted" and job.service == "lambda"
    return SlotState(
        state,
        where,
        status_reason=_TIMED_OUT if stopped_in_time else None,
        cause="timeout" if stopped_in_time else None,
        exit_code=_EXIT_CODES.get(outcome),
        explained=True,
    )


def view_of(
    manifest: Manifest,
    jobs: Sequence[JobRecord],
    store: Store,
    cloud: Cloud,
    *,
    known: BatchView | None = None,
    explain: bool = True,
    reader: EntryReader | None = None,
) -> BatchView:
    """How every slot of a run stands, in the words of AWS Batch.

    Lambda keeps nothing of an invocation and ECS forgets a task an hour after its end, so there the receipts
    tell, and what ECS still knows is laid over them. Without ``explain``, Batch is not asked why the
    children of arrays failed. Where attempts cannot live for longer than a limit, ``reader`` reads when they
    started; one that looks again and again has its own.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    maps = [job for job in jobs if job.over_lambda]
    begun, unknown = _of_machine(manifest, jobs, cloud)
    slots = not_begun(manifest, unknown, store, cloud)
    own = [job for job in jobs if job.service == "batch"] + begun
    others = [job for job in jobs if job.service not in {"batch", "stepfunctions"}]
    failed = any(state.state == "FAILED" for state in slots.values())
    attempts = list_attempts(store, manifest.run_id) if others or maps or failed else {}
    if failed:
        # Batch forgets jobs after a week: what has left a trace was sent, and what is known stays known
        traced = {*attempts, *(known.slots if known else ())}
        slots = {slot: state for slot, state in slots.items() if slot not in traced}
    if own:
        slots.update(describe_run(own, cloud, known=known, explain=explain).slots)
    if not others and not maps:
        return BatchView(slots)
    reader = reader or EntryReader(store, manifest.run_id)
    as_lambda = [job.model_copy(update={"service": "lambda"}) for job in maps]
    keys = _unclear([*others, *as_lambda], attempts)
    starts = {(one.slot, one.attempt): one for one in reader.read(keys, attempts=len(attempts))}
    now, cancelled = dt.datetime.now(dt.UTC), store.exists(RunLayout(manifest.run_id).cancelled)
    for job in as_lambda:
        # six hours are the limit of Lambda's own queue, which a map does not use
        told = states_by_attempts(job, attempts, starts, now)
        begun_there = {slot: state for slot, state in told.items() if slot in attempts}
        slots.update(_of_map(job, begun_there, manifest, store, cloud))
    for job in others:
        slots.update(states_by_attempts(job, attempts, starts, now, cancelled=cancelled))
        for slot, state in _tasks(job, cloud, slots, now).items():
            if state is None:
                del slots[slot]
            else:
                slots[slot] = state
    return BatchView(slots)


def _unclear(jobs: Sequence[JobRecord], attempts: Mapping[int, Attempts]) -> list[AttemptKey]:
    """Latest attempts whose names do not tell how a slot stands.

    Those without a receipt cannot be alive any more after some time, and interrupted ones may have started
    another.
    """
    limited = [job for job in jobs if job.service in LONGEST_S]
    slots = {slot for job in limited for slot in job.slots}
    latest = ((slot, of.latest, of.outcomes[of.latest]) for slot, of in attempts.items() if slot in slots)
    return [key for key in latest if key[2] in {None, "interrupted"}]


def batch_jobs(manifest: Manifest, jobs: Sequence[JobRecord], cloud: Cloud) -> list[JobRecord]:
    """The AWS Batch jobs of a run, whether it or a state machine sent them."""
    return [job for job in jobs if job.service == "batch"] + _of_machine(manifest, jobs, cloud)[0]


def _of_machine(
    manifest: Manifest, jobs: Sequence[JobRecord], cloud: Cloud
) -> tuple[list[JobRecord], list[JobRecord]]:
    """The Batch jobs a state machine has sent so far, and the records of those that Batch does not know."""
    begun: list[JobRecord] = []
    unknown: list[JobRecord] = []
    for job in jobs:
        if job.service != "stepfunctions" or job.over_lambda:
            continue
        found = find_job(manifest, job.number, cloud, job_queue=job.job_queue)
        if found is None:
            unknown.append(job)
        else:
            begun.append(found)
    return begun, unknown


def _of_map(
    job: JobRecord, states: Mapping[int, SlotState], manifest: Manifest, store: Store, cloud: Cloud
) -> dict[int, SlotState]:
    """Slots that a state machine sends over Lambda: those that have begun, and how the others stand.

    Of an execution that Step Functions has forgotten the receipts tell.
    """
    waiting = set(job.slots) - states.keys()
    answer = describe_execution(job.job_id, cloud) if waiting else None
    if answer is None:
        return dict(states)
    state = SlotState("SUBMITTED", job.job_id)
    if answer["status"] != "RUNNING":
        state = never_sent(job, answer)
    elif store.exists(RunLayout(manifest.run_id).mapped):
        reason = "the invocation never began; see the state machine's execution"
        state = SlotState("FAILED", job.job_id, status_reason=reason, cause="start", explained=True)
    return {**states, **dict.fromkeys(waiting, state)}


def _tasks(
    job: JobRecord, cloud: Cloud, slots: Mapping[int, SlotState], now: dt.datetime
) -> dict[int, SlotState | None]:
    """Tasks that have not ended well by their receipts, as ECS has them; None for what it has forgotten."""
    wanted = {
        task: slot
        for slot, task in enumerate(job.tasks, job.first_slot)
        if task and slots[slot].state != "SUCCEEDED"
    }
    found = {task["taskArn"]: _task_state(task) for task in _describe(job, cloud, list(wanted))}
    forgets = now - job.submitted_at > _SHOWN
    # a task that ECS no longer knows is not alive, whatever its receipts leave open
    gone = [task for task in wanted if task not in found and slots[wanted[task]].state in LIVE_STATES]
    states: dict[int, SlotState | None] = {wanted[task]: state for task, state in found.items()}
    return states | dict.fromkeys((wanted[task] for task in gone) if forgets else (), None)


def _describe(job: JobRecord, cloud: Cloud, tasks: Sequence[str]) -> Iterator[dict[str, Any]]:
    client = cloud.client("ecs") if tasks else None
    for first in range(0, len(tasks), _DESCRIBE_LIMIT):
        chunk = list(tasks[first : first + _DESCRIBE_LIMIT])
        with plain_errors("describe tasks", service="ECS"):
            yield from client.describe_tasks(cluster=job.job_id, tasks=chunk)["tasks"]  # type: ignore[union-attr]


def _task_state(task: dict[str, Any]) -> SlotState:
    arn, container = task["taskArn"], task["containers"][0]
    state = _TASK_STATES.get(task["lastStatus"])
    if state is not None:
        return SlotState(state, arn)
    code = container.get("exitCode")
    ended = SlotState(
        "SUCCEEDED" if code == 0 else "FAILED",
        arn,
        status_reason=task.get("stoppedReason"),
        container_reason=container.get("reason"),
        exit_code=code,
        ended_by_request=task.get("stopCode") == "UserInitiated",
        explained=True,
    )
    if task.get("stopCode") == "TaskFailedToStart":
        return replace(ended, cause="start")
    return ended


def stop_slots(
    manifest: Manifest,
    jobs: Sequence[JobRecord],
    live: set[int],
    store: Store,
    cloud: Cloud,
    *,
    whole: bool,
    reason: str,
) -> None:
    """End some slots, whichever service runs them; an invocation of Lambda that runs cannot be ended.

    Args:
        manifest: the run.
        jobs: its jobs.
        live: the slots to end.
        store: where a run on Lambda is marked, which keeps its retries from going on.
        cloud: whose services.
        whole: whether those are all that is left of the run, so that parents can be ended.
        reason: what the service is told, and says from then on.

    Raises:
        UsageError: AWS refuses.
        UnavailableError: AWS cannot be reached.
    """
    services = {job.service for job in jobs}
    if whole and live and "lambda" in services:
        store.put(RunLayout(manifest.run_id).cancelled, b"{}")
    for execution in running_executions(jobs, cloud) if whole else ():
        with plain_errors("stop the state machine", service="Step Functions"):
            cloud.client("stepfunctions").stop_execution(executionArn=execution, cause=reason)
    for cluster, task in _tasks_of(jobs, live):
        with plain_errors(f"stop the task {task}", service="ECS"):
            cloud.client("ecs").stop_task(cluster=cluster, task=task, reason=reason)
    for job_id in _job_ids(batch_jobs(manifest, jobs, cloud), live, whole=whole):
        with plain_errors(f"terminate the job {job_id}"):
            cloud.client("batch").terminate_job(jobId=job_id, reason=reason)


def _tasks_of(jobs: Sequence[JobRecord], live: set[int]) -> list[tuple[str, str]]:
    return [
        (job.job_id, task)
        for job in jobs
        for slot, task in enumerate(job.tasks, job.first_slot)
        if task and slot in live
    ]


def _job_ids(jobs: list[JobRecord], live: set[int], *, whole: bool) -> list[str]:
    """The parents where all of a run is ended, else the children."""
    found = []
    for job in jobs:
        own = sorted(live & set(job.slots))
        if own and (whole or not job.is_array):
            found.append(job.job_id)
        else:
            found += [f"{job.job_id}:{slot - job.first_slot}" for slot in own]
    return found
