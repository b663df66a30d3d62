"""Submit the units of a run that are worth another try, as a run of their own.

The mark in the first run's folder is written first, then the new run's manifest, then its jobs: killed in
between, it leaves a mark without a manifest or a run without jobs, and neither counts as a try.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.layout import RunLayout
from glacierflow.manifest import ArrayRange, Manifest, Service
from glacierflow.runs.family import Family, RetryMark
from glacierflow.runs.records import JobRecord
from glacierflow.runs.retry import RetryPlan, Standing, build_retry, plan_retry
from glacierflow.runs.verdict import FailureClass
from glacierflow.runs.verify import VerifyReport, verify_run
from glacierflow.services.batch import write_manifest
from glacierflow.services.family import find_standings
from glacierflow.services.launch import Launcher
from glacierflow.services.places import Places
from glacierflow.store import Store

__all__ = ["check_catalogue", "check_retry", "find_retry", "prepare_retry", "submit_retry"]

FindLauncher = Callable[[Sequence[ArrayRange]], Launcher]
"""The service for some arrays, its places found to exist."""


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
