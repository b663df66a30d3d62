"""End what is still on its way of a run, or submit what is worth another try as a run of its own.

The mark in the first run's folder is written first, then the new run's manifest, then its jobs: killed in
between, it leaves a mark without a manifest or a run without jobs, and neither counts as a try.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from glacierflow.aws.batch import find_jobs
from glacierflow.aws.names import Places
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.launch import Launcher
from glacierflow.launch.batch import write_manifest
from glacierflow.live.family import find_standings
from glacierflow.live.look import ask_and_keep
from glacierflow.live.states import stop_slots
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import ArrayRange, Manifest, Service
from glacierflow.runs.family import Family, Member, RetryMark
from glacierflow.runs.records import JobRecord
from glacierflow.runs.retry import RetryPlan, Standing, build_retry, plan_retry
from glacierflow.runs.states import LIVE_STATES, BatchView, FailureClass
from glacierflow.runs.verify import VerifyReport, verify_run
from glacierflow.store import Store

CANCEL_REASON = "Cancelled with glacierflow batch cancel"
"""What Batch is told, and says of the job from then on."""

FindLauncher = Callable[[Sequence[ArrayRange]], Launcher]
"""The service for some arrays, its places found to exist."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What was ended of one run of the family, and what had ended before."""

    run_id: str
    ended: tuple[int, ...]
    """Its slots that were on their way."""
    before: dict[str, int]
    """Slots that had ended already, by outcome; ``failed`` also where there was none."""
    never_submitted: int
    goes_on: tuple[int, ...] = ()
    """Its slots whose invocation of Lambda runs, which nobody can end."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run of the family, and which of its chosen slots are on their way."""

    member: Member
    jobs: list[JobRecord]
    view: BatchView
    chosen: list[int]
    live: set[int]

    @property
    def on_lambda(self) -> set[int]:
        """Live slots that run there, or wait to."""
        there = [job for job in self.jobs if job.service == "lambda" or job.over_lambda]
        places = [(job.first_slot, job.first_slot + job.size) for job in there]
        return {slot for slot in self.live if any(first <= slot < end for first, end in places)}


def cancel_family(
    family: Family, store: Store, cloud: Cloud, places: Places, *, regions: Collection[str] = ()
) -> list[Cancelled]:
    """Terminate the jobs of a run and of its retries; terminating is right in every state, cancelling is not.

    Jobs that were sent without being recorded are found by name.

    Args:
        family: the run and its retries.
        store: where their job records lie.
        cloud: whose AWS Batch.
        places: the queues jobs may be in.
        regions: only the slots of these regions; none means all.

    Raises:
        UsageError: the run has no such region, Lambda has it, or AWS refuses.
        UnavailableError: AWS cannot be reached.
    """
    unknown = sorted(set(regions) - family.root.regions.keys())
    if unknown:
        raise UsageError(
            f"the run {family.root.run_id} has no region {', '.join(unknown)}",
            next_step="see `glacierflow batch status` for its regions",
        )
    # the newest first: what it repeats has ended
    seen = [_look(member, store, cloud, places, regions) for member in reversed(family.members)]
    if regions and any(one.on_lambda for one in seen):
        raise UsageError(
            f"--region {', '.join(sorted(regions))}: an invocation of Lambda cannot be ended by itself",
            next_step="wait, or cancel the whole run: those of it that have not begun will then do nothing",
        )
    return [_cancel(one, store, cloud, whole=not regions) for one in seen]


def _look(member: Member, store: Store, cloud: Cloud, places: Places, regions: Collection[str]) -> _Seen:
    manifest = member.manifest
    jobs = find_jobs(manifest, store, cloud, **places.queues)
    view = ask_and_keep(manifest, jobs, store, cloud)
    chosen = [slot for slot in range(len(manifest.slots)) if _is_chosen(manifest, slot, regions)]
    live = {slot for slot in chosen if slot in view.slots and view.slots[slot].state in LIVE_STATES}
    return _Seen(member, jobs, view, chosen, live)


def _cancel(seen: _Seen, store: Store, cloud: Cloud, *, whole: bool) -> Cancelled:
    manifest, live = seen.member.manifest, seen.live
    stop_slots(manifest, seen.jobs, live, store, cloud, whole=whole, reason=CANCEL_REASON)
    submitted = {slot for job in seen.jobs for slot in job.slots}
    before = [slot for slot in seen.chosen if slot in submitted and slot not in live]
    goes_on = {slot for slot in seen.on_lambda if seen.view.slots[slot].state == "RUNNING"}
    return Cancelled(
        run_id=manifest.run_id,
        ended=tuple(sorted(live - goes_on)),
        before=dict(sorted(Counter(_outcome(seen.member, seen.view, slot) for slot in before).items())),
        never_submitted=len(set(seen.chosen) - submitted),
        goes_on=tuple(sorted(goes_on)),
    )


def _is_chosen(manifest: Manifest, slot: int, regions: Collection[str]) -> bool:
    return not regions or any(unit.region in regions for unit in manifest.slots[slot])


def _outcome(member: Member, view: BatchView, slot: int) -> str:
    attempts, state = member.attempts.get(slot), view.slots.get(slot)
    if attempts is None or (state is not None and state.state == "FAILED"):
        return "failed"
    return attempts.outcomes[attempts.latest] or "failed"


def check_catalogue(root: Manifest, catalogue_sha256: str) -> None:
    """Refuse to go on with other regions than the run was planned with.

    Raises:
        UsageError: the catalogue is another one.
    """
    if root.catalogue_sha256 != catalogue_sha256:
        raise UsageError(
            f"the run {root.run_id} was planned with another region catalogue "
            f"({root.catalogue_sha256[:12]}..., not {catalogue_sha256[:12]}...)",
            next_step="name the run's own catalogue with --regions-file, or submit a new run",
        )


def find_retry(
    family: Family,
    store: Store,
    cloud: Cloud,
    places: Places,
    only: Collection[FailureClass],
    service: Service = "batch",
) -> RetryPlan:
    """What would be tried again on a service: what has failed, and what is not in the store.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
        StoreError: the store cannot be read.
    """
    standings = find_standings(family, store, cloud, places)
    if "missing" in only:
        report = verify_run(family, store, depth="read" if cloud.embedded else "recorded")
        standings = _with_products(standings, report)
    return plan_retry(standings, only, service, classes=places.classes)


def _with_products(standings: list[Standing], report: VerifyReport) -> list[Standing]:
    """A unit that ended well and whose products are gone or damaged is missing, too."""
    gone, damaged, lacking = set(), defaultdict(list), defaultdict(list)
    for unit in report.units:
        if unit.state not in {"complete", "no_data"}:
            lacking[unit.slot].append(unit.unit)
        for problem in unit.problems:
            if problem.kind == "damaged":
                damaged[unit.slot].append(problem.key)
            elif problem.kind == "missing":
                gone.add(unit.slot)
    return [
        replace(
            standing,
            failure=standing.failure
            or ("missing" if standing.slot in gone or standing.slot in damaged else None),
            remake=tuple(damaged[standing.slot]),
            lacking=tuple(lacking[standing.slot]),
        )
        for standing in standings
    ]


def submit_retry(
    family: Family, plan: RetryPlan, store: Store, find: FindLauncher
) -> tuple[Manifest, list[JobRecord]]:
    """Submit the plan as a new run; returns its manifest and jobs.

    Raises:
        UsageError: the plan has no units, a place is missing, or a unit does not fit the service.
        UnavailableError: AWS cannot be reached.
    """
    manifest, launcher = prepare_retry(family, plan, store, find)
    return manifest, launcher.launch(manifest, store)


def prepare_retry(
    family: Family, plan: RetryPlan, store: Store, find: FindLauncher
) -> tuple[Manifest, Launcher]:
    """Write down the plan as a new run, when all is found and fits; nothing is started.

    Args:
        family: the run and its retries.
        plan: what is tried again.
        store: where all of it lies.
        find: gives the service that is to run it.

    Raises:
        UsageError: the plan has no units, a place is missing, or a unit does not fit the service.
        UnavailableError: AWS cannot be reached.
    """
    manifest, launcher = check_retry(family, plan, find)
    made = partial(build_retry, family.root, plan, image=manifest.image, service=manifest.service)
    # ids tell seconds: the same retry twice in one takes the next
    while store.exists(RunLayout(manifest.run_id).manifest):
        manifest = made(now=manifest.created_at + dt.timedelta(seconds=1))
    mark = RetryMark(
        run_id=manifest.run_id, created_at=manifest.created_at, origin_slots=manifest.origin_slots
    )
    store.put(RunLayout(family.root.run_id).retry(manifest.run_id), mark.model_dump_json().encode())
    write_manifest(manifest, store)
    return manifest, launcher


def check_retry(family: Family, plan: RetryPlan, find: FindLauncher) -> tuple[Manifest, Launcher]:
    """The plan as a run, and its service, when all is found and fits; nothing is written.

    Raises:
        UsageError: the plan has no units, a place is missing, or a unit does not fit the service.
        UnavailableError: AWS cannot be reached.
    """
    draft = build_retry(family.root, plan)
    launcher = find(draft.arrays)
    manifest = build_retry(
        family.root, plan, image=launcher.image, service=launcher.service, now=draft.created_at
    )
    launcher.check(manifest)
    return manifest, launcher
