"""AWS Batch: how the jobs of a run are, asked with as few calls as possible."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError, UsageError
from glacierflow.model.manifest import Manifest
from glacierflow.runs.plan import job_name
from glacierflow.runs.records import JobRecord, read_jobs, write_job
from glacierflow.runs.states import FINAL_STATES, LIVE_STATES, STATES, AttemptState, BatchView, SlotState
from glacierflow.store import Store

_DESCRIBE_LIMIT = 100
UNSEEN = dt.timedelta(minutes=2)
"""A job this young that Batch does not describe is not forgotten: it is not shown yet."""


def find_lost_jobs(
    manifest: Manifest,
    records: Sequence[JobRecord],
    cloud: Cloud,
    *,
    job_queue: str,
    ondemand_job_queue: str | None = None,
) -> list[JobRecord]:
    """Jobs a submitter sent to AWS Batch but did not live to record, found by their names."""
    if manifest.service not in {"batch", "stepfunctions"}:
        return []
    known = {record.number for record in records}
    lost = []
    for number, array in enumerate(manifest.arrays):
        if number not in known:
            queue = ondemand_job_queue if array.on_demand and ondemand_job_queue else job_queue
            found = find_job(manifest, number, cloud, job_queue=queue)
            lost += [found] if found else []
    return lost


def find_jobs(
    manifest: Manifest,
    store: Store,
    cloud: Cloud,
    *,
    job_queue: str,
    ondemand_job_queue: str | None = None,
) -> list[JobRecord]:
    """A run's jobs; those it sent without recording them are found by name, and recorded where one may.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    jobs = read_jobs(store, manifest.run_id)
    lost = find_lost_jobs(manifest, jobs, cloud, job_queue=job_queue, ondemand_job_queue=ondemand_job_queue)
    with contextlib.suppress(UsageError, StoreError):
        for job in lost:
            write_job(store, manifest.run_id, job)
    return sorted([*jobs, *lost], key=lambda job: job.number)


def find_job(manifest: Manifest, number: int, cloud: Cloud, *, job_queue: str) -> JobRecord | None:
    """The job of one of a run's arrays, by its name; None where Batch knows none.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    name, array = job_name(manifest.run_id, number), manifest.arrays[number]
    with plain_errors(f"look for the job {name}"):
        pages = (
            cloud.client("batch")
            .get_paginator("list_jobs")
            .paginate(jobQueue=job_queue, filters=[{"name": "JOB_NAME", "values": [name]}])
        )
        jobs = [job for page in pages for job in page["jobSummaryList"] if job["jobName"] == name]
    if not jobs:
        return None
    return JobRecord(
        number=number,
        name=name,
        job_id=jobs[0]["jobId"],
        job_queue=job_queue,
        job_definition=jobs[0].get("jobDefinition", ""),
        first_slot=array.first_slot,
        size=array.size,
        submitted_at=dt.datetime.fromtimestamp(jobs[0]["createdAt"] / 1000, dt.UTC),
        memory_mib=array.memory_mib,
        on_demand=array.on_demand,
    )


def describe_run(
    records: Sequence[JobRecord], cloud: Cloud, *, known: BatchView | None = None, explain: bool = True
) -> BatchView:
    """What AWS Batch says of every slot of a run.

    One DescribeJobs tells the counts of every array; ListJobs is asked only for the states that some but not
    all children are in, the commonest of them left out; only failed children are described one by one, and
    those in ``known`` not again, and none where ``explain`` is off.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    client = cloud.client("batch")
    jobs = {job["jobId"]: job for job in describe_jobs(client, [record.job_id for record in records])}
    slots: dict[int, SlotState] = {}
    for record in records:
        job = jobs.get(record.job_id)
        if job is None:
            if dt.datetime.now(dt.UTC) - record.submitted_at < UNSEEN:
                own = range(record.first_slot, record.first_slot + record.size)
                slots.update((slot, SlotState("SUBMITTED", record.job_id)) for slot in own)
        elif record.is_array:
            slots.update(_children(client, record, job, known, explain=explain))
        else:
            slots[record.first_slot] = _slot_state(job)
    return BatchView(slots)


def describe_slots(records: Sequence[JobRecord], slots: Sequence[int], cloud: Cloud) -> dict[int, SlotState]:
    """All that AWS Batch knows of some slots, a hundred a call; those it does not know are absent.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    if not slots:
        return {}
    ids = {
        f"{record.job_id}:{slot - record.first_slot}" if record.is_array else record.job_id: slot
        for record in records
        if record.service == "batch"
        for slot in slots
        if record.first_slot <= slot < record.first_slot + record.size
    }
    jobs = describe_jobs(cloud.client("batch"), list(ids))
    return {ids[job["jobId"]]: _slot_state(job) for job in jobs}


def describe_jobs(client: Any, job_ids: Sequence[str]) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """DescribeJobs, a hundred at a time; jobs that Batch has forgotten are left out.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    for first in range(0, len(job_ids), _DESCRIBE_LIMIT):
        with plain_errors("describe jobs"):
            chunk = list(job_ids[first : first + _DESCRIBE_LIMIT])
            yield from client.describe_jobs(jobs=chunk)["jobs"]


def _children(
    client: Any,  # noqa: ANN401
    record: JobRecord,
    parent: dict[str, Any],
    known: BatchView | None,
    *,
    explain: bool,
) -> dict[int, SlotState]:
    slots = {}
    unexplained = []
    for index, summary in _summaries_of_children(client, record, parent).items():
        state = summary["status"]
        slot, job_id = record.first_slot + index, f"{record.job_id}:{index}"
        before = known.slots.get(slot) if known else None
        if state == "FAILED" and before is not None and before.state == "FAILED":
            slots[slot] = before
            continue
        began, ended = _time(summary.get("startedAt")), _time(summary.get("stoppedAt"))
        slots[slot] = SlotState(state, job_id, started_at=began, stopped_at=ended)
        if state == "FAILED" and explain:
            unexplained.append(job_id)
    for child in describe_jobs(client, unexplained):
        slots[record.first_slot + _index_of(child)] = _slot_state(child)
    return slots


def _summaries_of_children(
    client: Any,  # noqa: ANN401
    record: JobRecord,
    parent: dict[str, Any],
) -> dict[int, dict[str, Any]]:
    """Of those in the commonest state, which are not listed, only that."""
    summary = parent.get("arrayProperties", {}).get("statusSummary", {})
    counts = {state: summary[state] for state in STATES if summary.get(state)}
    # Before its children exist, and after cancelling them at once, a parent counts nothing.
    settled = len(counts) == 1 or counts.keys() <= FINAL_STATES
    # The commonest state need not be listed. While children live it may not be one of the end: a child on
    # its way from one state to another, back for a retry perhaps, is in no list, and has not ended.
    usual = counts if settled else {state: counts[state] for state in counts if state in LIVE_STATES}
    fallback = "RUNNABLE" if counts else parent["status"]
    commonest = max(usual, key=lambda state: usual[state]) if usual else fallback
    children: dict[int, dict[str, Any]] = {index: {"status": commonest} for index in range(record.size)}
    # A child that moves on between two lists is in both; the later state holds.
    for state in STATES:
        if state in counts and state != commonest:
            listed = _list_children(client, record.job_id, state)
            children.update((_index_of(child), {**child, "status": state}) for child in listed)
    return children


def _list_children(client: Any, parent_id: str, state: str) -> list[dict[str, Any]]:  # noqa: ANN401
    with plain_errors(f"list the children of {parent_id}"):
        pages = client.get_paginator("list_jobs").paginate(arrayJobId=parent_id, jobStatus=state)
        return [child for page in pages for child in page["jobSummaryList"]]


def _index_of(child: dict[str, Any]) -> int:
    return int(child["jobId"].rpartition(":")[2])


def _slot_state(job: dict[str, Any]) -> SlotState:
    container = job.get("container", {})
    attempts = tuple(_attempt_state(attempt) for attempt in job.get("attempts", []))
    last = attempts[-1] if attempts else AttemptState()
    return SlotState(
        state=job["status"],
        job_id=job["jobId"],
        status_reason=job.get("statusReason"),
        container_reason=container.get("reason") or last.reason,
        exit_code=container.get("exitCode", last.exit_code),
        log_stream=container.get("logStreamName") or last.log_stream,
        attempts=attempts,
        ended_by_request=bool(job.get("isCancelled") or job.get("isTerminated")),
        explained=True,
        started_at=_time(job.get("startedAt")),
        stopped_at=_time(job.get("stoppedAt")),
    )


def _attempt_state(attempt: dict[str, Any]) -> AttemptState:
    container = attempt.get("container", {})
    return AttemptState(
        exit_code=container.get("exitCode"),
        reason=container.get("reason"),
        status_reason=attempt.get("statusReason"),
        log_stream=container.get("logStreamName"),
        started_at=_time(attempt.get("startedAt")),
        stopped_at=_time(attempt.get("stoppedAt")),
    )


def _time(milliseconds: int | None) -> dt.datetime | None:
    return None if milliseconds is None else dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
