"""AWS Batch: submit the jobs of a run, and ask how they are with as few calls as possible."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.layout import RunLayout
from glacierflow.manifest import Manifest
from glacierflow.runs.plan import job_name, submit_requests
from glacierflow.runs.records import JobRecord, write_job
from glacierflow.runs.status import STATES, BatchView, SlotState
from glacierflow.services.failures import plain_errors
from glacierflow.store import Store

__all__ = ["describe_run", "find_lost_jobs", "submit_run"]

_DESCRIBE_LIMIT = 100
_NEW = dt.timedelta(minutes=2)
"""A job this young that Batch does not describe is not forgotten: it is not shown yet."""

_DEFAULT_LOG_GROUP = "/aws/batch/job"
_ENDED = {"SUCCEEDED", "FAILED"}


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the jobs go, checked to exist."""

    job_queue: str
    job_definition: str
    """``name:revision``, so that a later revision does not change a run that is on its way."""
    log_group: str


def submit_run(
    manifest: Manifest,
    cloud: Cloud,
    store: Store,
    *,
    job_queue: str,
    job_definition: str,
    tags: dict[str, str] | None = None,
) -> list[JobRecord]:
    """Write the manifest and submit the run's jobs; each job's id is kept right after its submission.

    Args:
        manifest: the run.
        cloud: whose AWS Batch.
        store: where the manifest and the job records go; checked before anything else.
        job_queue: name or ARN.
        job_definition: name, ``name:revision`` or ARN; a bare name means its latest revision.
        tags: further tags of the jobs.

    Raises:
        UsageError: bucket, queue or definition is missing, or AWS refuses the request.
        UnavailableError: AWS cannot be reached.
    """
    store.check_writable()
    client = cloud.client("batch")
    target = _find_target(client, job_queue, job_definition)
    requests = submit_requests(
        manifest, job_queue=target.job_queue, job_definition=target.job_definition, tags=tags
    )
    content = manifest.model_dump_json(indent=1).encode()
    if not store.put(RunLayout(manifest.run_id).manifest, content, if_absent=True):
        raise UsageError(
            f"the run {manifest.run_id} was submitted a moment ago",
            next_step="wait a second and submit again",
        )
    records = []
    for number, (array, request) in enumerate(zip(manifest.arrays, requests, strict=True)):
        with plain_errors(f"submit job {number} of {manifest.run_id}"):
            answer = client.submit_job(**request)
        record = JobRecord(
            number=number,
            name=request["jobName"],
            job_id=answer["jobId"],
            job_queue=target.job_queue,
            job_definition=target.job_definition,
            first_slot=array.first_slot,
            size=array.size,
            submitted_at=dt.datetime.now(dt.UTC),
            log_group=target.log_group,
        )
        write_job(store, manifest.run_id, record)
        records.append(record)
    return records


def _find_target(client: Any, job_queue: str, job_definition: str) -> _Target:  # noqa: ANN401
    with plain_errors(f"look up the job queue {job_queue}"):
        queues = client.describe_job_queues(jobQueues=[job_queue])["jobQueues"]
    if not queues:
        raise UsageError(
            f"there is no job queue {job_queue} in {client.meta.region_name}",
            next_step="deploy batch/template.yaml, or set job_queue in [BATCH] of aws_config.ini",
        )
    if queues[0].get("state", "ENABLED") != "ENABLED":
        raise UsageError(f"the job queue {job_queue} is disabled", next_step="enable it, or name another")
    definitions = list(_definitions(client, job_definition))
    if not definitions:
        raise UsageError(
            f"there is no active job definition {job_definition} in {client.meta.region_name}",
            next_step="deploy batch/template.yaml, or set job_definition in [BATCH] of aws_config.ini",
        )
    newest = max(definitions, key=lambda definition: int(definition["revision"]))
    logs = newest.get("containerProperties", {}).get("logConfiguration", {}).get("options", {})
    return _Target(
        job_queue=job_queue,
        job_definition=f"{newest['jobDefinitionName']}:{newest['revision']}",
        log_group=logs.get("awslogs-group", _DEFAULT_LOG_GROUP),
    )


def _definitions(client: Any, wanted: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Active revisions that a name, ``name:revision`` or ARN can mean."""
    name, _, revision = wanted.rpartition("/")[2].partition(":")
    with plain_errors(f"look up the job definition {wanted}"):
        pages = client.get_paginator("describe_job_definitions").paginate(
            jobDefinitionName=name, status="ACTIVE"
        )
        for page in pages:
            for definition in page["jobDefinitions"]:
                if not revision or str(definition["revision"]) == revision:
                    yield definition


def find_lost_jobs(
    manifest: Manifest, records: Sequence[JobRecord], cloud: Cloud, *, job_queue: str
) -> list[JobRecord]:
    """Jobs a submitter sent but did not live to record, found by their names."""
    client = cloud.client("batch")
    known = {record.number for record in records}
    found = []
    for number, array in enumerate(manifest.arrays):
        if number in known:
            continue
        name = job_name(manifest.run_id, number)
        with plain_errors(f"look for the job {name}"):
            pages = client.get_paginator("list_jobs").paginate(
                jobQueue=job_queue, filters=[{"name": "JOB_NAME", "values": [name]}]
            )
            jobs = [job for page in pages for job in page["jobSummaryList"] if job["jobName"] == name]
        found += [
            JobRecord(
                number=number,
                name=name,
                job_id=job["jobId"],
                job_queue=job_queue,
                job_definition=job.get("jobDefinition", ""),
                first_slot=array.first_slot,
                size=array.size,
                submitted_at=dt.datetime.fromtimestamp(job["createdAt"] / 1000, dt.UTC),
            )
            for job in jobs[:1]
        ]
    return found


def describe_run(records: Sequence[JobRecord], cloud: Cloud, *, known: BatchView | None = None) -> BatchView:
    """What AWS Batch says of every slot of a run.

    One DescribeJobs tells the counts of every array; ListJobs is asked only for the states that some but not
    all children are in, the commonest of them left out; only failed children are described one by one, and
    those in ``known`` not again.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    client = cloud.client("batch")
    jobs = {job["jobId"]: job for job in _describe(client, [record.job_id for record in records])}
    slots: dict[int, SlotState] = {}
    for record in records:
        job = jobs.get(record.job_id)
        if job is None:
            if dt.datetime.now(dt.UTC) - record.submitted_at < _NEW:
                own = range(record.first_slot, record.first_slot + record.size)
                slots.update((slot, SlotState("SUBMITTED", record.job_id)) for slot in own)
        elif record.is_array:
            slots.update(_children(client, record, job, known))
        else:
            slots[record.first_slot] = _slot_state(job)
    return BatchView(slots)


def _describe(client: Any, job_ids: Sequence[str]) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    for first in range(0, len(job_ids), _DESCRIBE_LIMIT):
        with plain_errors("describe jobs"):
            chunk = list(job_ids[first : first + _DESCRIBE_LIMIT])
            yield from client.describe_jobs(jobs=chunk)["jobs"]


def _children(
    client: Any,  # noqa: ANN401
    record: JobRecord,
    parent: dict[str, Any],
    known: BatchView | None,
) -> dict[int, SlotState]:
    states = _states_of_children(client, record, parent)
    slots = {}
    unexplained = []
    for index, state in states.items():
        slot, job_id = record.first_slot + index, f"{record.job_id}:{index}"
        before = known.slots.get(slot) if known else None
        if state == "FAILED" and before is not None and before.state == "FAILED":
            slots[slot] = before
            continue
        slots[slot] = SlotState(state, job_id)
        if state == "FAILED":
            unexplained.append(job_id)
    for child in _describe(client, unexplained):
        slots[record.first_slot + _index_of(child)] = _slot_state(child)
    return slots


def _states_of_children(client: Any, record: JobRecord, parent: dict[str, Any]) -> dict[int, str]:  # noqa: ANN401
    summary = parent.get("arrayProperties", {}).get("statusSummary", {})
    counts = {state: summary[state] for state in STATES if summary.get(state)}
    # Before its children exist, and after cancelling them at once, a parent counts nothing.
    settled = len(counts) == 1 or all(state in _ENDED for state in counts)
    # The commonest state need not be listed. While children live it may not be one of the end: a child on
    # its way from one state to another, back for a retry perhaps, is in no list, and has not ended.
    usual = counts if settled else {state: count for state, count in counts.items() if state not in _ENDED}
    fallback = "RUNNABLE" if counts else parent["status"]
    commonest = max(usual, key=lambda state: usual[state]) if usual else fallback
    states = dict.fromkeys(range(record.size), commonest)
    # A child that moves on between two lists is in both; the later state holds.
    for state in STATES:
        if state in counts and state != commonest:
            states.update(dict.fromkeys(_list_children(client, record.job_id, state), state))
    return states


def _list_children(client: Any, parent_id: str, state: str) -> Iterable[int]:  # noqa: ANN401
    with plain_errors(f"list the children of {parent_id}"):
        pages = client.get_paginator("list_jobs").paginate(arrayJobId=parent_id, jobStatus=state)
        return [_index_of(child) for page in pages for child in page["jobSummaryList"]]


def _index_of(child: dict[str, Any]) -> int:
    return int(child["jobId"].rpartition(":")[2])


def _slot_state(job: dict[str, Any]) -> SlotState:
    container = job.get("container", {})
    attempts = job.get("attempts", [])
    last = attempts[-1].get("container", {}) if attempts else {}
    exit_code = container.get("exitCode", last.get("exitCode"))
    reason = "; ".join(
        dict.fromkeys(
            text.strip().rstrip(".")
            for text in (job.get("statusReason"), container.get("reason") or last.get("reason"))
            if text
        )
    )
    return SlotState(
        state=job["status"],
        job_id=job["jobId"],
        reason=reason or None,
        exit_code=exit_code,
        attempts=len(attempts) or None,
    )
