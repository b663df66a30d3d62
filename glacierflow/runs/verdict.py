"""The vocabulary of failures, shared by ``status``, ``why`` and ``retry``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from glacierflow.runs.states import AttemptState

__all__ = ["FAILURE_CLASSES", "Evidence", "FailureClass", "Verdict"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of how a slot stands."""

    state: str
    """Of Batch, or ``FORGOTTEN`` or ``NOT_SUBMITTED``."""
    status_reason: str | None = None
    container_reason: str | None = None
    exit_code: int | None = None
    """Of the last attempt, by Batch; by the receipt where Batch has forgotten."""
    attempts: tuple[AttemptState, ...] = ()
    ended_by_request: bool = False
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
