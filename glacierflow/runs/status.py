"""Manifest x Batch x receipts: one row a slot. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from glacierflow.manifest import Manifest
from glacierflow.model import Record
from glacierflow.runs.records import Attempts

__all__ = ["BATCH_STATES", "BatchView", "ChildState", "RunStatus", "SlotRow", "join_status"]

BATCH_STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
ENDED = ("SUCCEEDED", "FAILED")
_GOOD = {"done", "no_data", "partial"}


@dataclass(frozen=True, slots=True)
class ChildState:
    """What Batch says of one child."""

    status: str
    reason: str | None = None
    attempts: int | None = None
    exit_code: int | None = None


@dataclass
class BatchView:
    """What Batch says of a run; empty where it has forgotten."""

    counts: Counter[str] = field(default_factory=Counter)
    """Children by state."""
    children: dict[int, ChildState] = field(default_factory=dict)
    """By slot, where it was asked for."""

    def over(self, slots: int) -> bool:
        """Whether every slot has ended, as far as Batch knows them."""
        return sum(self.counts[state] for state in ENDED) >= slots


class SlotRow(Record):
    """One child of a run."""

    slot: int
    region: str
    date1: str
    date2: str
    state: str
    """Batch's state; ``FORGOTTEN`` where Batch no longer knows the job."""
    outcome: str | None
    """Of the last receipt; None where no attempt has ended."""
    attempts: int
    products: int
    """Written by the last attempt, or there already."""
    left_out: int
    why: str | None
    """One sentence where something is wrong or missing."""

    @property
    def is_good(self) -> bool:
        """Processed to the end."""
        return self.outcome in _GOOD and self.state in {"SUCCEEDED", "FORGOTTEN"}


class RunStatus(Record):
    """A run at one moment."""

    run_id: str
    states: dict[str, int]
    outcomes: dict[str, int]
    products: int
    rows: tuple[SlotRow, ...]

    @property
    def exit_code(self) -> int:
        """0 where every child was processed, else 1."""
        return 0 if all(row.is_good for row in self.rows) else 1


def join_status(manifest: Manifest, view: BatchView, attempts: Attempts) -> RunStatus:
    """Join what was planned with what Batch says and what the children wrote."""
    rows = tuple(_row(manifest, slot, view, attempts) for slot in range(len(manifest.slots)))
    counts: Mapping[str, int] = view.counts or Counter(row.state for row in rows)
    return RunStatus(
        run_id=manifest.run_id,
        states={state: counts[state] for state in (*BATCH_STATES, "FORGOTTEN") if counts.get(state)},
        outcomes=dict(_count(row.outcome for row in rows)),
        products=sum(row.products for row in rows),
        rows=rows,
    )


def _row(manifest: Manifest, slot: int, view: BatchView, attempts: Attempts) -> SlotRow:
    units = manifest.units_of(slot)
    child = view.children.get(slot, ChildState("FORGOTTEN"))
    receipt = attempts.receipts.get(slot)
    killed = attempts.open_end(slot) and child.status in {"FAILED", "FORGOTTEN"}
    # A receipt of an earlier attempt does not speak for one that was killed after it.
    outcome = None if killed or receipt is None else receipt.outcome
    counts = receipt.counts if receipt is not None else None
    return SlotRow(
        slot=slot,
        region=" ".join(unit.region for unit in units),
        date1=str(min(unit.date1 for unit in units)),
        date2=str(max(unit.date2 for unit in units)),
        state=child.status,
        outcome=outcome,
        attempts=max(attempts.started(slot), child.attempts or 0),
        products=counts.written + counts.skipped if counts else 0,
        left_out=len(receipt.left_out) if receipt else 0,
        why=_why(child, killed, receipt.error if receipt else None, outcome),
    )


def _why(child: ChildState, killed: bool, error: str | None, outcome: str | None) -> str | None:
    if killed:
        said = child.reason or "no reason given"
        code = f", exit code {child.exit_code}" if child.exit_code is not None else ""
        return f"an attempt started and left no receipt: it was killed ({said}{code})"
    if error is not None:
        return error
    if child.status == "FAILED" and outcome not in _GOOD:
        return child.reason
    return None


def _count(values: Iterable[str | None]) -> Counter[str]:
    return Counter(value for value in values if value is not None)
