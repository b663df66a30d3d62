"""What is known of each attempt at a slot and of its products; pure. All verbs count from here.

An attempt is known by what it left in the store, by what AWS Batch says of it, or by both. One that was lost
before it could leave a record is known by its number, or by Batch alone. ``status``, ``list``, ``cost``,
``why``, ``logs``, ``verify`` and the summary take their numbers from here, so that they cannot differ.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.receipt import ProductThere, Receipt
from glacierflow.runs.failures import classify, classify_attempt, evidence_of
from glacierflow.runs.records import Attempts
from glacierflow.runs.states import GOOD_OUTCOMES, LIVE_STATES, AttemptState, FailureClass, SlotState, Verdict


@dataclass(frozen=True, slots=True)
class AttemptFact:
    """One attempt at a slot."""

    run_id: str
    slot: int
    """In its own run."""
    number: int
    """From 1."""
    outcome: str | None
    """Of its receipt; None where it left none."""
    recorded: bool
    """Whether it left a record in the store; without one only Batch, or its number, tells of it."""
    entry: AttemptEntry | None
    """Its record, where that was read."""
    said: AttemptState | None
    """What Batch says of its end."""
    running: bool
    failure: FailureClass | None
    """Why it ended as it did; None where it ended well, has not ended, or nobody knows."""

    @property
    def started_at(self) -> dt.datetime | None:
        """None where it never started a container, or nobody knows when."""
        return self.entry.started_at if self.entry else self.said.started_at if self.said else None

    @property
    def ended_at(self) -> dt.datetime | None:
        """None while it runs, and where nobody knows."""
        if self.running:
            return None
        return (self.entry.ended_at if self.entry else None) or (self.said.stopped_at if self.said else None)

    @property
    def never_started(self) -> bool:
        """Whether Batch tells that its container was never started."""
        return not self.recorded and self.said is not None and self.said.started_at is None

    @property
    def reclaimed(self) -> bool:
        """Whether its machine was taken away."""
        return self.failure == "spot"

    @property
    def wasted_on(self) -> FailureClass | None:
        """Why its work did not count; None where it did, or may yet."""
        return None if self.running or self.outcome in GOOD_OUTCOMES else self.failure

    @property
    def state(self) -> str:
        """How it stands, in one word: its outcome, ``running``, or what ended it."""
        return self.outcome or ("running" if self.running else self.failure or "unknown")


@dataclass(frozen=True, slots=True)
class SlotFact:
    """One slot of one run."""

    state: SlotState
    outcome: str | None
    """Of the latest attempt that left a record."""
    entry: AttemptEntry | None
    """Of that."""
    verdict: Verdict | None
    attempts: tuple[AttemptFact, ...]
    """Oldest first."""


def slot_fact(
    run_id: str,
    slot: int,
    state: SlotState,
    listed: Attempts | None,
    entries: Mapping[int, AttemptEntry],
    *,
    on_lambda: bool,
    log_tail: tuple[str, ...] = (),
) -> SlotFact:
    """Join what Batch says of a slot and what its attempts left.

    Args:
        run_id: its run.
        slot: its number in that run.
        state: what Batch says, or said before it forgot.
        listed: the attempts that have records.
        entries: those of the records that were read, by attempt.
        on_lambda: whether a function runs it, whose deadline cuts attempts short where Batch loses machines.
        log_tail: last lines of the latest log, where somebody read it.
    """
    latest = listed.latest if listed else 0
    outcome, entry = listed.outcomes[latest] if listed else None, entries.get(latest)
    verdict = None
    if not state.unasked or _told_by_receipt(outcome, entry):
        verdict = classify(evidence_of(state, listed, entry, submitted=True, log_tail=log_tail))
    # one that ended before it left a record has a number all the same, and so has one that writes a log
    streams = {one.log_stream for one in state.attempts}
    writes = state.log_stream is not None and state.log_stream not in streams
    last = max(latest, len(state.attempts) + writes)
    judged = verdict.failure if verdict and state.state not in LIVE_STATES else None
    attempts = []
    for number in range(1, last + 1):
        own = listed.outcomes.get(number) if listed else None
        recorded = listed is not None and number in listed.outcomes
        said = state.attempts[number - 1] if number <= len(state.attempts) else None
        running = number == last and own is None and said is None and state.state == "RUNNING"
        if number < last:
            failure = _why_tried_again(own, entries.get(number), said, recorded=recorded, on_lambda=on_lambda)
        elif own not in GOOD_OUTCOMES or state.state == "FAILED":
            failure = judged
        else:
            failure = None
        attempts.append(
            AttemptFact(run_id, slot, number, own, recorded, entries.get(number), said, running, failure)
        )
    return SlotFact(state, outcome, entry, verdict, tuple(attempts))


def _told_by_receipt(outcome: str | None, entry: AttemptEntry | None) -> bool:
    """Whether the receipt alone tells why; one cut short may be reclaimed, timed out or cancelled."""
    return outcome == "unavailable" or (outcome == "failed" and entry is not None)


def _why_tried_again(
    outcome: str | None,
    entry: AttemptEntry | None,
    said: AttemptState | None,
    *,
    recorded: bool,
    on_lambda: bool,
) -> FailureClass | None:
    """Why an attempt was followed by another.

    Batch tries again after a reclaim, after a start that failed and where a service was down; so one that was
    cut short was reclaimed. One without any record may have been either of the first two: Batch has to say.
    """
    by_batch = classify_attempt(said) if said is not None else None
    if outcome == "interrupted" and by_batch in {None, "service"}:
        return "timeout" if on_lambda else "spot"
    if by_batch is not None or outcome in GOOD_OUTCOMES:
        return by_batch
    if outcome is None:
        return ("timeout" if on_lambda else "spot") if recorded else None
    alone = Attempts({1: outcome})
    verdict = classify(evidence_of(SlotState("FAILED", ""), alone, entry, submitted=True))
    return verdict.failure if verdict else None


def ending(outcome: str | None, *, ended: bool, attempts: int) -> str:
    """How a slot stands in one word: its latest outcome, else what is known of its attempts."""
    if outcome is not None:
        return outcome
    if ended:
        return "killed" if attempts else "never_started"
    return "running" if attempts else "waiting"


@dataclass(frozen=True, slots=True)
class Products:
    """How many products there are of a slot or a run."""

    new: int = 0
    """Written by the attempts that were counted."""
    in_all: int = 0
    """In place: the new ones, and those that were already there."""

    @property
    def already_there(self) -> int:
        """Found in place, and not written by any of the attempts."""
        return self.in_all - self.new

    def after(self, earlier: Products, *, whole: bool) -> Products:
        """Both together, where these attempts came later; ``whole`` if they found all that was there."""
        in_all = self.in_all if whole else max(self.in_all, earlier.in_all)
        return Products(min(in_all, self.new + earlier.new), in_all)


def count_products(attempts: Iterable[AttemptFact]) -> Products:
    """Products by the outcomes and counts of a slot's attempts, oldest first.

    Attempts go through their acquisitions in one order. So one that ended well found all that was there, and
    of those cut short the one that came farthest did.
    """
    found = Products()
    for one in attempts:
        if one.entry is not None and one.outcome is not None:
            counts = one.entry.counts
            own = Products(counts.written, counts.written + counts.skipped)
            found = own.after(found, whole=one.outcome in GOOD_OUTCOMES)
    return found


def product_keys(receipts: Iterable[Receipt]) -> tuple[dict[str, ProductThere], dict[str, ProductThere]]:
    """By key the products that receipts say were written, and all that they say are in place."""
    new: dict[str, ProductThere] = {}
    in_all: dict[str, ProductThere] = {}
    for receipt in receipts:
        new |= {one.key: one for one in receipt.products}
        in_all |= {one.key: one for one in (*receipt.already_there, *receipt.products)}
    return new, in_all
