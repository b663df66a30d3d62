"""The manifest: what one run is, written once and never changed."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from typing import Literal

from glacierflow.errors import UsageError
from glacierflow.model.records import KeyPath, Name, Record, Region, StepSettings, Unit

Service = Literal["batch", "lambda", "ecs", "fargate", "stepfunctions", "local"]
SERVICES: tuple[Service, ...] = ("batch", "lambda", "ecs", "fargate", "stepfunctions", "local")

Order = Literal["catalogue", "largest"]
ORDERS: tuple[Order, ...] = ("catalogue", "largest")


class ArrayRange(Record):
    """One submission of the run: slots ``first_slot .. first_slot + size - 1``; of size 1: a plain job."""

    first_slot: int
    size: int
    memory_mib: int | None = None
    """Memory class of its job definition; None: the one job definition that is configured."""
    on_demand: bool = False
    """Whether it goes to the on-demand queue from the start."""
    timeout_s: int | None = None
    """Seconds an attempt may take; None: as the job definition says."""


class SettingsSource(Record):
    """A config.ini in S3 that a run took its settings from, so that stale settings cannot pass unseen."""

    uri: str
    sha256: str
    version_id: str | None = None


class Manifest(Record):
    """Everything a child needs to know, and everything a later look at the run needs."""

    schema_version: int = 1
    run_id: Name
    created_at: dt.datetime
    fingerprint: str
    """sha256 over units, settings and image."""
    code_version: str
    image_digest: str | None = None
    catalogue_sha256: str
    regions: dict[Name, Region]
    settings: StepSettings
    slots: tuple[tuple[Unit, ...], ...]
    """Units by slot; one each, as a rule."""
    order: Order | None = None
    """How slots stand: ``catalogue``, by index of the region and by time, or ``largest``, the longest first
    in each memory class; of a retry, its first run's slots. None: the manifest is older than this field."""
    arrays: tuple[ArrayRange, ...]
    store: str
    """``s3://bucket`` or a directory: below it lie products and ``runs/``."""
    service: Service = "batch"
    """What runs the slots."""
    owner: str | None = None
    """Whose run it is, as its jobs are tagged: the setting ``[BATCH] owner``, else the submitter's login."""
    image: str | None = None
    """Container image as the job definition names it, where it is known."""
    settings_source: SettingsSource | None = None
    root_run_id: Name | None = None
    """The first run this one retries units of; None for a first run. A retry of a retry names the first."""
    origin_slots: tuple[int, ...] = ()
    """For each slot of a retry, the slot of the first run whose units it repeats."""
    canary_run_id: Name | None = None
    """The run that tried some units before the others, which are this run's; None where there was none."""
    remake: tuple[KeyPath, ...] = ()
    """Keys of products that a retry makes again although they are there, because they are damaged."""

    @property
    def name(self) -> str:
        """The short name."""
        return short_name(self.run_id)

    def units_of(self, slot: int) -> tuple[Unit, ...]:
        """Units of a slot.

        Raises:
            UsageError: the run has no such slot.
        """
        if not 0 <= slot < len(self.slots):
            msg = f"slot {slot} is outside the run {self.run_id}, which has slots 0 to {len(self.slots) - 1}"
            raise UsageError(msg)
        return self.slots[slot]

    def array_of(self, slot: int) -> ArrayRange:
        """The submission a slot belongs to."""
        return next(one for one in self.arrays if one.first_slot <= slot < one.first_slot + one.size)


def fingerprint(slots: tuple[tuple[Unit, ...], ...], settings: StepSettings, image: str | None) -> str:
    """Hash of what a run would do: the same units, settings and image give the same hash."""
    content = {
        "units": [[unit.model_dump(mode="json") for unit in slot] for slot in slots],
        "settings": settings.model_dump(mode="json"),
        "image": image,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_run_id(
    slots: tuple[tuple[Unit, ...], ...], regions: dict[str, Region], print_of_run: str, now: dt.datetime
) -> str:
    """``{satellite}-{date1}-{date2}-{first}_{last, or count}-{UTC stamp}-{6 hex}``; safe as key and job name.

    ``first_last`` are catalogue indices where the regions are consecutive, else the first index and ``n``
    with the number of regions (``3_n5``).
    """
    units = [unit for slot in slots for unit in slot]
    indices = sorted({regions[unit.region].index for unit in units})
    consecutive = indices[-1] - indices[0] + 1 == len(indices)
    span = f"{indices[0]}_{indices[-1]}" if consecutive else f"{indices[0]}_n{len(indices)}"
    first, last = min(unit.date1 for unit in units), max(unit.date2 for unit in units)
    return f"{units[0].satellite}-{first:%Y%m%d}-{last:%Y%m%d}-{span}-{now:%Y%m%dT%H%M%SZ}-{print_of_run[:6]}"


_RUN_ID = re.compile(r"(sentinel2|landsat)-\d{8}-\d{8}-\d+_n?\d+-(\d{8})T\d{6}Z-[0-9a-f]{6}")
_NAME = re.compile(r"(?:s2|ls)-\d{8}-[a-z2-7]{4}")
_SHORT = {"sentinel2": "s2", "landsat": "ls"}


def short_name(run_id: str) -> str:
    """``s2-20261130-k3fq``: satellite, day of submission and four signs of a hash of the id.

    It follows from the id alone, so every run has one, of whatever version; what is no id is its own name.
    """
    found = _RUN_ID.fullmatch(run_id)
    if found is None:
        return run_id
    signs = base64.b32encode(hashlib.sha256(run_id.encode()).digest())[:4].decode().lower()
    return f"{_SHORT[found[1]]}-{found[2]}-{signs}"


def is_whole_id(word: str) -> bool:
    """Whether a word is a run's id, and not a part of one or a short name."""
    return _RUN_ID.fullmatch(word) is not None


def is_name(word: str) -> bool:
    """Whether a word is written as a short name."""
    return _NAME.fullmatch(word) is not None
