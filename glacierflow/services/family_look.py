"""A look at a run together with its retries."""

from __future__ import annotations

from glacierflow.aws import Cloud
from glacierflow.manifest import Manifest
from glacierflow.runs.family import read_members
from glacierflow.runs.ledger import Ledger
from glacierflow.runs.records import JobRecord
from glacierflow.runs.status import RunStatus
from glacierflow.runs.together import with_retries
from glacierflow.services.look import RunLook
from glacierflow.store import Store

__all__ = ["FamilyLook"]


class FamilyLook:
    """Looks at a run and at whatever tried some of its slots again."""

    def __init__(self, members: list[RunLook]) -> None:
        self.members = members
        """The first run, then its retries, oldest first."""

    @classmethod
    def open(
        cls, run_id: str, store: Store, cloud: Cloud, *, job_queue: str, ondemand_job_queue: str | None = None
    ) -> FamilyLook:
        """A run that was submitted earlier; one that is a retry is looked at together with the first run.

        Raises:
            UsageError: there is no such run.
            StoreError: a manifest cannot be understood.
        """
        return cls(
            [
                RunLook.of(manifest, store, cloud, job_queue=job_queue, ondemand_job_queue=ondemand_job_queue)
                for manifest in read_members(store, run_id)
            ]
        )

    @property
    def root(self) -> RunLook:
        """The first run's look."""
        return self.members[0]

    @property
    def manifest(self) -> Manifest:
        """The first run."""
        return self.root.manifest

    @property
    def store(self) -> Store:
        """Where all of it lies."""
        return self.root.store

    @property
    def jobs(self) -> list[JobRecord]:
        """The jobs of the first run and of its retries."""
        return [job for member in self.members for job in member.jobs]

    @property
    def notices(self) -> list[str]:
        """Why a ledger cannot be kept, where one cannot."""
        return list(dict.fromkeys(member.notice for member in self.members if member.notice))

    def member_of(self, run_id: str) -> RunLook:
        """The look at one of the runs."""
        return next(member for member in self.members if member.manifest.run_id == run_id)

    def now(self, *, quick: bool = False) -> RunStatus:
        """All of it as it is, each slot as its latest retry left it."""
        root, *retries = [(member.manifest, member.now(quick=quick)) for member in self.members]
        return with_retries(root[1], retries)

    def stop(self, reason: str) -> None:
        """End every job of the run and of its retries."""
        for member in self.members:
            member.stop(reason)

    def ledgers(self) -> list[tuple[Manifest, Ledger]]:
        """What is known of the attempts of each run."""
        return [(member.manifest, member.ledger) for member in self.members]

    def keep(self) -> None:
        """Write down what was seen."""
        for member in self.members:
            member.keep()
