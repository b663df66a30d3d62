"""What the step is given, and what it tells: of its progress, and of what became of a unit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glacierflow.errors import GlacierflowError
from glacierflow.imagery.cache import Shared
from glacierflow.model.layout import RunLayout
from glacierflow.model.receipt import Counts, ProductRecord, ProductThere
from glacierflow.model.records import LeftOut, Note, StepSettings, Unit

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from glacierflow.cloud import Cloud
    from glacierflow.store import Store


@dataclass(frozen=True, slots=True)
class Progress:
    """What the step tells whoever listens."""

    unit: Unit
    done: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class StepContext:
    """What all units of one attempt share."""

    settings: StepSettings
    store: Store
    cloud: Cloud
    run: RunLayout
    stop: threading.Event
    """Set when the process was asked to end."""
    tell: Callable[[Progress], None]
    remake: frozenset[str] = frozenset()
    """Keys of products to make again although they are there: they are damaged."""
    cluster: Client | None = None
    """Its workers make the mosaics; None makes them here."""
    shared: Shared = field(default_factory=Shared)
    """What the units of the slot are made from alike."""
    show: Callable[[xr.DataArray], None] | None = None
    """Given a unit's lazy array before anything of it is computed."""


@dataclass
class UnitResult:
    """What became of one unit, or of one acquisition of it; kept up to date while the unit runs."""

    number: int
    """Place of the unit in its slot."""
    found: int = 0
    written: int = 0
    skipped: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    products: list[ProductRecord] = field(default_factory=list)
    already_there: list[ProductThere] = field(default_factory=list)
    failures: list[GlacierflowError] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_read: int = 0
    requests: int = 0

    @property
    def counts(self) -> Counts:
        """The counts of a receipt."""
        failed = len(self.failures)
        return Counts(
            found=self.found,
            kept=self.written + self.skipped + failed,
            written=self.written,
            skipped=self.skipped,
            failed=failed,
        )

    def add(self, part: UnitResult) -> None:
        """Count what became of one acquisition."""
        self.written += part.written
        self.skipped += part.skipped
        for name in ("left_out", "notes", "products", "already_there", "failures"):
            getattr(self, name).extend(getattr(part, name))
        for phase, seconds in part.seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
