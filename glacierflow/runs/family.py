"""A run and its retries, seen as one: every attempt at each of the first run's slots, in order of time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from glacierflow.errors import StoreError
from glacierflow.layout import RunLayout
from glacierflow.manifest import Manifest
from glacierflow.model import Record
from glacierflow.receipt import Receipt
from glacierflow.runs.records import Attempts, ReceiptReader, list_attempts, read_run_manifest
from glacierflow.store import Store

__all__ = ["Family", "Member", "Place", "RetryMark", "read_family", "read_members"]


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
