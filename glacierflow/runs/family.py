"""Runs seen as one: a run and its retries, or several runs with their canaries and all their retries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from glacierflow.errors import RunError, StoreError, UsageError
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.model.records import Record, Unit
from glacierflow.runs.records import Attempts, ReceiptReader, list_attempts, read_run_manifest
from glacierflow.store import Store

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


class RetryMark(Record):
    """In the first run's folder: that another run repeats some of its units."""

    run_id: str
    created_at: dt.datetime
    origin_slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A slot of the first run, or of one of its retries."""

    run_id: str
    slot: int


@dataclass(frozen=True, slots=True)
class Member:
    """One run of the family, and what its attempts left."""

    manifest: Manifest
    attempts: dict[int, Attempts]
    """By its own slot."""
    receipts: ReceiptReader


@dataclass(frozen=True, slots=True)
class Family:
    """The first run, and its retries in the order in which they were made."""

    members: tuple[Member, ...]
    joined: tuple[Place, ...] = ()
    """Of several runs seen as one (``joined.py``): which run's slot each slot of the root is."""

    @property
    def root(self) -> Manifest:
        """The first run."""
        return self.members[0].manifest

    @property
    def sent(self) -> tuple[Member, ...]:
        """The runs that there really are: without the root, where that is made up."""
        return self.members[1:] if self.joined else self.members

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids of the first run, or of the first runs of which it is made up."""
        manifests = [member.manifest for member in self.sent]
        return tuple(one.run_id for one in manifests if one.root_run_id is None)

    @property
    def retries(self) -> tuple[str, ...]:
        """Ids of the runs that tried slots again."""
        manifests = [member.manifest for member in self.sent]
        return tuple(one.run_id for one in manifests if one.root_run_id is not None)

    def place_of(self, slot: int) -> Place:
        """The run, and the slot in it, that a slot of the root is."""
        return self.joined[slot] if self.joined else Place(self.root.run_id, slot)

    def places(self, slot: int) -> Iterator[tuple[Member, int]]:
        """Where a slot of the first run was tried, oldest first: the run and its own slot."""
        yield self.members[0], slot
        for member in self.members[1:]:
            for own, origin in enumerate(member.manifest.origin_slots):
                if origin == slot:
                    yield member, own

    def receipts(self) -> dict[int, list[Receipt]]:
        """Every receipt, by slot of the first run, oldest attempt first."""
        found: dict[int, list[Receipt]] = {slot: [] for slot in range(len(self.root.slots))}
        for member in self.members:
            origins = member.manifest.origin_slots
            for receipt in member.receipts.every(member.attempts):
                found[origins[receipt.slot] if origins else receipt.slot].append(receipt)
        return found


def read_family(store: Store, run_id: str) -> Family:
    """The run and its retries; a retry is looked at together with the run it repeats.

    Raises:
        UsageError: there is no such run.
        StoreError: a manifest cannot be understood.
    """
    return Family(
        tuple(
            Member(manifest, list_attempts(store, manifest.run_id), ReceiptReader(store, manifest.run_id))
            for manifest in read_members(store, run_id)
        )
    )


def read_members(store: Store, run_id: str) -> list[Manifest]:
    """The manifests of the first run and of its retries, oldest first.

    A mark without a manifest is of a retry that was killed before it was one.

    Raises:
        UsageError: there is no such run.
        StoreError: a manifest cannot be understood.
    """
    root = read_run_manifest(store, run_id)
    if root.root_run_id is not None:
        root = read_run_manifest(store, root.root_run_id)
    marks = [_mark(store, entry.key) for entry in store.list(RunLayout(root.run_id).retries_prefix)]
    marks.sort(key=lambda mark: (mark.created_at, mark.run_id))
    made = [mark.run_id for mark in marks if store.exists(RunLayout(mark.run_id).manifest)]
    return [root, *(read_run_manifest(store, run_id) for run_id in made)]


def _mark(store: Store, key: str) -> RetryMark:
    try:
        return RetryMark.model_validate_json(store.get(key) or b"")
    except ValidationError as error:
        raise StoreError(f"{store.uri(key)} is not the mark of a retry") from error


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
