"""AWS Batch: submit a run as array jobs, and ask what became of them with a handful of calls."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from glacierflow.errors import CredentialsError, UnavailableError, UsageError
from glacierflow.layout import RunLayout
from glacierflow.manifest import Manifest
from glacierflow.runs.records import JobRecord
from glacierflow.runs.status import BATCH_STATES, BatchView, ChildState

if TYPE_CHECKING:
    from glacierflow.aws import Cloud
    from glacierflow.store import Store

__all__ = ["describe_run", "submissions", "submit_run"]

_DESCRIBE_LIMIT = 100
_PAGE = 1000
_OVERRIDE_LIMIT = 8192
"""Characters of container overrides that ECS takes; Batch accepts more, and then the job fails."""


def submissions(
    manifest: Manifest, job_queue: str, job_definition: str, store_uri: str
) -> list[dict[str, Any]]:
    """The SubmitJob requests of a run, one an array.

    Args:
        manifest: the run.
        job_queue: name or ARN.
        job_definition: name, ``name:revision`` or ARN.
        store_uri: ``s3://...`` of the manifest.

    Raises:
        UsageError: the overrides are longer than ECS takes.
    """
    requests = []
    for number, array in enumerate(manifest.arrays):
        environment = {"GLACIERFLOW_MANIFEST": store_uri, "GLACIERFLOW_SLOT_OFFSET": str(array.first_slot)}
        if array.size == 1:
            environment["GLACIERFLOW_INDEX"] = "0"
        overrides = {"environment": [{"name": name, "value": value} for name, value in environment.items()]}
        if len(str(overrides)) > _OVERRIDE_LIMIT:
            raise UsageError(
                f"the container overrides are longer than {_OVERRIDE_LIMIT} characters: {store_uri}"
            )
        request: dict[str, Any] = {
            "jobName": f"gf-{manifest.run_id}-{number}",
            "jobQueue": job_queue,
            "jobDefinition": job_definition,
            "containerOverrides": overrides,
            "propagateTags": True,
            "tags": {"project": "glacierflow", "glacierflow-run": manifest.run_id},
        }
        if array.size > 1:
            request["arrayProperties"] = {"size": array.size}
        requests.append(request)
    return requests


def submit_run(
    manifest: Manifest, cloud: Cloud, store: Store, *, job_queue: str, job_definition: str
) -> list[JobRecord]:
    """Write the manifest, submit every array, and record each job id right after its submission.

    Raises:
        UsageError: the bucket, the queue or the job definition is not there.
        CredentialsError: AWS refused.
        UnavailableError: AWS did not answer.
    """
    layout = RunLayout(manifest.run_id)
    requests = submissions(manifest, job_queue, job_definition, store.uri(layout.manifest))
    client = cloud.client("batch")
    with _plain_errors():
        _check_queue(client, job_queue)
        _check_definition(client, job_definition)
    store.check_writable()
    if not store.put(layout.manifest, manifest.model_dump_json(indent=1).encode(), if_absent=True):
        raise UsageError(f"the run {manifest.run_id} is there already", next_step="submit again in a second")
    records = []
    for number, (request, array) in enumerate(zip(requests, manifest.arrays, strict=True)):
        with _plain_errors():
            job_id = client.submit_job(**request)["jobId"]
        record = JobRecord(
            number=number,
            job_id=job_id,
            job_name=request["jobName"],
            job_queue=job_queue,
            job_definition=job_definition,
            first_slot=array.first_slot,
            size=array.size,
        )
        store.put(layout.job(number), record.model_dump_json(indent=1).encode())
        records.append(record)
    return records


def _check_queue(client: Any, name: str) -> None:  # noqa: ANN401 - boto3 clients are made at run time
    queues = client.describe_job_queues(jobQueues=[name])["jobQueues"]
    if not queues:
        raise UsageError(
            f"job_queue = {name}: AWS Batch has no such job queue",
            next_step="set [BATCH] job_queue in aws_config.ini (see batch/README.md), or add --local",
        )
    if queues[0]["state"] != "ENABLED":
        raise UsageError(
            f"job_queue = {name} is {queues[0]['state']}", next_step="enable it, or name another"
        )


def _check_definition(client: Any, name: str) -> None:  # noqa: ANN401 - boto3 clients are made at run time
    if name.startswith("arn:") or ":" in name:
        found = client.describe_job_definitions(jobDefinitions=[name])["jobDefinitions"]
    else:
        found = client.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")["jobDefinitions"]
    if not any(entry["status"] == "ACTIVE" for entry in found):
        raise UsageError(
            f"job_definition = {name}: AWS Batch has no such active job definition",
            next_step="set [BATCH] job_definition in aws_config.ini (see batch/README.md), or add --local",
        )


def describe_run(jobs: Sequence[JobRecord], cloud: Cloud, *, children: bool) -> BatchView:
    """What Batch says of a run's jobs.

    The counts cost one call for a hundred arrays. With ``children``, each array is listed state by state, and
    the failed children are described a hundred a call for their reasons.

    Raises:
        CredentialsError: AWS refused.
        UnavailableError: AWS did not answer.
    """
    client = cloud.client("batch")
    view = BatchView()
    with _plain_errors():
        details = {job["jobId"]: job for job in _describe(client, [job.job_id for job in jobs])}
        for record in jobs:
            detail = details.get(record.job_id)
            if detail is None:
                continue
            if record.size == 1:
                view.counts[detail["status"]] += 1
                view.children[record.first_slot] = _child(detail)
                continue
            summary = Counter(detail["arrayProperties"].get("statusSummary") or {})
            view.counts += summary
            if children:
                view.children |= _array_children(client, record, summary)
    return view


def _array_children(client: Any, record: JobRecord, summary: Counter[str]) -> dict[int, ChildState]:  # noqa: ANN401
    found: dict[int, ChildState] = {}
    failed = []
    for state in BATCH_STATES:
        if not summary[state]:
            continue
        for job in _list(client, record.job_id, state):
            slot = record.first_slot + int(job["arrayProperties"]["index"])
            found[slot] = ChildState(job["status"], job.get("statusReason"))
            if state == "FAILED":
                failed.append(job["jobId"])
    for detail in _describe(client, failed):
        found[record.first_slot + int(detail["arrayProperties"]["index"])] = _child(detail)
    return found


def _child(detail: dict[str, Any]) -> ChildState:
    """One job: why it ended from its last attempt, or from the job where no container started."""
    attempts = detail.get("attempts") or []
    last = attempts[-1].get("container", {}) if attempts else {}
    status_reason = detail.get("statusReason")
    reasons = [reason for reason in (last.get("reason"), status_reason) if reason]
    return ChildState(
        detail["status"],
        "; ".join(dict.fromkeys(reasons)) or None,
        len(attempts),
        last.get("exitCode", detail.get("container", {}).get("exitCode")),
    )


def _describe(client: Any, job_ids: list[str]) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    for start in range(0, len(job_ids), _DESCRIBE_LIMIT):
        yield from client.describe_jobs(jobs=job_ids[start : start + _DESCRIBE_LIMIT])["jobs"]


def _list(client: Any, array_job_id: str, state: str) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    pages = client.get_paginator("list_jobs").paginate(
        arrayJobId=array_job_id, jobStatus=state, PaginationConfig={"PageSize": _PAGE}
    )
    for page in pages:
        yield from page["jobSummaryList"]


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    try:
        yield
    except NoCredentialsError as error:
        raise CredentialsError(
            "AWS credentials are needed and none were found",
            next_step="configure an AWS profile (`aws configure`), or add --local for the embedded cloud",
        ) from error
    except NoRegionError as error:
        raise UsageError("no AWS region is set", next_step="set aws_region in aws_config.ini") from error
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        sentence = f"AWS Batch answers {code} to {error.operation_name}: {message}"
        if code in {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"}:
            raise CredentialsError(
                sentence, next_step="use a profile that may use AWS Batch (--profile)"
            ) from error
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400) >= 500:
            raise UnavailableError(sentence, next_step="try again in a minute") from error
        raise UsageError(sentence) from error
    except BotoCoreError as error:
        raise UnavailableError(
            f"AWS Batch does not answer: {error}", next_step="check the network"
        ) from error
