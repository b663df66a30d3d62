"""From a selection to a manifest: units by slot, slots by array. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from glacierflow import __version__
from glacierflow.errors import UsageError
from glacierflow.manifest import ArrayRange, Manifest, fingerprint, make_run_id
from glacierflow.model import Region, Satellite, StepSettings, Unit

__all__ = ["MAX_ARRAY_SIZE", "build_manifest", "plan_arrays"]

MAX_ARRAY_SIZE = 10_000
"""Children of one AWS Batch array job."""


def plan_arrays(slots: int) -> tuple[ArrayRange, ...]:
    """Arrays of at most 10,000 children that cover all slots; a rest of one becomes a plain job."""
    starts = range(0, slots, MAX_ARRAY_SIZE)
    return tuple(ArrayRange(first_slot=start, size=min(MAX_ARRAY_SIZE, slots - start)) for start in starts)


def build_manifest(
    regions: Sequence[Region],
    satellite: Satellite,
    dates: tuple[dt.date, dt.date],
    *,
    settings: StepSettings,
    store: str,
    catalogue_sha256: str,
    now: dt.datetime | None = None,
) -> Manifest:
    """The manifest of one run: a slot for each region, in the catalogue's order.

    Raises:
        UsageError: no region, or dates in the wrong order.
    """
    if not regions:
        raise UsageError("no region is selected", next_step="name some with --regions or --start-end-index")
    if dates[1] < dates[0]:
        raise UsageError(f"date2 = {dates[1]} lies before date1 = {dates[0]}")
    slots = tuple(
        (Unit(satellite=satellite, region=region.name, date1=dates[0], date2=dates[1]),) for region in regions
    )
    by_name = {region.name: region for region in regions}
    mark = fingerprint(slots, settings, None)
    created = now or dt.datetime.now(dt.UTC)
    return Manifest(
        run_id=make_run_id(slots, by_name, mark, created),
        created_at=created,
        fingerprint=mark,
        code_version=__version__,
        catalogue_sha256=catalogue_sha256,
        regions=by_name,
        settings=settings,
        slots=slots,
        arrays=plan_arrays(len(slots)),
        store=store,
    )
