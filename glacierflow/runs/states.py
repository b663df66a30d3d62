"""The states of jobs and attempts, and the classes of failures, as plain values."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal, get_args

from glacierflow.model.records import Record

STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
"""States of a Batch job, in the order it goes through them."""

WAITING = ("SUBMITTED", "PENDING", "RUNNABLE")
"""States before anything has been started."""

LIVE_STATES = frozenset({*WAITING, "STARTING", "RUNNING"})
"""States in which something more happens by itself."""

FINAL_STATES = frozenset({"SUCCEEDED", "FAILED"})
"""States of a job that has ended."""

WHOLE_OUTCOMES = frozenset({"done", "no_data"})
"""Outcomes of an attempt that left nothing to do."""

GOOD_OUTCOMES = WHOLE_OUTCOMES | {"partial"}
"""Outcomes of an attempt that ended well; some scenes of a partial one could not be read."""

FORGOTTEN = "FORGOTTEN"
"""Batch no longer knows the job (it keeps finished ones for about a week); the receipts still do."""

NOT_SUBMITTED = "NOT_SUBMITTED"
"""The submission ended before this slot's job was sent."""

ENDED_STATES = FINAL_STATES | {FORGOTTEN, NOT_SUBMITTED}
"""States of a slot of which nothing more happens by itself."""

FailureClass = Literal[
    "spot",
    "oom",
    "timeout",
    "start",
    "capacity",
    "service",
    "killed",
    "data",
    "config",
    "bug",
    "missing",
    "cancelled",
]
FAILURE_CLASSES: tuple[FailureClass, ...] = get_args(FailureClass)


class AttemptState(Record):
    """One attempt of a job, in Batch's words."""

    exit_code: int | None = None
    """None where the container never started, or was lost with its machine."""
    reason: str | None = None
    """Detail of the container, such as ``OutOfMemoryError: ...``."""
    status_reason: str | None = None
    log_stream: str | None = None
    started_at: dt.datetime | None = None
    stopped_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class SlotState:
    """What AWS Batch says of one slot."""

    state: str
    job_id: str
    status_reason: str | None = None
    """Why the job stopped, or why it waits."""
    container_reason: str | None = None
    """Detail of its last container."""
    exit_code: int | None = None
    log_stream: str | None = None
    """CloudWatch log stream of its last container."""
    attempts: tuple[AttemptState, ...] = ()
    ended_by_request: bool = False
    """Cancelled or terminated by somebody."""
    explained: bool = False
    """Whether the job itself was described; else only its state is known."""
    cause: FailureClass | None = None
    """What ended it, where no service says so and glacierflow knows: ``start`` or ``timeout``."""
    started_at: dt.datetime | None = None
    stopped_at: dt.datetime | None = None
    """When its latest attempt began and ended; None also where it was neither listed nor described."""

    @property
    def unasked(self) -> bool:
        """Whether it failed and Batch has not been asked why."""
        told = self.explained or self.reason or self.attempts or self.exit_code is not None
        return self.state == "FAILED" and not told

    @property
    def reason(self) -> str | None:
        """Both reasons in one line, without saying anything twice."""
        texts = [text.strip().rstrip(".") for text in (self.status_reason, self.container_reason) if text]
        return "; ".join(dict.fromkeys(texts)) or None


@dataclass(frozen=True, slots=True)
class BatchView:
    """What AWS Batch says of a run; slots it does not know are absent."""

    slots: dict[int, SlotState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What AWS Batch and the store say about one slot."""

    state: str
    """Of Batch, or ``FORGOTTEN`` or ``NOT_SUBMITTED``."""
    status_reason: str | None = None
    container_reason: str | None = None
    exit_code: int | None = None
    """Of the last attempt, by Batch; by the receipt where Batch has forgotten."""
    attempts: tuple[AttemptState, ...] = ()
    ended_by_request: bool = False
    cause: FailureClass | None = None
    """What ended it, where no service says so and glacierflow knows: ``start`` or ``timeout``."""
    started: int = 0
    """Attempts that left a trace in the store."""
    outcome: str | None = None
    """Of the latest of them; None where it left no receipt."""
    error: str | None = None
    """The sentence in its receipt."""
    log_tail: tuple[str, ...] = ()
    """Last lines of its log, where somebody read it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a slot."""

    failure: FailureClass
    sentence: str
    """Lower case, without a full stop."""
    next_step: str
    uncertain: bool = False
    """Whether AWS Batch does not know why itself; who knows better is to be believed."""
