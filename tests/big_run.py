"""A made-up run of thousands of children in fakes that count: for call counts, and for the benchmark."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from batch_fake import BatchFake
from runs_samples import make_receipt, make_started, some_job, some_manifest
from s3_fake import S3Fake

from glacierflow.cloud import Cloud
from glacierflow.live.family import FamilyLook
from glacierflow.model.attempts import AttemptEntry, name_of_entry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts, Outcome, Started
from glacierflow.runs.records import write_job
from glacierflow.store import S3Store


class BigRun:
    """A submitted run of ``size`` children.

    With ``told`` off they are of an image from before attempts were told by names. A manifest that is given
    says what the children are.
    """

    def __init__(self, size: int = 0, *, told: bool = True, manifest: Manifest | None = None) -> None:
        self.told = told
        self.batch, self.s3 = BatchFake(), S3Fake()
        self.cloud = FakeCloud(clients={"batch": self.batch, "s3": self.s3})
        self.store = S3Store("made-up", self.cloud)
        self.manifest = manifest or some_manifest(size)
        self.batch.add_queue("glacierflow-spot")
        self.batch.add_queue("glacierflow-ondemand")
        layout = RunLayout(self.manifest.run_id)
        self.store.put(layout.manifest, self.manifest.model_dump_json().encode())
        self.batch.add_array("job-0", ["RUNNABLE"] * len(self.manifest.slots))
        write_job(self.store, self.manifest.run_id, some_job(0, len(self.manifest.slots)))

    def attempt(self, slot: int, outcome: Outcome | None, number: int = 1, **fields: Any) -> None:
        """Leave what an attempt leaves."""
        run = RunLayout(self.manifest.run_id)
        started = make_started(self.manifest, slot, number)
        self._put(run.started(slot, number), started)
        if outcome is not None:
            receipt = make_receipt(self.manifest, slot, outcome, number, **fields)
            self._put(run.receipt(slot, number, outcome), receipt)

    def _put(self, key: str, record: Started) -> None:
        self.s3.objects[key] = record.model_dump_json().encode()
        name = name_of_entry(RunLayout(self.manifest.run_id), AttemptEntry.of(record))
        if self.told and name is not None:
            self.s3.objects[name] = b""

    def finish(self, *, failed: int = 0, reclaimed: float = 0.0, seed: int = 1) -> None:
        """Let every child end: the last ``failed`` for lack of memory, a share after a reclaim."""
        chance = random.Random(seed)  # noqa: S311 - no secret
        size = len(self.manifest.slots)
        for slot in range(size):
            number = 1
            if chance.random() < reclaimed:
                self.attempt(slot, "interrupted", 1, exit_code=75, counts=Counts(found=5))
                number = 2
            if slot >= size - failed:
                self.attempt(slot, None, number)
                self.batch.set_child(
                    "job-0",
                    slot,
                    status="FAILED",
                    statusReason="Essential container in task exited",
                    container={"exitCode": 137, "reason": "OutOfMemoryError: Container killed"},
                )
            else:
                self.attempt(slot, "done", number, counts=Counts(found=5, kept=3, written=3))
                self.batch.set_child("job-0", slot, status="SUCCEEDED")

    def fail_all(self, outcome: Outcome | None) -> None:
        """Let every child fail, leaving this receipt, or none where its memory ran out."""
        reason = "Essential container in task exited" if outcome else "OutOfMemoryError: Container killed"
        code = {"failed": 70, "unavailable": 75, "interrupted": 75}.get(outcome or "", 137)
        for slot in range(len(self.manifest.slots)):
            fields = {"exit_code": code} if outcome else {}
            self.attempt(slot, outcome, **fields)
            self.batch.set_child(
                "job-0", slot, status="FAILED", container={"exitCode": code, "reason": reason}
            )

    def open(self) -> FamilyLook:
        """As ``batch status`` opens it."""
        return FamilyLook.open(
            self.manifest.run_id,
            self.store,
            self.cloud,
            job_queue="glacierflow-spot",
            ondemand_job_queue="glacierflow-ondemand",
        )

    def calls(self) -> int:
        """Calls since the last time this was asked."""
        total = self.batch.calls.total() + self.s3.calls.total()
        self.batch.calls.clear()
        self.s3.calls.clear()
        return total


@dataclass(frozen=True)
class FakeCloud(Cloud):
    """Hands out the fakes."""

    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """The fake of a service."""
        return self.clients[service]
