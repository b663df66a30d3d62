"""How a run stands: manifest x AWS Batch x receipts, joined; pure."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence

from glacierflow.manifest import Manifest
from glacierflow.model import Record
from glacierflow.receipt import Receipt, Started
from glacierflow.runs.records import Attempts, JobRecord
from glacierflow.runs.states import FORGOTTEN, NOT_SUBMITTED, STATES, BatchView, SlotState

__all__ = ["STATES", "BatchView", "RunStatus", "SlotRow", "SlotState", "join_status", "unended_attempts"]

_ENDED = {"SUCCEEDED", "FAILED", FORGOTTEN, NOT_SUBMITTED}
_GOOD = {"done", "no_data", "partial"}


class SlotRow(Record):
    """One slot of a run."""

    slot: int
    satellite: str
    regions: tuple[str, ...]
    date1: dt.date
    date2: dt.date
    state: str
    """Of Batch, or ``FORGOTTEN`` or ``NOT_SUBMITTED``."""
    outcome: str | None
    """Of the latest attempt; None while there is none, or where it left none."""
    attempts: int
    products: int
    """Products in place: written by the latest attempt, or found there by it."""
    failed_scenes: int
    left_out: int
    reason: str | None
    """Why it is wrong, or partial; None where all is well."""
    wrong: bool
    job_id: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in _ENDED


class RunStatus(Record):
    """All slots of a run."""

    run_id: str
    created_at: dt.datetime
    store: str
    rows: tuple[SlotRow, ...]

    @property
    def states(self) -> dict[str, int]:
        """Slots by state, in the order of a job's life."""
        counts = Counter(row.state for row in self.rows)
        return {state: counts[state] for state in (*STATES, FORGOTTEN, NOT_SUBMITTED) if counts[state]}

    @property
    def outcomes(self) -> dict[str, int]:
        """Slots by outcome of their latest attempt."""
        return dict(sorted(Counter(row.outcome for row in self.rows if row.outcome).items()))

    @property
    def products(self) -> int:
        """Products in place so far."""
        return sum(row.products for row in self.rows)

    @property
    def finished(self) -> bool:
        """Whether every slot has ended."""
        return all(row.ended for row in self.rows)

    @property
    def wrong(self) -> tuple[SlotRow, ...]:
        """The slots something is wrong with."""
        return tuple(row for row in self.rows if row.wrong)

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong so far, else 1; a partial slot is named, not wrong."""
        return 1 if self.wrong else 0


def unended_attempts(attempts: Mapping[int, Attempts]) -> list[tuple[int, int]]:
    """(slot, attempt) of the latest attempts that started and left no receipt."""
    return [(slot, of.latest) for slot, of in attempts.items() if of.outcomes[of.latest] is None]


def join_status(
    manifest: Manifest,
    view: BatchView,
    attempts: Mapping[int, Attempts],
    receipts: Mapping[int, Receipt],
    starts: Mapping[tuple[int, int], Started],
    *,
    jobs: Sequence[JobRecord],
) -> RunStatus:
    """Join what the three tell.

    Args:
        manifest: the run.
        view: AWS Batch's answer.
        attempts: attempts by slot, from the listing.
        receipts: the latest attempt's receipt by slot, where it left one.
        starts: what the latest attempts without a receipt wrote when they started.
        jobs: the jobs that are known to be submitted.
    """
    submitted = {slot for job in jobs for slot in range(job.first_slot, job.first_slot + job.size)}
    rows = []
    for slot in range(len(manifest.slots)):
        state = view.slots.get(slot)
        if state is None:
            missing = NOT_SUBMITTED if slot not in submitted and slot not in attempts else FORGOTTEN
            state = SlotState(missing, "")
        of_slot = attempts.get(slot)
        started = starts.get((slot, of_slot.latest)) if of_slot else None
        rows.append(_row(manifest, slot, state, of_slot, receipts.get(slot), started))
    return RunStatus(
        run_id=manifest.run_id, created_at=manifest.created_at, store=manifest.store, rows=tuple(rows)
    )


def _row(
    manifest: Manifest,
    slot: int,
    state: SlotState,
    attempts: Attempts | None,
    receipt: Receipt | None,
    started: Started | None,
) -> SlotRow:
    units = manifest.slots[slot]
    outcome = attempts.outcomes[attempts.latest] if attempts else None
    wrong = _is_wrong(state.state, outcome)
    counts = receipt.counts if receipt else None
    return SlotRow(
        slot=slot,
        satellite=units[0].satellite,
        regions=tuple(unit.region for unit in units),
        date1=min(unit.date1 for unit in units),
        date2=max(unit.date2 for unit in units),
        state=state.state,
        outcome=outcome,
        attempts=max(len(attempts.outcomes) if attempts else 0, len(state.attempts)),
        products=counts.written + counts.skipped if counts else 0,
        failed_scenes=counts.failed if counts else 0,
        left_out=len(receipt.left_out) if receipt else 0,
        reason=_reason(state, attempts, receipt, started) if wrong or outcome == "partial" else None,
        wrong=wrong,
        job_id=state.job_id or None,
    )


def _is_wrong(state: str, outcome: str | None) -> bool:
    if state in {"SUCCEEDED", FORGOTTEN}:
        return outcome not in _GOOD
    return state in {"FAILED", NOT_SUBMITTED}


def _reason(
    state: SlotState, attempts: Attempts | None, receipt: Receipt | None, started: Started | None
) -> str:
    parts = []
    if receipt is not None and receipt.error:
        parts.append(receipt.error)
    elif attempts is not None and attempts.outcomes[attempts.latest] is None:
        when = f" at {started.started_at:%Y-%m-%d %H:%M:%S} UTC on {started.host}" if started else ""
        parts.append(f"attempt {attempts.latest} started{when} and left no receipt: it was killed")
    elif attempts is None:
        parts.append(_NEVER.get(state.state, "no attempt left a trace"))
    if state.state == "FAILED":
        code = "" if state.exit_code is None else f"exit code {state.exit_code}"
        said = ", ".join(text for text in (state.reason, code) if text)
        parts.append(f"Batch: {said}" if said else "Batch gives no reason")
    return "; ".join(parts) or "it ended without a reason"


_NEVER = {
    NOT_SUBMITTED: "its job was never submitted",
    FORGOTTEN: "Batch does not know the job any more and no attempt left a trace",
    "SUCCEEDED": "Batch says SUCCEEDED, and no attempt left a trace in the store",
    "FAILED": "no attempt got as far as leaving a trace",
}
