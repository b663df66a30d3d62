"""From units to a manifest and the SubmitJob requests that start it; pure, no network."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glacierflow import __version__
from glacierflow.errors import UsageError
from glacierflow.layout import RunLayout
from glacierflow.manifest import (
    ArrayRange,
    Manifest,
    Order,
    Service,
    SettingsSource,
    fingerprint,
    make_run_id,
)
from glacierflow.model import Region, Satellite, StepSettings, Unit
from glacierflow.runs.arrange import cut_arrays, plan_units

__all__ = ["Destination", "build_manifest", "job_name", "plan_slots", "submit_requests"]

_MAX_OVERRIDES = 8192
"""Characters of containerOverrides; more is accepted by SubmitJob and fails when the child starts."""

_MAX_JOB_NAME = 128
_NOT_IN_TAGS = re.compile(r"[^\w\s+\-=.:/@]")


def plan_slots(
    satellite: Satellite, regions: Sequence[Region], date1: dt.date, date2: dt.date
) -> tuple[tuple[Unit, ...], ...]:
    """One unit a slot, in catalogue order; for a run in one process."""
    return tuple((unit,) for unit in plan_units(satellite, regions, date1, date2))


def build_manifest(
    slots: tuple[tuple[Unit, ...], ...],
    regions: Sequence[Region],
    settings: StepSettings,
    *,
    catalogue_sha256: str,
    store: str,
    arrays: tuple[ArrayRange, ...] | None = None,
    order: Order = "catalogue",
    image: str | None = None,
    settings_source: SettingsSource | None = None,
    service: Service = "batch",
    now: dt.datetime | None = None,
) -> Manifest:
    """The immutable description of a run.

    Args:
        slots: units by slot.
        regions: records of at least the regions the units name.
        settings: what decides the products.
        catalogue_sha256: hash of the catalogue the regions are from.
        store: ``s3://bucket`` or a directory.
        arrays: the submissions; None: as few as there can be, of the one job definition.
        order: of the slots.
        image: the container image as the job definition names it, where it is known.
        service: what runs the slots.
        settings_source: the config.ini in S3 that the settings are from, where they are.
        now: time of the submission, UTC; None is the present.

    Raises:
        UsageError: there is nothing to do.
    """
    if not slots:
        raise UsageError("there is no region to process", next_step="widen --start-end-index or --regions")
    named = {unit.region for slot in slots for unit in slot}
    records = {region.name: region for region in regions if region.name in named}
    print_of_run = fingerprint(slots, settings, image)
    created_at = now or dt.datetime.now(dt.UTC)
    return Manifest(
        run_id=make_run_id(slots, records, print_of_run, created_at),
        created_at=created_at,
        fingerprint=print_of_run,
        code_version=__version__,
        image=image,
        image_digest=_digest(image),
        settings_source=settings_source,
        service=service,
        catalogue_sha256=catalogue_sha256,
        regions=records,
        settings=settings,
        slots=slots,
        order=order,
        arrays=arrays or cut_arrays(len(slots)),
        store=store,
    )


def _digest(image: str | None) -> str | None:
    """``sha256:...`` of an image that is pinned by its digest."""
    return image.partition("@")[2] or None if image else None


def job_name(run_id: str, number: int) -> str:
    """``gf-{run id}-{n}``, by which a submission that left no record is found again.

    Raises:
        UsageError: longer than AWS Batch takes.
    """
    name = f"gf-{run_id}-{number}"
    if len(name) > _MAX_JOB_NAME:
        raise UsageError(f"the job name {name} has {len(name)} characters; AWS Batch takes {_MAX_JOB_NAME}")
    return name


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one array goes."""

    job_queue: str
    job_definition: str


def submit_requests(
    manifest: Manifest,
    destination: Callable[[ArrayRange], Destination],
    *,
    tags: Mapping[str, str] | None = None,
    consumable_resource: str | None = None,
) -> list[dict[str, Any]]:
    """The parameters of each SubmitJob call, in the order of ``manifest.arrays``.

    Args:
        manifest: the run.
        destination: queue and job definition of an array.
        tags: further tags of the jobs.
        consumable_resource: name of an AWS Batch consumable resource, of which each child holds one.

    Raises:
        UsageError: AWS Batch would refuse one, or accept it and fail later.
    """
    own = {"project": "glacierflow", "run": manifest.run_id, "satellite": manifest.slots[0][0].satellite}
    requests = []
    for number, array in enumerate(manifest.arrays):
        request = _request(manifest, number, array, destination(array))
        request["tags"] = _tags({**(tags or {}), **own})
        if consumable_resource is not None:
            wanted = [{"consumableResource": consumable_resource, "quantity": 1}]
            request["consumableResourcePropertiesOverride"] = {"consumableResourceList": wanted}
        requests.append(request)
    return requests


def _request(manifest: Manifest, number: int, array: ArrayRange, where: Destination) -> dict[str, Any]:
    environment = {
        "GLACIERFLOW_MANIFEST": f"{manifest.store}/{RunLayout(manifest.run_id).manifest}",
        "GLACIERFLOW_SLOT_OFFSET": str(array.first_slot),
    }
    request: dict[str, Any] = {
        "jobName": job_name(manifest.run_id, number),
        "jobQueue": where.job_queue,
        "jobDefinition": where.job_definition,
        "propagateTags": True,
    }
    if array.size >= 2:
        request["arrayProperties"] = {"size": array.size}
    else:
        environment["GLACIERFLOW_INDEX"] = "0"
    if array.timeout_s is not None:
        request["timeout"] = {"attemptDurationSeconds": array.timeout_s}
    overrides = {"environment": [{"name": name, "value": value} for name, value in environment.items()]}
    length = len(json.dumps(overrides))
    if length > _MAX_OVERRIDES:
        raise UsageError(
            f"the overrides of job {number} have {length} characters; AWS Batch takes {_MAX_OVERRIDES}",
            next_step="use a shorter bucket name",
        )
    request["containerOverrides"] = overrides
    return request


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Keys and values AWS accepts: 128 and 256 characters from its set, anything else an underscore."""
    return {
        _NOT_IN_TAGS.sub("_", key)[:128]: _NOT_IN_TAGS.sub("_", value)[:256] for key, value in tags.items()
    }
