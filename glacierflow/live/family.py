"""A run together with its retries: their jobs, and how each of the first run's slots stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from glacierflow.aws.batch import describe_jobs, find_jobs
from glacierflow.aws.names import Places
from glacierflow.cloud import Cloud
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.live.look import RunLook, ask_and_keep
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.runs.failures import classify, evidence_of
from glacierflow.runs.family import Family, Member, read_members
from glacierflow.runs.records import JobRecord
from glacierflow.runs.retry import Conditions, Standing
from glacierflow.runs.states import LIVE_STATES, BatchView
from glacierflow.runs.status import RunStatus, with_retries
from glacierflow.store import Store

_DEFAULT_TIMEOUT_S = 7200
"""Seconds the job definitions of batch/template.yaml allow, for a job that Batch has forgotten."""


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

    @property
    def manifests(self) -> list[Manifest]:
        """The first run, then its retries."""
        return [member.manifest for member in self.members]

    def keep(self) -> None:
        """Write down what was seen."""
        for member in self.members:
            member.keep()


@dataclass(frozen=True, slots=True)
class JobsOf:
    """One run of a family, its jobs, and what Batch says of them."""

    member: Member
    jobs: list[JobRecord]
    view: BatchView
    receipts: dict[int, Receipt]
    """Of the latest attempts that did not end well, by its own slot."""

    def job_of(self, slot: int) -> JobRecord | None:
        """The job of one of its slots; None where it was never submitted."""
        for job in self.jobs:
            if job.first_slot <= slot < job.first_slot + job.size:
                return job
        return None


def find_standings(family: Family, store: Store, cloud: Cloud, places: Places) -> list[Standing]:
    """How each slot of the first run stands after its latest try that was submitted.

    A retry that was killed before it submitted a unit does not count as a try of it.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    members = []
    for member in family.members:
        jobs = find_jobs(member.manifest, store, cloud, **places.queues)
        view = ask_and_keep(member.manifest, jobs, store, cloud)
        members.append(JobsOf(member, jobs, view, _bad_ends(member)))
    tries = [_latest(family, slot, members) for slot in range(len(family.root.slots))]
    standings = [_stand(slot, *one) for slot, one in enumerate(tries)]
    return _with_limits(standings, tries, cloud)


def _bad_ends(member: Member) -> dict[int, Receipt]:
    ends = {slot: attempts.outcomes[attempts.latest] for slot, attempts in member.attempts.items()}
    return member.receipts.latest(
        {slot: member.attempts[slot] for slot, outcome in ends.items() if outcome not in {"done", "no_data"}}
    )


def _latest(family: Family, slot: int, members: list[JobsOf]) -> tuple[JobsOf, int]:
    by_id = {of.member.manifest.run_id: of for of in members}
    tries = [(by_id[member.manifest.run_id], own) for member, own in family.places(slot)]
    sent = [(of, own) for of, own in tries if of.job_of(own) is not None or own in of.member.attempts]
    return sent[-1] if sent else tries[0]


def _stand(slot: int, of: JobsOf, own: int) -> Standing:
    attempts, job, state = of.member.attempts.get(own), of.job_of(own), of.view.slots.get(own)
    verdict = classify(evidence_of(state, attempts, of.receipts.get(own), submitted=job is not None))
    array = of.member.manifest.array_of(own)
    recorded = job.memory_mib if job is not None else None
    return Standing(
        slot=slot,
        failure=verdict.failure if verdict else None,
        live=state is not None and state.state in LIVE_STATES,
        had=Conditions(
            memory_mib=array.memory_mib or recorded or MEMORY_CLASSES_MIB[0],
            on_demand=array.on_demand or (job is not None and job.on_demand),
            timeout_s=array.timeout_s,
        ),
        ran_with_timeout_s=array.timeout_s or _DEFAULT_TIMEOUT_S,
    )


def _with_limits(standings: list[Standing], tries: list[tuple[JobsOf, int]], cloud: Cloud) -> list[Standing]:
    """The time limits that were in force, asked for only where one was reached."""
    wanted = {
        standing.slot: job.job_id
        for standing, (of, own) in zip(standings, tries, strict=True)
        if standing.failure == "timeout" and (job := of.job_of(own)) is not None and job.service == "batch"
    }
    if not wanted:
        return standings
    jobs = describe_jobs(cloud.client("batch"), sorted(set(wanted.values())))
    limits = {job["jobId"]: job.get("timeout", {}).get("attemptDurationSeconds") for job in jobs}
    return [
        replace(standing, ran_with_timeout_s=limit)
        if (limit := limits.get(wanted.get(standing.slot, ""))) is not None
        else standing
        for standing in standings
    ]
