"""AWS Batch as a launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glacierflow.aws import Cloud
from glacierflow.manifest import Manifest, Service
from glacierflow.runs.plan import submit_requests
from glacierflow.runs.records import JobRecord
from glacierflow.services.batch import submit_jobs
from glacierflow.services.targets import Targets
from glacierflow.store import Store

__all__ = ["JobLauncher"]


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
