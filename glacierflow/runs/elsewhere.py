"""How the slots of a run stand on a service that forgets them: read from what their attempts left; pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from glacierflow.attempts import AttemptEntry
from glacierflow.runs.records import Attempts, JobRecord
from glacierflow.runs.states import SlotState

__all__ = ["LONGEST_S", "states_by_attempts"]

LONGEST_S: dict[str, float] = {"lambda": 900.0}
"""Seconds after which an attempt without a receipt cannot be alive any more."""

_EXPIRES = dt.timedelta(hours=6, minutes=15)
"""An asynchronous invocation waits six hours at most in Lambda's queue."""

_EXIT_CODES = {"done": 0, "no_data": 0, "partial": 0, "interrupted": 75, "unavailable": 75}


def states_by_attempts(
    job: JobRecord,
    attempts: Mapping[int, Attempts],
    starts: Mapping[tuple[int, int], AttemptEntry],
    now: dt.datetime,
    *,
    cancelled: bool = False,
) -> dict[int, SlotState]:
    """The state of each slot of an array, in the words of AWS Batch.

    Args:
        job: the record that stands for the array.
        attempts: attempts by slot, from the listing.
        starts: what the latest attempts without a receipt wrote when they started.
        now: the time, UTC.
        cancelled: whether what has not begun will do nothing.
    """
    states = {
        slot: _state(job, slot, attempts.get(slot), starts, now)
        for slot in range(job.first_slot, job.first_slot + job.size)
    }
    if not cancelled:
        return states
    return {
        slot: replace(state, state="FAILED", ended_by_request=True, explained=True)
        if state.state == "SUBMITTED"
        else state
        for slot, state in states.items()
    }


def _state(
    job: JobRecord,
    slot: int,
    attempts: Attempts | None,
    starts: Mapping[tuple[int, int], AttemptEntry],
    now: dt.datetime,
) -> SlotState:
    where = f"{job.job_id}/{slot}"
    if attempts is None:
        if job.service == "lambda" and now - job.submitted_at > _EXPIRES:
            reason = "Task failed to start: the invocation never began; see the queue for failures"
            return SlotState("FAILED", where, status_reason=reason, explained=True)
        return SlotState("SUBMITTED", where)
    outcome = attempts.outcomes[attempts.latest]
    if outcome is not None:
        return _ended(job, where, outcome)
    started, longest = starts.get((slot, attempts.latest)), LONGEST_S.get(job.service)
    if started is not None and longest is not None:
        age = (now - started.started_at).total_seconds()
        if age > longest:
            return SlotState("FAILED", where, status_reason=_TIMED_OUT, explained=True)
    return SlotState("RUNNING", where)


_TIMED_OUT = "Job attempt duration exceeded timeout"


def _ended(job: JobRecord, where: str, outcome: str) -> SlotState:
    state: Literal["SUCCEEDED", "FAILED"] = (
        "SUCCEEDED" if outcome in {"done", "no_data", "partial"} else "FAILED"
    )
    stopped_in_time = outcome == "interrupted" and job.service == "lambda"
    return SlotState(
        state,
        where,
        status_reason=_TIMED_OUT if stopped_in_time else None,
        exit_code=_EXIT_CODES.get(outcome),
        explained=True,
    )
