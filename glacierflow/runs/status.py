"""How a run stands, alone or with its retries: manifest x AWS Batch x receipts, joined; pure."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence

from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts
from glacierflow.model.records import Record
from glacierflow.runs.failures import classify, evidence_of
from glacierflow.runs.records import Attempts, JobRecord
from glacierflow.runs.states import FORGOTTEN, NOT_SUBMITTED, STATES, BatchView, FailureClass, SlotState

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
    reclaims: int
    """Attempts that ended because their machine was taken away."""
    products: int
    """Products in place: written by the latest attempt, or found there by it."""
    failed_scenes: int
    left_out: int
    reason: str | None
    """Why it is wrong, or partial; None where all is well."""
    failure: FailureClass | None
    """What kind of wrong, or what a waiting slot is stuck for."""
    next_step: str | None
    wrong: bool
    read: bool
    """Whether the latest attempt's receipt was read; where not, its products are not counted yet."""
    seconds: float | None
    """How long the latest attempt took, or has been running: by its receipt, or by Batch where that was not
    read; None where neither tells."""
    memory_mib: int | None
    """Memory class of its job."""
    job_id: str | None
    run_id: str
    """The run this is from: a retry, where there was one."""
    run_slot: int
    """Its slot in that run."""

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
    retries: tuple[str, ...] = ()
    """Runs that tried some of the slots again, oldest first; their rows are among these."""

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
    def attempts(self) -> int:
        """Attempts so far."""
        return sum(row.attempts for row in self.rows)

    @property
    def reclaims(self) -> int:
        """Attempts whose machine was taken away."""
        return sum(row.reclaims for row in self.rows)

    @property
    def unread(self) -> int:
        """Slots whose receipt was not read yet, so that their products are not counted."""
        return sum(not row.read for row in self.rows)

    @property
    def unexplained(self) -> int:
        """Slots that went wrong, and AWS Batch has not been asked why yet."""
        return sum(row.wrong and row.failure is None for row in self.rows)

    @property
    def finished(self) -> bool:
        """Whether every slot has ended."""
        return all(row.ended for row in self.rows)

    @property
    def running(self) -> frozenset[tuple[str, int]]:
        """Run id and slot, in that run, of what is running now."""
        return frozenset((row.run_id, row.run_slot) for row in self.rows if row.state == "RUNNING")

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
    entries: Mapping[tuple[int, int], AttemptEntry],
    *,
    jobs: Sequence[JobRecord],
) -> RunStatus:
    """Join what the three tell.

    Args:
        manifest: the run.
        view: AWS Batch's answer.
        attempts: attempts by slot, from the listing.
        entries: what is known of attempts by slot and number: receipts, and starts that left none.
        jobs: the jobs that are known to be submitted.
    """
    job_of = {slot: job for job in jobs for slot in range(job.first_slot, job.first_slot + job.size)}
    rows = []
    for slot in range(len(manifest.slots)):
        state = view.slots.get(slot)
        if state is None:
            missing = NOT_SUBMITTED if slot not in job_of and slot not in attempts else FORGOTTEN
            state = SlotState(missing, "")
        of_slot = attempts.get(slot)
        entry = entries.get((slot, of_slot.latest)) if of_slot else None
        rows.append(_row(manifest, slot, state, of_slot, entry, job_of.get(slot)))
    return RunStatus(
        run_id=manifest.run_id, created_at=manifest.created_at, store=manifest.store, rows=tuple(rows)
    )


def _row(
    manifest: Manifest,
    slot: int,
    state: SlotState,
    attempts: Attempts | None,
    entry: AttemptEntry | None,
    job: JobRecord | None,
) -> SlotRow:
    units = manifest.slots[slot]
    outcome = attempts.outcomes[attempts.latest] if attempts else None
    wrong = _is_wrong(state.state, outcome)
    read = outcome is None or (entry is not None and entry.outcome is not None)
    counts = entry.counts if entry else Counts()
    verdict = None
    if not state.unasked or _told_by_receipt(outcome, entry):
        verdict = classify(evidence_of(state, attempts, entry, submitted=True))
    return SlotRow.model_construct(
        slot=slot,
        satellite=units[0].satellite,
        regions=tuple(unit.region for unit in units),
        date1=min(unit.date1 for unit in units),
        date2=max(unit.date2 for unit in units),
        state=state.state,
        outcome=outcome,
        # one that ended before it left a record has a number all the same
        attempts=max(attempts.latest if attempts else 0, len(state.attempts)),
        reclaims=_reclaims(attempts, job) + (verdict is not None and verdict.failure == "spot"),
        products=counts.written + counts.skipped,
        failed_scenes=counts.failed,
        left_out=sum(entry.left_out.values()) if entry else 0,
        reason=_reason(state, attempts, entry) if wrong or outcome == "partial" else _remark(entry, outcome),
        failure=verdict.failure if verdict else None,
        next_step=verdict.next_step if verdict else None,
        wrong=wrong,
        read=read,
        seconds=_seconds(state, entry),
        memory_mib=job.memory_mib if job else None,
        job_id=state.job_id or None,
        run_id=manifest.run_id,
        run_slot=slot,
    )


def _told_by_receipt(outcome: str | None, entry: AttemptEntry | None) -> bool:
    """Whether the receipt alone tells why; one cut short may be reclaimed, timed out or cancelled."""
    return outcome == "unavailable" or (outcome == "failed" and entry is not None)


def _reclaims(attempts: Attempts | None, job: JobRecord | None) -> int:
    """Of the earlier attempts: Batch tries again after a reclaim, so one that was cut short was reclaimed.

    On Lambda its deadline cut it.
    """
    if attempts is None or (job is not None and job.service == "lambda"):
        return 0
    earlier = (outcome for number, outcome in attempts.outcomes.items() if number != attempts.latest)
    return sum(outcome in {None, "interrupted"} for outcome in earlier)


def _seconds(state: SlotState, entry: AttemptEntry | None) -> float | None:
    begin, end = (
        (entry.started_at, entry.ended_at) if entry is not None else (state.started_at, state.stopped_at)
    )
    if state.state == "RUNNING":
        end = end or dt.datetime.now(dt.UTC)
    return (end - begin).total_seconds() if begin and end else None


def _is_wrong(state: str, outcome: str | None) -> bool:
    if state in {"SUCCEEDED", FORGOTTEN}:
        return outcome not in _GOOD
    return state in {"FAILED", NOT_SUBMITTED}


def _reason(state: SlotState, attempts: Attempts | None, entry: AttemptEntry | None) -> str:
    parts = []
    if entry is not None and entry.error:
        parts.append(entry.error)
    elif attempts is not None and attempts.outcomes[attempts.latest] is None:
        when = f" at {entry.started_at:%Y-%m-%d %H:%M:%S} UTC on {entry.host}" if entry else ""
        parts.append(f"attempt {attempts.latest} started{when} and left no receipt: it was killed")
    elif attempts is None:
        parts.append(_NEVER.get(state.state, "no attempt left a trace"))
    if state.state == "FAILED":
        code = "" if state.exit_code is None else f"exit code {state.exit_code}"
        said = ", ".join(text for text in (state.reason, code) if text)
        silent = "Batch has not been asked why yet" if state.unasked else "Batch gives no reason"
        parts.append(f"Batch: {said}" if said else silent)
    return "; ".join(parts) or "it ended without a reason"


def _remark(entry: AttemptEntry | None, outcome: str | None) -> str | None:
    """Why a slot has no images, though nothing went wrong."""
    return "; ".join(entry.notes) or None if entry is not None and outcome == "no_data" else None


_NEVER = {
    NOT_SUBMITTED: "its job was never submitted",
    FORGOTTEN: "Batch does not know the job any more and no attempt left a trace",
    "SUCCEEDED": "Batch says SUCCEEDED, and no attempt left a trace in the store",
    "FAILED": "every attempt ended before it could write a record",
}


def with_retries(root: RunStatus, retries: Sequence[tuple[Manifest, RunStatus]]) -> RunStatus:
    """The first run's rows, those tried again replaced by the retry's.

    Args:
        root: the first run alone.
        retries: manifest and status of each retry, oldest first. A slot whose retry was never sent stays as
            it was.
    """
    rows = {row.slot: row for row in root.rows}
    for manifest, status in retries:
        for row, origin in zip(status.rows, manifest.origin_slots, strict=True):
            if row.state != NOT_SUBMITTED:
                rows[origin] = _after(rows[origin], row)
    return root.model_copy(
        update={
            "rows": tuple(rows[slot] for slot in sorted(rows)),
            "retries": tuple(manifest.run_id for manifest, _ in retries),
        }
    )


def _after(before: SlotRow, row: SlotRow) -> SlotRow:
    """The retry's row in the place of the first run's, with the attempts of both."""
    return row.model_copy(
        update={
            "slot": before.slot,
            "attempts": before.attempts + row.attempts,
            "reclaims": before.reclaims + row.reclaims,
        }
    )
