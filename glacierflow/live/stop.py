"""End slots of a run, in the words of the service that runs them."""

from __future__ import annotations

from collections.abc import Sequence

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.launch.stepfunctions import running_executions
from glacierflow.live.states import batch_jobs
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.runs.records import JobRecord
from glacierflow.store import Store


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
    for cluster, task in _tasks(jobs, live):
        with plain_errors(f"stop the task {task}", service="ECS"):
            cloud.client("ecs").stop_task(cluster=cluster, task=task, reason=reason)
    for job_id in _job_ids(batch_jobs(manifest, jobs, cloud), live, whole=whole):
        with plain_errors(f"terminate the job {job_id}"):
            cloud.client("batch").terminate_job(jobId=job_id, reason=reason)


def _tasks(jobs: Sequence[JobRecord], live: set[int]) -> list[tuple[str, str]]:
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
        own = sorted(live & set(range(job.first_slot, job.first_slot + job.size)))
        if own and (whole or not job.is_array):
            found.append(job.job_id)
        else:
            found += [f"{job.job_id}:{slot - job.first_slot}" for slot in own]
    return found
