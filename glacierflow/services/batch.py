"""AWS Batch: submit the jobs of a run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.layout import RunLayout
from glacierflow.manifest import Manifest
from glacierflow.runs.plan import submit_requests
from glacierflow.runs.records import JobRecord, write_job
from glacierflow.services.failures import plain_errors
from glacierflow.store import Store

__all__ = ["submit_run"]

_DEFAULT_LOG_GROUP = "/aws/batch/job"


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
