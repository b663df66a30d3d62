"""From regions and dates to a manifest and the SubmitJob requests that start it; pure, no network.

Slots stand in catalogue order, one unit each: child 0 of ``--start-end-index 65:130`` is region 65. People
find a child by counting, which is worth more than starting the largest region first.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from typing import Any

from glacierflow import __version__
from glacierflow.errors import UsageError
from glacierflow.layout import RunLayout
from glacierflow.manifest import ArrayRange, Manifest, SettingsSource, fingerprint, make_run_id
from glacierflow.model import Region, Satellite, StepSettings, Unit

__all__ = ["MAX_ARRAY_SIZE", "build_manifest", "cut_arrays", "job_name", "plan_slots", "submit_requests"]

MAX_ARRAY_SIZE = 10_000
"""Most children AWS Batch takes in one array job."""

_MAX_OVERRIDES = 8192
"""Characters of containerOverrides; more is accepted by SubmitJob and fails when the child starts."""

_MAX_JOB_NAME = 128
_NOT_IN_TAGS = re.compile(r"[^\w\s+\-=.:/@]")


def plan_slots(
    satellite: Satellite, regions: Sequence[Region], date1: dt.date, date2: dt.date
) -> tuple[tuple[Unit, ...], ...]:
    """One unit a slot, in catalogue order; a region named twice is planned once."""
    by_index = {region.index: region for region in regions}
    return tuple(
        (Unit(satellite=satellite, region=by_index[index].name, date1=date1, date2=date2),)
        for index in sorted(by_index)
    )


def cut_arrays(slots: int, limit: int = MAX_ARRAY_SIZE) -> tuple[ArrayRange, ...]:
    """Consecutive ranges of at most ``limit`` slots; a range of one becomes a plain job."""
    return tuple(
        ArrayRange(first_slot=first, size=min(limit, slots - first)) for first in range(0, slots, limit)
    )


def build_manifest(
    slots: tuple[tuple[Unit, ...], ...],
    regions: Sequence[Region],
    settings: StepSettings,
    *,
    catalogue_sha256: str,
    store: str,
    image_digest: str | None = None,
    settings_source: SettingsSource | None = None,
    now: dt.datetime | None = None,
) -> Manifest:
    """The immutable description of a run.

    Args:
        slots: units by slot.
        regions: records of at least the regions the units name.
        settings: what decides the products.
        catalogue_sha256: hash of the catalogue the regions are from.
        store: ``s3://bucket`` or a directory.
        image_digest: the container image, where it is known.
        settings_source: the config.ini in S3 that the settings are from, where they are.
        now: time of the submission, UTC; None is the present.

    Raises:
        UsageError: there is nothing to do.
    """
    if not slots:
        raise UsageError("there is no region to process", next_step="widen --start-end-index or --regions")
    named = {unit.region for slot in slots for unit in slot}
    records = {region.name: region for region in regions if region.name in named}
    print_of_run = fingerprint(slots, settings, image_digest)
    created_at = now or dt.datetime.now(dt.UTC)
    return Manifest(
        run_id=make_run_id(slots, records, print_of_run, created_at),
        created_at=created_at,
        fingerprint=print_of_run,
        code_version=__version__,
        image_digest=image_digest,
        settings_source=settings_source,
        catalogue_sha256=catalogue_sha256,
        regions=records,
        settings=settings,
        slots=slots,
        arrays=cut_arrays(len(slots)),
        store=store,
    )


def job_name(run_id: str, number: int) -> str:
    """``gf-{run id}-{n}``, by which a submission that left no record is found again.

    Raises:
        UsageError: longer than AWS Batch takes.
    """
    name = f"gf-{run_id}-{number}"
    if len(name) > _MAX_JOB_NAME:
        raise UsageError(f"the job name {name} has {len(name)} characters; AWS Batch takes {_MAX_JOB_NAME}")
    return name


def submit_requests(
    manifest: Manifest, *, job_queue: str, job_definition: str, tags: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """The parameters of each SubmitJob call, in the order of ``manifest.arrays``.

    Raises:
        UsageError: AWS Batch would refuse one, or accept it and fail later.
    """
    return [
        _request(manifest, number, array, job_queue, job_definition, tags or {})
        for number, array in enumerate(manifest.arrays)
    ]


def _request(
    manifest: Manifest, number: int, array: ArrayRange, queue: str, definition: str, tags: dict[str, str]
) -> dict[str, Any]:
    environment = {
        "GLACIERFLOW_MANIFEST": f"{manifest.store}/{RunLayout(manifest.run_id).manifest}",
        "GLACIERFLOW_SLOT_OFFSET": str(array.first_slot),
    }
    request: dict[str, Any] = {
        "jobName": job_name(manifest.run_id, number),
        "jobQueue": queue,
        "jobDefinition": definition,
        "propagateTags": True,
        "tags": _tags({**tags, "project": "glacierflow", "run": manifest.run_id}),
    }
    if array.size >= 2:
        request["arrayProperties"] = {"size": array.size}
    else:
        environment["GLACIERFLOW_INDEX"] = "0"
    overrides = {"environment": [{"name": name, "value": value} for name, value in environment.items()]}
    length = len(json.dumps(overrides))
    if length > _MAX_OVERRIDES:
        raise UsageError(
            f"the overrides of job {number} have {length} characters; AWS Batch takes {_MAX_OVERRIDES}",
            next_step="use a shorter bucket name",
        )
    request["containerOverrides"] = overrides
    return request


def _tags(tags: dict[str, str]) -> dict[str, str]:
    """Keys and values AWS accepts: 128 and 256 characters from its set, anything else an underscore."""
    return {
        _NOT_IN_TAGS.sub("_", key)[:128]: _NOT_IN_TAGS.sub("_", value)[:256] for key, value in tags.items()
    }
