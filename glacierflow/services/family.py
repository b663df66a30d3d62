"""A run and its retries as AWS Batch sees them: their jobs, and how each of the first run's slots stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from glacierflow.aws import Cloud
from glacierflow.receipt import Receipt
from glacierflow.runs.classify import classify
from glacierflow.runs.evidence import LIVE_STATES, evidence_of
from glacierflow.runs.family import Family, Member
from glacierflow.runs.records import JobRecord
from glacierflow.runs.retry import Conditions, Standing
from glacierflow.runs.states import BatchView
from glacierflow.runs.workload import MEMORY_CLASSES_MIB
from glacierflow.services.jobs import describe_jobs, find_jobs
from glacierflow.services.places import Places
from glacierflow.services.remember import ask_and_keep
from glacierflow.store import Store

__all__ = ["JobsOf", "find_standings"]

_DEFAULT_TIMEOUT_S = 7200
"""Seconds the job definitions of batch/template.yaml allow, for a job that Batch has forgotten."""


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
