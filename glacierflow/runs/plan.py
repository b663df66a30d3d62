"""From units to a manifest and its SubmitJob requests, and which units earlier runs have finished.

A unit counts as done where an earlier run's unit of the same region covers its dates, was made with settings
that decide the same products, and ended ``done`` or ``no_data`` at least a month after its last day: what
ends sooner may have been searched before all scenes were published.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glacierflow.errors import UsageError
from glacierflow.model.layout import Layout, RunLayout
from glacierflow.model.manifest import (
    ArrayRange,
    Manifest,
    Order,
    Service,
    SettingsSource,
    fingerprint,
    make_run_id,
)
from glacierflow.model.receipt import Receipt
from glacierflow.model.records import Region, Satellite, StepSettings, Unit
from glacierflow.runs.records import Attempts, ReceiptReader, list_attempts, read_run_manifest
from glacierflow.runs.states import WHOLE_OUTCOMES
from glacierflow.runs.units import cut_arrays, plan_units
from glacierflow.store import Store
from glacierflow.version import __version__

_MAX_OVERRIDES = 8192
"""Characters of containerOverrides; more is accepted by SubmitJob and fails when the child starts."""

_MAX_JOB_NAME = 128
_NOT_IN_TAGS = re.compile(r"[^\w\s+\-=.:/@]")

SETTLED = dt.timedelta(days=30)
"""After the last day of a unit: by then late and reprocessed scenes are published."""

_INDIFFERENT = {
    "sentinel2_stac_url",
    "landsat_stac_url",
    "imagery_s3_endpoint",
    "imagery_region",
    "quicklooks",
    "reprocess",
    "memory_mb",
    "request_timeout_s",
    "request_attempts",
    "search_timeout_s",
}
"""Settings that do not decide what the products are."""


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


def find_done(
    store: Store, earlier: Sequence[str], units: Sequence[Unit], settings: StepSettings
) -> set[Unit]:
    """The units that need not be processed again.

    For each run its manifest, one LIST of its attempts and the receipts of the slots in question; one LIST a
    region for the products.

    Args:
        store: where the runs and the products lie.
        earlier: ids of earlier runs of the same satellite.
        units: what is wanted.
        settings: how.

    Raises:
        StoreError: a manifest cannot be understood.
    """
    wanted: dict[str, set[Unit]] = defaultdict(set)
    for unit in units:
        wanted[unit.region].add(unit)
    layout = Layout(settings.base_path, settings.folder_structure)
    products: dict[str, set[str]] = {}
    done: set[Unit] = set()
    for run_id in earlier:
        manifest = read_run_manifest(store, run_id)
        if not _alike(manifest.settings, settings):
            continue
        for unit, keys in _finished(store, manifest, wanted):
            if unit.region not in products:
                prefix = layout.products_prefix(unit.satellite, unit.region)
                products[unit.region] = {entry.key for entry in store.list(prefix)}
            if keys <= products[unit.region]:
                done.add(unit)
    return done


def _alike(one: StepSettings, other: StepSettings) -> bool:
    return one.model_dump(exclude=_INDIFFERENT) == other.model_dump(exclude=_INDIFFERENT)


def _finished(
    store: Store, manifest: Manifest, wanted: dict[str, set[Unit]]
) -> Iterable[tuple[Unit, set[str]]]:
    """Wanted units that a run finished, each with the keys of the products it left for it."""
    covers = {
        slot: covered
        for slot, units in enumerate(manifest.slots)
        if (covered := {one for unit in units for one in wanted.get(unit.region, ()) if _covers(unit, one)})
    }
    if not covers:
        return
    found = list_attempts(store, manifest.run_id)
    attempts = {
        slot: _worth_reading(of, manifest.slots[slot]) for slot, of in found.items() if slot in covers
    }
    latest: dict[tuple[int, int], Receipt] = {}
    for receipt in ReceiptReader(store, manifest.run_id).every(attempts):
        for number in range(len(receipt.units)):
            if receipt.end_of(number).outcome in WHOLE_OUTCOMES:
                latest[receipt.slot, number] = receipt
    for (slot, number), receipt in latest.items():
        there = (*receipt.products, *receipt.already_there)
        for unit in covers[slot]:
            if _covers(receipt.units[number], unit) and receipt.ended_at.date() >= unit.date2 + SETTLED:
                yield unit, {one.key for one in there if one.unit == number}


def _worth_reading(attempts: Attempts, units: Sequence[Unit]) -> Attempts:
    """Of a slot with one unit the latest that ended well; of several all, as each may have finished some."""
    outcomes = attempts.outcomes
    if len(units) > 1:
        return attempts
    good = [number for number, outcome in outcomes.items() if outcome in WHOLE_OUTCOMES]
    return Attempts({number: outcomes[number] for number in sorted(good)[-1:]})


def _covers(earlier: Unit, unit: Unit) -> bool:
    return (
        earlier.region == unit.region
        and earlier.satellite == unit.satellite
        and earlier.date1 <= unit.date1
        and earlier.date2 >= unit.date2
    )
