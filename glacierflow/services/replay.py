"""What a child of a submitted run was started with, as far as its records and AWS Batch still know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.manifest import Manifest
from glacierflow.runs.records import JobRecord, read_jobs
from glacierflow.services.failures import plain_errors
from glacierflow.services.targets import revisions
from glacierflow.store import Store

__all__ = ["StartedWith", "started_with"]


@dataclass(frozen=True, slots=True)
class StartedWith:
    """A child's container; None where nobody knows any more."""

    image: str | None
    environment: dict[str, str]
    memory_mib: int | None
    vcpus: float | None


def started_with(manifest: Manifest, slot: int, store: Store, cloud: Cloud) -> StartedWith:
    """Ask AWS Batch for the job of a slot, or for its definition once the job is forgotten.

    Of a run on another service, what its records say.

    Raises:
        UnavailableError: AWS Batch cannot be reached.
    """
    record = next(
        (
            one
            for one in read_jobs(store, manifest.run_id)
            if one.first_slot <= slot < one.first_slot + one.size
        ),
        None,
    )
    container = _container(record, slot, cloud) if record and record.service == "batch" else {}
    environment = {one["name"]: one.get("value", "") for one in container.get("environment", [])}
    needed = {one["type"]: one["value"] for one in container.get("resourceRequirements", [])}
    class_mib = record.memory_mib if record else None
    return StartedWith(
        image=manifest.image or container.get("image"),
        environment=environment,
        memory_mib=int(needed["MEMORY"]) if "MEMORY" in needed else class_mib,
        vcpus=float(needed["VCPU"]) if "VCPU" in needed else None,
    )


def _container(record: JobRecord, slot: int, cloud: Cloud) -> dict[str, Any]:
    job_id = f"{record.job_id}:{slot - record.first_slot}" if record.is_array else record.job_id
    client = cloud.client("batch")
    with plain_errors(f"describe the job {job_id}"):
        jobs = client.describe_jobs(jobs=[job_id])["jobs"]
        if jobs:
            found: dict[str, Any] = jobs[0].get("container", {})
            return found
    for definition in revisions(client, record.job_definition, retired=True):
        properties: dict[str, Any] = definition.get("containerProperties", {})
        return properties
    return {}
