"""Several runs seen as one family: those that were named, the canaries they had, and all their retries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from glacierflow.errors import RunError, UsageError
from glacierflow.manifest import Manifest
from glacierflow.model import Unit
from glacierflow.runs.family import Family, Member, Place, read_family
from glacierflow.runs.records import ReceiptReader
from glacierflow.store import Store

__all__ = ["check_alike", "join_families", "read_joined"]

_DECIDE = (
    "sentinel2_stac_url",
    "landsat_stac_url",
    "sentinel2_collection",
    "landsat_collection",
    "resampling",
    "sentinel2_min_coverage",
    "landsat_min_overlap",
    "max_cloud_cover",
    "max_region_cloud",
    "mgrs_tiles",
    "landsat_tiers",
    "landsat_corrections",
)
"""Settings that decide which images there are and how they were made."""


def read_joined(store: Store, run_ids: Iterable[str]) -> Family:
    """The runs, with the canary of each, as one; just the run and its retries where it is only one.

    Raises:
        RunError: there is no such run, or the runs pack the same units in different ways.
        StoreError: a manifest cannot be understood.
    """
    families: dict[str, Family] = {}
    for run_id in run_ids:
        family = read_family(store, run_id)
        families.setdefault(family.root.run_id, family)
        canary = family.root.canary_run_id
        if canary is not None and canary not in families:
            families[canary] = read_family(store, canary)
    return join_families(store, list(families.values()))


def join_families(store: Store, families: Sequence[Family]) -> Family:
    """One family of several; units that several runs had are one slot, tried by each of them.

    The root is made up: the first of the runs with the units of all, and without attempts of its own.

    Raises:
        RunError: the runs pack the same units in different ways.
    """
    if len(families) == 1:
        return families[0]
    slots: dict[tuple[Unit, ...], int] = {}
    places: dict[int, Place] = {}
    members: list[Member] = []
    for family in sorted(families, key=lambda one: one.root.created_at):
        root = family.root
        for own, units in enumerate(root.slots):
            places[slots.setdefault(units, len(slots))] = Place(root.run_id, own)
        members += [_remapped(member, root, slots) for member in family.members]
    _check_packing(slots, families)
    members.sort(key=lambda member: member.manifest.created_at)
    whole = families[0].root.model_copy(
        update={
            "slots": tuple(slots),
            "regions": {name: one for family in families for name, one in family.root.regions.items()},
        }
    )
    made_up = Member(whole, {}, ReceiptReader(store, whole.run_id))
    return Family((made_up, *members), tuple(places[slot] for slot in range(len(slots))))


def _remapped(member: Member, root: Manifest, slots: dict[tuple[Unit, ...], int]) -> Member:
    """A run whose slots repeat those of the made-up root."""
    own = member.manifest.origin_slots or range(len(root.slots))
    origins = tuple(slots[root.slots[slot]] for slot in own)
    return replace(member, manifest=member.manifest.model_copy(update={"origin_slots": origins}))


def _check_packing(slots: Iterable[tuple[Unit, ...]], families: Sequence[Family]) -> None:
    seen: set[Unit] = set()
    for units in slots:
        for unit in units:
            if unit in seen:
                names = " and ".join(family.root.run_id for family in families)
                raise RunError(
                    f"{names} pack the unit {unit.region} {unit.date1}..{unit.date2} together with different "
                    "units, so they cannot be taken as one",
                    next_step="name one of them at a time",
                )
            seen.add(unit)


def check_alike(family: Family) -> None:
    """Know that one paragraph can tell of all runs.

    Raises:
        UsageError: they differ in what decides their images.
    """
    first, *others = [member.manifest for member in family.sent if member.manifest.root_run_id is None]
    for other in others:
        way = _way(other)
        differing = [name for name, value in _way(first).items() if value != way[name]]
        if differing:
            raise UsageError(
                f"{first.run_id} and {other.run_id} differ in {', '.join(differing)}: "
                "one paragraph cannot tell of both",
                next_step="name one of them at a time",
            )


def _way(manifest: Manifest) -> dict[str, object]:
    satellites = sorted({unit.satellite for slot in manifest.slots for unit in slot})
    settings = {name: getattr(manifest.settings, name) for name in _DECIDE}
    return {"satellite": satellites, "catalogue": manifest.catalogue_sha256, **settings}
