"""AWS Batch as a launcher: jobs are submitted so that a submitter may die at any moment.

The manifest is written first, then each job is submitted and its id kept at once. A job that was sent without
being recorded is found again by its name, so a broken-off submission is completed, not repeated.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glacierflow.aws.batch import find_job
from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import Targets
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest, Service
from glacierflow.runs.plan import submit_requests
from glacierflow.runs.records import JobRecord, write_job
from glacierflow.store import Store

_PER_SECOND = 40
"""SubmitJob calls; AWS allows 50 to all of an account's submitters together."""

_TRIES = 6
_PATIENCE_S = 2.0
"""Wait before the second try; doubled with each."""


@dataclass(frozen=True, slots=True)
class JobLauncher:
    """Array jobs, a memory class and queue each."""

    cloud: Cloud
    targets: Targets
    image: str | None
    tags: Mapping[str, str]
    consumable_resource: str | None = None
    service: Service = "batch"

    def check(self, manifest: Manifest) -> None:
        """Batch takes whatever has a memory class, and planning sees to that."""

    def launch(self, manifest: Manifest, store: Store, known: Sequence[JobRecord] = ()) -> list[JobRecord]:
        """Submit the jobs that are not known yet."""
        requests = submit_requests(
            manifest,
            self.targets.destination,
            tags=self.tags,
            consumable_resource=self.consumable_resource,
        )
        numbers = {record.number for record in known}
        missing = {number: request for number, request in enumerate(requests) if number not in numbers}
        sent = submit_jobs(manifest, self.cloud, store, self.targets, missing)
        return sorted([*known, *sent], key=lambda record: record.number)


def write_manifest(manifest: Manifest, store: Store) -> None:
    """The first thing of a run that is written; nothing is started before.

    Raises:
        UsageError: a run of this id is there already, or the bucket refuses.
    """
    content = manifest.model_dump_json(indent=1).encode()
    if not store.put(RunLayout(manifest.run_id).manifest, content, if_absent=True):
        raise UsageError(
            f"the run {manifest.run_id} was submitted a moment ago",
            next_step="wait a second and submit again",
        )


def submit_jobs(
    manifest: Manifest, cloud: Cloud, store: Store, targets: Targets, requests: Mapping[int, dict[str, Any]]
) -> list[JobRecord]:
    """Send SubmitJob requests by array number, each recorded as soon as it is answered.

    Raises:
        UsageError: AWS refuses a request.
        UnavailableError: AWS cannot be reached.
    """
    # a repeated SubmitJob makes a second job, so boto3 must not repeat it unasked
    client = replace(cloud, retries=0).client("batch")
    records = []
    for number, request in requests.items():
        array = manifest.arrays[number]
        start = time.monotonic()
        record = _submit_one(manifest, number, client, cloud, request)
        record = record.model_copy(update={"log_group": targets.log_group(array)})
        write_job(store, manifest.run_id, record)
        records.append(record)
        time.sleep(max(0.0, 1 / _PER_SECOND - (time.monotonic() - start)))
    return records


def _submit_one(
    manifest: Manifest,
    number: int,
    client: Any,  # noqa: ANN401 - a boto3 client
    cloud: Cloud,
    request: dict[str, Any],
) -> JobRecord:
    """One SubmitJob; after a failure that may have made the job, look for it before repeating."""
    array = manifest.arrays[number]
    for attempt in range(_TRIES):
        try:
            with plain_errors(f"submit job {number} of {manifest.run_id}"):
                answer = client.submit_job(**request)
        except UnavailableError:
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PATIENCE_S * 2**attempt)
            found = find_job(manifest, number, cloud, job_queue=request["jobQueue"])
            if found is not None:
                return found
            continue
        return JobRecord(
            number=number,
            name=request["jobName"],
            job_id=answer["jobId"],
            job_queue=request["jobQueue"],
            job_definition=request["jobDefinition"],
            first_slot=array.first_slot,
            size=array.size,
            submitted_at=dt.datetime.now(dt.UTC),
            memory_mib=array.memory_mib,
            on_demand=array.on_demand,
        )
    raise AssertionError("the last try returns or raises")
