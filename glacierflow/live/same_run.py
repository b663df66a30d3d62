"""Whether a run that does the same is on its way already, or was broken off while it was submitted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from glacierflow.aws.batch import UNSEEN, describe_jobs, find_jobs
from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import Places
from glacierflow.cloud import Cloud
from glacierflow.launch.stepfunctions import running_executions
from glacierflow.live.states import view_of
from glacierflow.model.layout import RunLayout, runs_prefix
from glacierflow.model.manifest import Manifest
from glacierflow.runs.records import JobRecord, read_run_manifest
from glacierflow.runs.states import FINAL_STATES
from glacierflow.store import Store, split_s3_uri

_STAMP_AND_PRINT = len("20240801T120005Z-0123ab")
_FRESH = dt.timedelta(days=1)
"""A submission broken off longer ago is not completed: Batch may have forgotten the jobs it did send."""


@dataclass(frozen=True, slots=True)
class SameRun:
    """An earlier run of the same fingerprint that has not ended, or not been submitted whole."""

    manifest: Manifest
    jobs: tuple[JobRecord, ...]
    """Those that are known to Batch or in the store."""

    @property
    def is_whole(self) -> bool:
        """Whether every slot was submitted."""
        return _is_whole(self.manifest, self.jobs)


def _is_whole(manifest: Manifest, jobs: Sequence[JobRecord]) -> bool:
    return sum(job.size for job in jobs) == len(manifest.slots)


def find_same_run(manifest: Manifest, store: Store, cloud: Cloud, *, places: Places) -> SameRun | None:
    """The latest run with this fingerprint that is on its way, or that lacks jobs and is of the last day.

    One LIST where there is none. Jobs found by name are recorded.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    span, stamp_and_print = manifest.run_id[:-_STAMP_AND_PRINT], manifest.run_id[-_STAMP_AND_PRINT:]
    alike = [
        name
        for name in runs_named(cloud, manifest.store, span)
        if name[:-_STAMP_AND_PRINT] == span and name[-6:] == stamp_and_print[-6:]
    ]
    for run_id in sorted(alike, reverse=True):
        earlier = read_run_manifest(store, run_id)
        if earlier.fingerprint != manifest.fingerprint:
            continue
        found = find_jobs(earlier, store, cloud, **places.queues)
        states = _states(earlier, found, store, cloud)
        fresh = manifest.created_at - earlier.created_at < _FRESH
        # of a run that was cancelled or failed before it was sent whole, all is sent anew
        broken_off = not _is_whole(earlier, found) and fresh and "FAILED" not in states
        if broken_off or not states <= FINAL_STATES:
            return SameRun(earlier, tuple(found))
    return None


def runs_named(cloud: Cloud, store: str, start: str) -> list[str]:
    """Runs whose id starts so: one listing by folder, however many objects each has."""
    with plain_errors(f"list the runs in {store}", service="S3"):
        pages = (
            cloud.client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=split_s3_uri(store)[0], Prefix=f"{runs_prefix()}{start}", Delimiter="/")
        )
        found = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]
    return [run_id for prefix in found if (run_id := RunLayout.parse_run_id(prefix))]


def _states(manifest: Manifest, jobs: Sequence[JobRecord], store: Store, cloud: Cloud) -> set[str]:
    """States of the jobs; one that Batch does not know has ended, unless it is too young to be shown."""
    if manifest.service != "batch":
        view = view_of(manifest, jobs, store, cloud, explain=False)
        # a state machine that waits between two rounds of tries has no job that lives
        machine = {"RUNNING"} if running_executions(jobs, cloud) else set()
        return {slot.state for slot in view.slots.values()} | machine
    described = describe_jobs(cloud.client("batch"), [job.job_id for job in jobs])
    known = {job["jobId"]: str(job["status"]) for job in described}
    now = dt.datetime.now(dt.UTC)
    return {
        known.get(job.job_id, "SUBMITTED" if now - job.submitted_at < UNSEEN else "FAILED") for job in jobs
    }
