"""What the service that runs a run says of it, whichever service that is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.manifest import Manifest
from glacierflow.runs.elsewhere import states_by_attempts
from glacierflow.runs.records import JobRecord, ReceiptReader, list_attempts
from glacierflow.runs.states import BatchView, SlotState
from glacierflow.runs.status import unended_attempts
from glacierflow.services.failures import plain_errors
from glacierflow.services.jobs import describe_run
from glacierflow.store import Store

__all__ = ["view_of"]

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
_ENDED_WELL = {"SUCCEEDED"}


def view_of(
    manifest: Manifest,
    jobs: Sequence[JobRecord],
    store: Store,
    cloud: Cloud,
    *,
    known: BatchView | None = None,
) -> BatchView:
    """How every slot of a run stands, in the words of AWS Batch.

    Lambda keeps nothing of an invocation and ECS forgets a task an hour after its end, so there the receipts
    tell, and what ECS still knows is laid over them.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    own = [job for job in jobs if job.service in {"batch", "stepfunctions"}]
    others = [job for job in jobs if job.service not in {"batch", "stepfunctions"}]
    slots = dict(describe_run(own, cloud, known=known).slots) if own else {}
    if not others:
        return BatchView(slots)
    attempts = list_attempts(store, manifest.run_id)
    reader, unended = ReceiptReader(store, manifest.run_id), unended_attempts(attempts)
    starts = {(one.slot, one.attempt): one for one in reader.starts(unended)}
    now = dt.datetime.now(dt.UTC)
    for job in others:
        slots.update(states_by_attempts(job, attempts, starts, now))
        slots.update(_tasks(job, cloud, slots))
    return BatchView(slots)


def _tasks(job: JobRecord, cloud: Cloud, slots: dict[int, SlotState]) -> dict[int, SlotState]:
    """Tasks that have not ended well by their receipts, as ECS has them."""
    wanted = {
        task: slot
        for slot, task in enumerate(job.tasks, job.first_slot)
        if task and slots[slot].state not in _ENDED_WELL
    }
    return {wanted[task["taskArn"]]: _task_state(task) for task in _describe(job, cloud, list(wanted))}


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
        # Batch's word for it, which classify knows
        reason = f"Task failed to start: {task.get('stoppedReason')}"
        return replace(ended, status_reason=reason, container_reason=task.get("stoppedReason"))
    return ended
