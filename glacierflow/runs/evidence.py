"""What is known of how a slot ended, put together for ``classify``; pure."""

from __future__ import annotations

from glacierflow.attempts import AttemptEntry
from glacierflow.receipt import Receipt
from glacierflow.runs.records import Attempts
from glacierflow.runs.states import FORGOTTEN, NOT_SUBMITTED, SlotState
from glacierflow.runs.verdict import Evidence

__all__ = ["LIVE_STATES", "evidence_of"]

LIVE_STATES = frozenset({"SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"})
"""States in which something more happens by itself."""


def evidence_of(
    state: SlotState | None,
    attempts: Attempts | None,
    receipt: Receipt | AttemptEntry | None,
    *,
    submitted: bool,
    log_tail: tuple[str, ...] = (),
) -> Evidence:
    """One slot's evidence.

    Args:
        state: what AWS Batch says; None where it knows nothing of the slot.
        attempts: what its attempts left in the store, if any started.
        receipt: of the latest attempt, or its entry in the ledger, where it left one.
        submitted: whether its job is known to have been sent.
        log_tail: last lines of its log, where somebody read it.
    """
    if state is None:
        state = SlotState(FORGOTTEN if submitted or attempts else NOT_SUBMITTED, "")
    return Evidence(
        state=state.state,
        status_reason=state.status_reason,
        container_reason=state.container_reason,
        exit_code=state.exit_code if state.exit_code is not None or receipt is None else receipt.exit_code,
        attempts=state.attempts,
        ended_by_request=state.ended_by_request,
        started=len(attempts.outcomes) if attempts else 0,
        outcome=attempts.outcomes[attempts.latest] if attempts else None,
        error=receipt.error if receipt else None,
        log_tail=log_tail,
    )
