"""How a run stands, alone or with its retries: manifest x AWS Batch x receipts, joined; pure."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pydantic import Field

from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import Record
from glacierflow.runs.facts import AttemptFact, Products, SlotFact, count_products, ending, slot_fact
from glacierflow.runs.records import Attempts, JobRecord
from glacierflow.runs.states import (
    ENDED_STATES,
    FORGOTTEN,
    GOOD_OUTCOMES,
    LIVE_STATES,
    NOT_SUBMITTED,
    STATES,
    BatchView,
    FailureClass,
    SlotState,
)


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
    """Products in place: new ones, and those that were already there."""
    new: int
    """Products written, by any attempt."""
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
    tries: tuple[AttemptFact, ...] = Field(default=(), exclude=True)
    """Every attempt at it, those of earlier runs too, oldest first."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ENDED_STATES

    @property
    def live(self) -> bool:
        """Whether something more happens to it by itself."""
        return self.state in LIVE_STATES


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
        """Slots by outcome of their latest attempt, and those that ended without one as what they are."""
        told = (row for row in self.rows if row.outcome or row.ended)
        words = (ending(row.outcome, ended=row.ended, attempts=row.attempts) for row in told)
        return dict(sorted(Counter(words).items()))

    @property
    def products(self) -> int:
        """Products in place so far."""
        return sum(row.products for row in self.rows)

    @property
    def new(self) -> int:
        """Of those, the ones that the run wrote."""
        return sum(row.new for row in self.rows)

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
    job_of = {slot: job for job in jobs for slot in job.slots}
    by_slot: defaultdict[int, dict[int, AttemptEntry]] = defaultdict(dict)
    for (slot, number), entry in entries.items():
        by_slot[slot][number] = entry
    rows = []
    for slot in range(len(manifest.slots)):
        state = view.slots.get(slot)
        if state is None:
            missing = NOT_SUBMITTED if slot not in job_of and slot not in attempts else FORGOTTEN
            state = SlotState(missing, "")
        rows.append(_row(manifest, slot, state, attempts.get(slot), by_slot[slot], job_of.get(slot)))
    return RunStatus(
        run_id=manifest.run_id, created_at=manifest.created_at, store=manifest.store, rows=tuple(rows)
    )


def _row(
    manifest: Manifest,
    slot: int,
    state: SlotState,
    attempts: Attempts | None,
    entries: Mapping[int, AttemptEntry],
    job: JobRecord | None,
) -> SlotRow:
    units = manifest.slots[slot]
    fact = slot_fact(manifest.run_id, slot, state, attempts, entries, on_lambda=is_on_lambda(manifest, job))
    outcome, entry, verdict = fact.outcome, fact.entry, fact.verdict
    wrong = _is_wrong(state.state, outcome)
    products = count_products(fact.attempts)
    return SlotRow.model_construct(
        slot=slot,
        satellite=units[0].satellite,
        regions=tuple(unit.region for unit in units),
        date1=min(unit.date1 for unit in units),
        date2=max(unit.date2 for unit in units),
        state=state.state,
        outcome=outcome,
        attempts=len(fact.attempts),
        reclaims=sum(one.reclaimed for one in fact.attempts),
        products=products.in_all,
        new=products.new,
        failed_scenes=entry.counts.failed if entry else 0,
        left_out=sum(entry.left_out.values()) if entry else 0,
        reason=_reason(fact, attempts) if wrong or outcome == "partial" else _remark(entry, outcome),
        failure=verdict.failure if verdict else None,
        next_step=verdict.next_step if verdict else None,
        wrong=wrong,
        read=outcome is None or (entry is not None and entry.outcome is not None),
        seconds=_seconds(state, entry),
        memory_mib=job.memory_mib if job else None,
        job_id=state.job_id or None,
        run_id=manifest.run_id,
        run_slot=slot,
        tries=fact.attempts,
    )


def is_on_lambda(manifest: Manifest, job: JobRecord | None) -> bool:
    """Whether a function runs a slot, whose deadline cuts attempts short where Batch loses machines."""
    return manifest.service == "lambda" if job is None else job.service == "lambda" or job.over_lambda


def _seconds(state: SlotState, entry: AttemptEntry | None) -> float | None:
    begin, end = (
        (entry.started_at, entry.ended_at) if entry is not None else (state.started_at, state.stopped_at)
    )
    if state.state == "RUNNING":
        end = end or dt.datetime.now(dt.UTC)
    return (end - begin).total_seconds() if begin and end else None


def _is_wrong(state: str, outcome: str | None) -> bool:
    if state in {"SUCCEEDED", FORGOTTEN}:
        return outcome not in GOOD_OUTCOMES
    return state in {"FAILED", NOT_SUBMITTED}


def _reason(fact: SlotFact, attempts: Attempts | None) -> str:
    state, entry = fact.state, fact.entry
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
    whole = row.outcome in GOOD_OUTCOMES
    products = Products(row.new, row.products).after(Products(before.new, before.products), whole=whole)
    return row.model_copy(
        update={
            "slot": before.slot,
            "attempts": before.attempts + row.attempts,
            "reclaims": before.reclaims + row.reclaims,
            "products": products.in_all,
            "new": products.new,
            "tries": (*before.tries, *row.tries),
        }
    )
