"""The receipt: what one attempt did, truthfully, as JSON."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field

from glacierflow.model import LeftOut, Note, Record, Unit

__all__ = [
    "BatchPlace",
    "Counts",
    "Machine",
    "Outcome",
    "ProductRecord",
    "ProductThere",
    "Receipt",
    "Started",
    "OUTCOMES",
]

Outcome = Literal["done", "no_data", "partial", "failed", "interrupted", "unavailable"]
OUTCOMES: tuple[Outcome, ...] = ("done", "no_data", "partial", "failed", "interrupted", "unavailable")

SCHEMA_VERSION = 1


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


class ProductThere(Record):
    """A product in its place; as such, one that the attempt found there, made with the same settings."""

    unit: int
    """Place of its unit in the receipt's ``units``."""
    key: str
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
    quicklook: str | None = None
    """Key of the quicklook PNG."""
    etag: str | None = None
    """S3's entity tag of the object that was put; None in a directory."""


class Started(Record):
    """Written at once when an attempt starts, so that a killed attempt leaves a trace."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
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
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[Note, ...] = ()
    """Why a unit has no images, and whatever else concerns it as a whole."""
    products: tuple[ProductRecord, ...] = ()
    """What this attempt wrote."""
    already_there: tuple[ProductThere, ...] = ()
    """What it should have written and found in place."""
    error: str | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds by phase: search, read, warp, write."""
    bytes_read: int = 0
    """Bytes of imagery received, headers and failed tries included."""
    requests: int = 0
    """Range requests sent for imagery, retries included."""
    peak_memory_mb: float = 0.0
