"""Made-up runs for the tests of planning, submitting and looking."""

from __future__ import annotations

import datetime as dt
from typing import Any

from samples import make_region

from glacierflow.aws.names import Targets
from glacierflow.cloud import Cloud
from glacierflow.launch.batch import JobLauncher, write_manifest
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts, Receipt, Started
from glacierflow.model.records import LeftOut, Region, StepSettings
from glacierflow.runs.plan import build_manifest, plan_slots
from glacierflow.runs.records import JobRecord
from glacierflow.runs.status import RunStatus, SlotRow
from glacierflow.store import Store

DATE1, DATE2 = dt.date(2024, 7, 1), dt.date(2024, 7, 31)
NOW = dt.datetime(2024, 8, 1, 12, 0, 5, tzinfo=dt.UTC)


def some_regions(count: int, first: int = 0) -> list[Region]:
    sample = make_region()
    return [
        sample.model_copy(update={"name": f"{index:03d}_made_up", "index": index})
        for index in range(first, first + count)
    ]


def some_manifest(count: int, store: str = "s3://made-up", *, now: dt.datetime = NOW) -> Manifest:
    regions = some_regions(count)
    slots = plan_slots("sentinel2", regions, DATE1, DATE2)
    return build_manifest(slots, regions, StepSettings(), catalogue_sha256="c", store=store, now=now)


def some_job(first_slot: int, size: int, number: int = 0, submitted_at: dt.datetime = NOW) -> JobRecord:
    return JobRecord(
        number=number,
        name=f"gf-{number}",
        job_id=f"job-{number}",
        job_queue="queue",
        job_definition="definition:1",
        first_slot=first_slot,
        size=size,
        submitted_at=submitted_at,
    )


def make_started(manifest: Manifest, slot: int, attempt: int = 1) -> Started:
    return Started(
        run_id=manifest.run_id,
        slot=slot,
        attempt=attempt,
        units=manifest.slots[slot],
        started_at=NOW,
        host="ip-10-0-0-7",
        code_version="0",
    )


def make_receipt(
    manifest: Manifest, slot: int, outcome: Any = "done", attempt: int = 1, **fields: Any
) -> Receipt:
    return Receipt(
        **make_started(manifest, slot, attempt).model_dump(),
        ended_at=fields.pop("ended_at", NOW),
        outcome=outcome,
        exit_code=fields.pop("exit_code", 0),
        counts=fields.pop("counts", Counts(found=5, kept=3, written=2, skipped=1)),
        left_out=(LeftOut(item_id="x", code="low_coverage", reason="12 % of the region"),),
        **fields,
    )


def some_row(slot: int, state: str, **fields: Any) -> SlotRow:
    """One line of a status; well done, where it has succeeded."""
    facts: dict[str, Any] = {
        "slot": slot,
        "satellite": "sentinel2",
        "regions": (f"{slot:03d}_made_up",),
        "date1": DATE1,
        "date2": DATE2,
        "state": state,
        "outcome": "done" if state == "SUCCEEDED" else None,
        "attempts": 1,
        "reclaims": 0,
        "products": 0,
        "new": 0,
        "failed_scenes": 0,
        "left_out": 0,
        "reason": None,
        "failure": None,
        "next_step": None,
        "wrong": False,
        "read": True,
        "seconds": None,
        "memory_mib": 7_500,
        "job_id": None,
        "run_id": "x",
        "run_slot": slot,
    }
    return SlotRow(**facts | fields)


def status_of(*rows: SlotRow) -> RunStatus:
    return RunStatus(run_id="x", created_at=NOW, store="s3://x", rows=rows)


def put_attempt(
    store: Store, manifest: Manifest, slot: int, outcome: Any = None, attempt: int = 1, **fields: Any
) -> None:
    """Leave in the store what an attempt leaves; without an outcome, one that was killed."""
    run = RunLayout(manifest.run_id)
    started = make_started(manifest, slot, attempt)
    store.put(run.started(slot, attempt), started.model_dump_json().encode())
    if outcome is not None:
        receipt = make_receipt(manifest, slot, outcome, attempt, **fields)
        store.put(run.receipt(slot, attempt, outcome), receipt.model_dump_json().encode())


def submit_run(manifest: Manifest, cloud: Cloud, store: Store, *, targets: Targets) -> list[JobRecord]:
    """Write a manifest and submit its jobs."""
    write_manifest(manifest, store)
    return JobLauncher(cloud, targets, None, {}).launch(manifest, store)
