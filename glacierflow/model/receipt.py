"""The receipt: what one attempt did, truthfully, as JSON."""

from __future__ import annotations

import datetime as dt
from typing import Literal, TypeVar

from pydantic import Field

from glacierflow.model.records import KeyPath, LeftOut, Name, Note, Record, Told, Unit

Outcome = Literal["done", "no_data", "partial", "failed", "interrupted", "unavailable"]
OUTCOMES: tuple[Outcome, ...] = ("done", "no_data", "partial", "failed", "interrupted", "unavailable")

SCHEMA_VERSION = 1

_T = TypeVar("_T")


class BatchPlace(Record):
    """Where AWS Batch ran the attempt, as far as the container was told."""

    job_id: str | None = None
    job_queue: str | None = None
    compute_environment: str | None = None
    attempt: int | None = None


class Machine(Record):
    """The machine an attempt ran on, as far as ECS, EC2 or Lambda told; what they did not tell is None."""

    instance_id: str | None = None
    instance_type: str | None = None
    zone: str | None = None
    """Availability zone."""
    lifecycle: str | None = None
    """``spot`` or ``on-demand``."""
    launch_type: str | None = None
    """``EC2``, ``FARGATE`` or ``LAMBDA``."""
    vcpus: float | None = None
    """vCPUs of the container."""
    memory_mib: float | None = None
    """Memory limit of the container."""
    image_digest: str | None = None
    log_group: str | None = None
    log_stream: str | None = None


class Counts(Record):
    """Scenes and products of one attempt."""

    found: int = 0
    """STAC items the search returned."""
    kept: int = 0
    """Acquisitions that should become products."""
    written: int = 0
    skipped: int = 0
    """Acquisitions already there, made with the same settings."""
    failed: int = 0
    """Acquisitions whose source could not be read."""


class UnitEnd(Record):
    """What became of one of several units of a slot."""

    outcome: Outcome
    """As if it had been alone in the slot; one that was not begun has the attempt's own."""
    counts: Counts = Field(default_factory=Counts)
    left_out: int = 0
    """How many of the receipt's entries are its own; they stand in the order of the units."""
    notes: int = 0
    error: Told | None = None


class ProductThere(Record):
    """A product in its place; as such, one that the attempt found there, made with the same settings."""

    unit: int
    """Place of its unit in the receipt's ``units``."""
    key: KeyPath
    """Key below the bucket or base directory."""
    acquisition: str
    datetime: dt.datetime


class ProductRecord(ProductThere):
    """One product that was written: what it holds."""

    size: int
    """Bytes."""
    sha256: str
    coverage: float
    """Share of the region with valid pixels, 0..1."""
    sources: tuple[str, ...]
    """Source names in merge order."""
    quicklook: KeyPath | None = None
    """Key of the quicklook PNG."""
    stretch: tuple[float, float] | None = None
    """Pixels that are black and white in the quicklook; None where there is none, or an earlier version made
    it."""
    etag: str | None = None
    """S3's entity tag of the object that was put; None in a directory."""


class Started(Record):
    """Written at once when an attempt starts, so that a killed attempt leaves a trace."""

    schema_version: int = SCHEMA_VERSION
    run_id: Name
    slot: int
    attempt: int
    units: tuple[Unit, ...]
    started_at: dt.datetime
    host: str
    code_version: str
    image_digest: str | None = None
    batch: BatchPlace = Field(default_factory=BatchPlace)
    machine: Machine | None = None
    """None where the attempt ran neither on ECS nor on Lambda."""


class Receipt(Started):
    """Written last: the outcome of an attempt."""

    ended_at: dt.datetime
    outcome: Outcome
    exit_code: int
    counts: Counts
    unit_ends: tuple[UnitEnd, ...] = ()
    """By unit; none where there is one only, of which the receipt itself tells, nor from versions that kept
    none."""
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[Note, ...] = ()
    """Why a unit has no images, and whatever else concerns it as a whole."""
    products: tuple[ProductRecord, ...] = ()
    """What this attempt wrote."""
    already_there: tuple[ProductThere, ...] = ()
    """What it should have written and found in place."""
    error: Told | None = None
    sent_on: bool = False
    """Whether the attempt was interrupted and has itself started another, which makes what it left."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds by phase: search, read, warp, write."""
    bytes_read: int = 0
    """Bytes of imagery received, headers and failed tries included."""
    requests: int = 0
    """Range requests sent for imagery, retries included."""
    peak_memory_mb: float = 0.0

    @property
    def tells_units(self) -> bool:
        """Whether it is known of which unit each entry and error is."""
        return len(self.units) == 1 or bool(self.unit_ends)

    def end_of(self, number: int) -> UnitEnd:
        """What became of a unit; where the receipt does not tell, what can be said of it all the same."""
        if self.unit_ends:
            return self.unit_ends[number]
        if len(self.units) == 1:
            return UnitEnd(
                outcome=self.outcome,
                counts=self.counts,
                left_out=len(self.left_out),
                notes=len(self.notes),
                error=self.error,
            )
        if self.outcome == "done" and not any(
            there.unit == number for there in (*self.products, *self.already_there)
        ):
            return UnitEnd(outcome="no_data")
        unclear = f"of one or more of the slot's {len(self.units)} units, the receipt does not say of which: "
        return UnitEnd(outcome=self.outcome, error=unclear + self.error if self.error else None)

    def left_out_of(self, number: int) -> tuple[LeftOut, ...]:
        """A unit's own scenes left out; none where the receipt does not tell."""
        return _own(self.left_out, [self.end_of(place).left_out for place in range(number + 1)])

    def notes_of(self, number: int) -> tuple[Note, ...]:
        """A unit's own notes; none where the receipt does not tell."""
        return _own(self.notes, [self.end_of(place).notes for place in range(number + 1)])


def _own(entries: tuple[_T, ...], sizes: list[int]) -> tuple[_T, ...]:
    """Of entries in groups of some sizes, the last group."""
    return entries[sum(sizes[:-1]) : sum(sizes)]
