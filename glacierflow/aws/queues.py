"""A job queue as it is: how much waits and runs, what stands at its head, and its compute environments."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from glacierflow.aws.batch import describe_jobs
from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.model.records import Record
from glacierflow.runs.aws_messages import judge_waiting
from glacierflow.runs.states import LIVE_STATES, STATES, FailureClass

_AT_WORK = ("STARTING", "RUNNING")
_LIVE = [state for state in STATES if state in LIVE_STATES]


class HeadJob(Record):
    """The RUNNABLE job that has its turn next."""

    job_id: str
    name: str
    age_s: float | None
    """Seconds since it was submitted."""
    at_head_s: float | None
    """Seconds for which it has stood there; None where Batch gives no snapshot."""
    reason: str | None
    """Why it does not move, where Batch says so."""
    failure: FailureClass | None
    sentence: str | None
    """The same in plain words."""
    next_step: str | None


class EnvironmentReport(Record):
    """One compute environment of a queue."""

    name: str
    kind: str
    """``SPOT``, ``EC2``, ``FARGATE``..."""
    state: str
    status: str
    reason: str | None
    """Batch's own words on its status."""
    vcpus: int | None
    """vCPUs of the machines that Batch wants now; None for Fargate."""
    max_vcpus: int | None
    subnets: tuple[str, ...] = ()
    """Where its machines start."""

    @property
    def healthy(self) -> bool:
        """Whether it can take jobs."""
        return self.state == "ENABLED" and self.status in {"VALID", "UPDATING"}


class QueueReport(Record):
    """One queue."""

    name: str
    state: str
    status: str
    depth: dict[str, int]
    """Children and plain jobs by state; ended ones are not counted."""
    head: HeadJob | None
    environments: tuple[EnvironmentReport, ...]
    vcpus_in_use: float | None = None
    """Of its jobs that are starting or running; None where nobody tells."""
    notice: str | None = None
    """What could not be asked."""

    @property
    def healthy(self) -> bool:
        """Whether it takes jobs, some environment can run them, and nothing blocks its head."""
        usable = self.state == "ENABLED" and any(one.healthy for one in self.environments)
        return usable and (self.head is None or self.head.failure is None)


def look_at_queue(name: str, cloud: Cloud, *, now: dt.datetime | None = None) -> QueueReport:
    """Ask about one queue: seven calls, and more only for what fills more than one page.

    Args:
        name: name or ARN.
        cloud: whose AWS Batch.
        now: the time; None is the present.

    Raises:
        UsageError: there is no such queue, or AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    client = cloud.client("batch")
    with plain_errors(f"look up the job queue {name}"):
        queues = client.describe_job_queues(jobQueues=[name])["jobQueues"]
    if not queues:
        raise UsageError(
            f"there is no job queue {name} in {cloud.region}",
            next_step="deploy the stack with `glacierflow stack deploy`, or name another in aws_config.ini",
        )
    queue = queues[0]
    jobs = _live_jobs(client, name)
    parents = list(describe_jobs(client, [job["jobId"] for job in jobs if _may_be_parent(job)]))
    snapshot, notice = _snapshot(client, name)
    head = _head(client, snapshot, jobs, parents, now or dt.datetime.now(dt.UTC))
    in_use = _vcpus_in_use(snapshot)
    return QueueReport(
        name=queue["jobQueueName"],
        state=queue.get("state", "ENABLED"),
        status=queue.get("status", "VALID"),
        depth=_depth(jobs, parents),
        head=head,
        environments=_environments(client, queue),
        vcpus_in_use=_vcpus_of_jobs(client, jobs, parents) if in_use is None else in_use,
        notice=notice,
    )


def _vcpus_in_use(snapshot: dict[str, Any] | None) -> float | None:
    """As Batch adds them up; only newer ones do."""
    usage = (snapshot or {}).get("queueUtilization", {}).get("totalCapacityUsage")
    if usage is None:
        return None
    return sum(float(one["quantity"]) for one in usage if one["capacityUnit"].upper() in {"VCPU", "CPU"})


def _vcpus_of_jobs(client: Any, jobs: list[dict[str, Any]], parents: list[dict[str, Any]]) -> float:  # noqa: ANN401
    """Of what is starting or running, by what each job asked for; a call a hundred plain jobs."""
    counts = {job["jobId"]: 1 for job in jobs if job["status"] in _AT_WORK}
    described = list(describe_jobs(client, list(counts)))
    total = 0.0
    for job in (*parents, *described):
        summary = job.get("arrayProperties", {}).get("statusSummary", {})
        count = counts.get(job["jobId"]) or sum(summary.get(state, 0) for state in _AT_WORK)
        total += count * _vcpus(job)
    return total


def _vcpus(job: dict[str, Any]) -> float:
    wanted = job.get("container", {}).get("resourceRequirements", [])
    return sum(float(one["value"]) for one in wanted if one["type"] == "VCPU")


def _live_jobs(client: Any, queue: str) -> list[dict[str, Any]]:  # noqa: ANN401
    found = []
    with plain_errors(f"list the jobs of {queue}"):
        for state in _LIVE:
            pages = client.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus=state)
            found += [job | {"status": state} for page in pages for job in page["jobSummaryList"]]
    return found


def _may_be_parent(job: dict[str, Any]) -> bool:
    return job["status"] in {"SUBMITTED", "PENDING"}


def _depth(jobs: list[dict[str, Any]], parents: list[dict[str, Any]]) -> dict[str, int]:
    summaries = {
        job["jobId"]: summary
        for job in parents
        if (summary := job.get("arrayProperties", {}).get("statusSummary"))
    }
    counts = Counter(job["status"] for job in jobs if job["jobId"] not in summaries)
    for summary in summaries.values():
        counts.update(summary)
    return {state: counts[state] for state in _LIVE if counts[state]}


def _snapshot(client: Any, queue: str) -> tuple[dict[str, Any] | None, str | None]:  # noqa: ANN401
    """Batch's own; or None, and why."""
    from botocore.exceptions import ClientError

    try:
        return client.get_job_queue_snapshot(jobQueue=queue), None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return None, f"the order of the queue could not be asked for ({code})"


def _head(
    client: Any,  # noqa: ANN401
    snapshot: dict[str, Any] | None,
    jobs: list[dict[str, Any]],
    parents: list[dict[str, Any]],
    now: dt.datetime,
) -> HeadJob | None:
    if snapshot is None:
        return _head_job(_first_runnable(client, jobs, parents), None, now)
    front = snapshot["frontOfQueue"]["jobs"]
    if not front:
        return None
    job_id = front[0]["jobArn"].rpartition("job/")[2]
    found = next(iter(describe_jobs(client, [job_id])), None)
    return _head_job(found, front[0].get("earliestTimeAtPosition"), now)


def _first_runnable(
    client: Any,  # noqa: ANN401
    jobs: list[dict[str, Any]],
    parents: list[dict[str, Any]],
) -> dict[str, Any] | None:
    """The oldest RUNNABLE job by its submission, where Batch does not tell the order."""
    waiting = [job["jobId"] for job in jobs if job["status"] == "RUNNABLE"]
    for parent in sorted(parents, key=lambda job: job.get("createdAt", 0)):
        if parent.get("arrayProperties", {}).get("statusSummary", {}).get("RUNNABLE"):
            with plain_errors(f"list the children of {parent['jobId']}"):
                answer = client.list_jobs(arrayJobId=parent["jobId"], jobStatus="RUNNABLE", maxResults=1)
            waiting += [job["jobId"] for job in answer["jobSummaryList"]]
            break
    found = list(describe_jobs(client, waiting[:100]))
    return min(found, key=lambda job: job.get("createdAt", 0), default=None)


def _head_job(job: dict[str, Any] | None, since_ms: int | None, now: dt.datetime) -> HeadJob | None:
    if job is None:
        return None
    reason = job.get("statusReason")
    verdict = judge_waiting(reason or "")
    return HeadJob(
        job_id=job["jobId"],
        name=job["jobName"],
        age_s=_age(job.get("createdAt"), now),
        at_head_s=_age(since_ms, now),
        reason=reason,
        failure=verdict.failure if verdict else None,
        sentence=verdict.sentence if verdict else None,
        next_step=verdict.next_step if verdict else None,
    )


def _age(milliseconds: int | None, now: dt.datetime) -> float | None:
    return None if milliseconds is None else round(now.timestamp() - milliseconds / 1000, 1)


def _environments(client: Any, queue: dict[str, Any]) -> tuple[EnvironmentReport, ...]:  # noqa: ANN401
    order = sorted(queue.get("computeEnvironmentOrder", []), key=lambda entry: entry["order"])
    names = [entry["computeEnvironment"] for entry in order]
    if not names:
        return ()
    with plain_errors("look up the compute environments"):
        found = client.describe_compute_environments(computeEnvironments=names)["computeEnvironments"]
    by_name = {
        key: one for one in found for key in (one["computeEnvironmentName"], one["computeEnvironmentArn"])
    }
    return tuple(_environment(by_name[name]) for name in names if name in by_name)


def _environment(found: dict[str, Any]) -> EnvironmentReport:
    resources = found.get("computeResources", {})
    return EnvironmentReport(
        name=found["computeEnvironmentName"],
        kind=resources.get("type", found.get("type", "UNMANAGED")),
        state=found.get("state", "ENABLED"),
        status=found.get("status", "VALID"),
        reason=found.get("statusReason"),
        vcpus=resources.get("desiredvCpus"),
        max_vcpus=resources.get("maxvCpus"),
        subnets=tuple(resources.get("subnets", ())),
    )
