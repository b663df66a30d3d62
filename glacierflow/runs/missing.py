"""Which units earlier runs have finished for good: a receipt that says so, and every product in its place.

A unit counts as done where an earlier run's unit of the same region covers its dates, was made with settings
that decide the same products, and ended ``done`` or ``no_data`` at least a month after its last day: what
ends sooner may have been searched before all scenes were published.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence

from glacierflow.layout import Layout
from glacierflow.manifest import Manifest
from glacierflow.model import StepSettings, Unit
from glacierflow.receipt import Receipt
from glacierflow.runs.records import Attempts, ReceiptReader, list_attempts, read_run_manifest
from glacierflow.store import Store

__all__ = ["find_done"]

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
            if receipt.end_of(number).outcome in _GOOD:
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
    good = [number for number, outcome in outcomes.items() if outcome in _GOOD]
    return Attempts({number: outcomes[number] for number in sorted(good)[-1:]})


_GOOD = {"done", "no_data"}


def _covers(earlier: Unit, unit: Unit) -> bool:
    return (
        earlier.region == unit.region
        and earlier.satellite == unit.satellite
        and earlier.date1 <= unit.date1
        and earlier.date2 >= unit.date2
    )
