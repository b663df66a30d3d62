"""Runs whose children are small shell scripts, on the embedded cloud."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from embedded import REGION, wait_for
from runs_samples import NOW, put_attempt, some_manifest, submit_run

from glacierflow.aws.names import Places, find_targets
from glacierflow.cloud import Cloud
from glacierflow.launch import Launcher
from glacierflow.launch.batch import JobLauncher
from glacierflow.live.family import find_standings
from glacierflow.local.control import Endpoint
from glacierflow.model.manifest import ArrayRange, Manifest
from glacierflow.model.receipt import Counts
from glacierflow.runs.family import Family, read_family
from glacierflow.runs.retry import Standing
from glacierflow.store import S3Store

INDEX = "${AWS_BATCH_JOB_ARRAY_INDEX:-$GLACIERFLOW_INDEX}"


class FamilyBench:
    """A bucket, two memory classes, and a run submitted to them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.cloud = Cloud(region=REGION, endpoint_url=endpoint.url, embedded=True)
        self.batch = self.cloud.client("batch")
        self.name = f"family-{uuid.uuid4().hex[:8]}"
        self.cloud.client("s3").create_bucket(
            Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        self.store = S3Store(self.name, self.cloud)
        self.places = Places(
            bucket=self.name,
            spot_queue="glacierflow-spot",
            ondemand_queue="glacierflow-ondemand",
            log_group="/test/family",
            job_definition=self.name,
            job_definitions={7_500: f"{self.name}-7500", 15_500: f"{self.name}-15500"},
        )

    def define(self, script: str, *, attempts: int = 1, timeout_s: int = 6000) -> None:
        """The same script in both memory classes, whose limits are small here: 100 and 500 MiB."""
        for memory_class, memory_mib in ((7_500, 100), (15_500, 500)):
            self.batch.register_job_definition(
                jobDefinitionName=self.places.job_definitions[memory_class],
                type="container",
                containerProperties={
                    "image": "none",
                    "command": ["sh", "-c", script],
                    "resourceRequirements": [
                        {"type": "VCPU", "value": "0.25"},
                        {"type": "MEMORY", "value": str(memory_mib)},
                    ],
                },
                retryStrategy={"attempts": attempts},
                timeout={"attemptDurationSeconds": timeout_s},
            )

    def submit(self, count: int, *, on_demand: bool = False, arrays: tuple[ArrayRange, ...] = ()) -> Manifest:
        manifest = some_manifest(count, f"s3://{self.name}", now=NOW)
        whole = ArrayRange(first_slot=0, size=count, memory_mib=7_500, on_demand=on_demand)
        return self._send(manifest, arrays or (whole,))

    def submit_packed(self, units: int) -> Manifest:
        """All units in one slot."""
        apart = some_manifest(units, f"s3://{self.name}", now=NOW)
        slot = tuple(unit for of_slot in apart.slots for unit in of_slot)
        return self._send(
            apart.model_copy(update={"slots": (slot,)}), (ArrayRange(first_slot=0, size=1, memory_mib=7_500),)
        )

    def _send(self, manifest: Manifest, arrays: tuple[ArrayRange, ...]) -> Manifest:
        # the queues are shared with other tests, and jobs are found by their names
        changes = {"arrays": arrays, "run_id": f"{manifest.run_id}-{self.name}"}
        manifest = manifest.model_copy(update=changes)
        targets = find_targets(self.cloud, self.places, manifest.arrays)
        submit_run(manifest, self.cloud, self.store, targets=targets)
        return manifest

    def launcher(self, arrays: Sequence[ArrayRange]) -> Launcher:
        """AWS Batch, as ``find_launcher`` gives it."""
        targets = find_targets(self.cloud, self.places, arrays)
        return JobLauncher(self.cloud, targets, targets.image(arrays[0]), {})

    def ended(self, manifest: Manifest) -> None:
        """Wait until none of a run's slots is on its way."""
        wait_for(lambda: not any(one.live for one in self.standings(manifest)), 30)

    def family(self, manifest: Manifest) -> Family:
        return read_family(self.store, manifest.run_id)

    def standings(self, manifest: Manifest) -> list[Standing]:
        return find_standings(self.family(manifest), self.store, self.cloud, self.places)

    def failures(self, manifest: Manifest) -> list[str | None]:
        return [one.failure for one in self.standings(manifest)]

    def no_data(self, manifest: Manifest, slot: int) -> None:
        """Leave what a child without scenes leaves."""
        put_attempt(self.store, manifest, slot, "no_data", counts=Counts())

    def described(self, job_id: str) -> Any:
        return self.batch.describe_jobs(jobs=[job_id])["jobs"][0]
