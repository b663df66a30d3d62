"""One look at a run: its manifest, what AWS Batch says, and what lies in the store, joined."""

from __future__ import annotations

from glacierflow.aws import Cloud
from glacierflow.manifest import Manifest
from glacierflow.receipt import Receipt
from glacierflow.runs.records import (
    JobRecord,
    ReceiptReader,
    list_attempts,
    read_jobs,
    read_run_manifest,
    write_job,
)
from glacierflow.runs.status import BatchView, RunStatus, join_status, unended_attempts
from glacierflow.services.jobs import describe_run, find_lost_jobs
from glacierflow.store import Store

__all__ = ["RunLook"]


class RunLook:
    """Looks at one run again and again; what cannot change any more is asked for once."""

    def __init__(self, manifest: Manifest, jobs: list[JobRecord], store: Store, cloud: Cloud) -> None:
        self.manifest = manifest
        self.jobs = jobs
        self.store = store
        self._cloud = cloud
        self._receipts = ReceiptReader(store, manifest.run_id)
        self._view = BatchView({})

    @classmethod
    def open(
        cls,
        run_id: str,
        store: Store,
        cloud: Cloud,
        *,
        job_queue: str,
        ondemand_job_queue: str | None = None,
    ) -> RunLook:
        """Look at a run submitted earlier; jobs it sent without recording them are found by name.

        Raises:
            UsageError: there is no such run.
        """
        manifest = read_run_manifest(store, run_id)
        jobs = read_jobs(store, run_id)
        if len(jobs) < len(manifest.arrays):
            lost = find_lost_jobs(
                manifest, jobs, cloud, job_queue=job_queue, ondemand_job_queue=ondemand_job_queue
            )
            for job in lost:
                write_job(store, run_id, job)
                jobs.append(job)
        return cls(manifest, jobs, store, cloud)

    def now(self) -> RunStatus:
        """The run as it is.

        Batch is asked first: a child it calls finished has its receipt in the store by then.
        """
        self._view = describe_run(self.jobs, self._cloud, known=self._view)
        attempts = list_attempts(self.store, self.manifest.run_id)
        starts = {
            (slot, number): started
            for slot, number in unended_attempts(attempts)
            if (started := self._receipts.started(slot, number)) is not None
        }
        return join_status(
            self.manifest, self._view, attempts, self._receipts.latest(attempts), starts, jobs=self.jobs
        )

    def receipts(self) -> list[Receipt]:
        """Every receipt of the run, also those of earlier attempts."""
        return self._receipts.every(list_attempts(self.store, self.manifest.run_id))
