"""From the evidence of how a slot ended to one failure class, a plain sentence and the next step; pure.

Batch's own words come first, because they name the cause of an end from outside (reclaim, memory, time); then
the exit code the child chose; then what lies in the store. The strings are those AWS documents for ECS and
Batch (job retries, jobs stuck in RUNNABLE, stopped task errors).
"""

from __future__ import annotations

import re

from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.receipt import Receipt
from glacierflow.runs.aws_messages import (
    WRONG_ARCHITECTURE,
    judge_reasons,
    judge_waiting,
    out_of_memory,
    reclaimed,
)
from glacierflow.runs.records import Attempts
from glacierflow.runs.states import (
    FORGOTTEN,
    NOT_SUBMITTED,
    WAITING,
    WHOLE_OUTCOMES,
    AttemptState,
    Evidence,
    FailureClass,
    SlotState,
    Verdict,
)


def classify(evidence: Evidence) -> Verdict | None:
    """What is wrong with a slot; None where nothing is, or nothing is yet.

    A ``partial`` slot is of class ``data``: it ended well, and some of its scenes could not be read. A
    waiting one is judged only where Batch itself says that it is stuck.
    """
    for rule in (_while_waiting, _without_trace, _although_done, judge_reasons, _by_exit_code, _by_store):
        verdict = rule(evidence)
        if verdict is not None:
            return verdict if verdict is not _FINE else None
    return None


def classify_attempt(attempt: AttemptState) -> FailureClass | None:
    """The class of one attempt by Batch's words and its exit code; None where it ended well."""
    evidence = Evidence(
        state="FAILED",
        status_reason=attempt.status_reason,
        container_reason=attempt.reason,
        exit_code=attempt.exit_code,
        started=1,
    )
    verdict = judge_reasons(evidence) or (_by_exit_code(evidence) if attempt.exit_code else None)
    return verdict.failure if verdict is not None else None


_FINE = Verdict("missing", "", "")
"""Ends the search: nothing is wrong."""


def _while_waiting(evidence: Evidence) -> Verdict | None:
    if evidence.state in WAITING:
        return judge_waiting(evidence.status_reason or "") or _FINE
    return _FINE if evidence.state in {"STARTING", "RUNNING"} else None


def _without_trace(evidence: Evidence) -> Verdict | None:
    if evidence.state == NOT_SUBMITTED:
        return Verdict("missing", "its job was never submitted", "`retry --only missing` submits it")
    if evidence.state == "SUCCEEDED" and evidence.outcome is None:
        trace = "left a trace in the store" if not evidence.started else "wrote its receipt"
        return Verdict(
            "missing",
            f"Batch says SUCCEEDED, and no attempt {trace}",
            "look at its log with `glacierflow batch logs`, then `retry --only missing`",
        )
    if evidence.state == FORGOTTEN and not evidence.started:
        return Verdict(
            "missing",
            "Batch does not know the job any more and no attempt left a trace",
            "`retry --only missing` submits it again",
        )
    return None


def _although_done(evidence: Evidence) -> Verdict | None:
    """A receipt is better evidence than what Batch says of an end that came after it."""
    if evidence.state != "FAILED" or evidence.outcome not in WHOLE_OUTCOMES:
        return None
    return Verdict("killed", "its work is done, but Batch counts it as failed", "`glacierflow batch verify`")


_MEMORY_ERROR = re.compile(r"\bMemoryError|std::bad_alloc|Cannot allocate memory|Unable to allocate")


def _by_exit_code(evidence: Evidence) -> Verdict | None:
    """The child's own choice; 137 and 143 are a shell's words for SIGKILL and SIGTERM."""
    if evidence.state not in {"FAILED", FORGOTTEN} or evidence.exit_code is None:
        return None
    code, error = evidence.exit_code, evidence.error
    said = f": {error}" if error else ""
    log = " ".join(evidence.log_tail)
    if _MEMORY_ERROR.search(f"{error or ''} {log}"):
        return out_of_memory(evidence, "")
    if "exec format error" in log:
        return WRONG_ARCHITECTURE
    if code == 75:
        return _again(evidence, said)
    if code in _CODES:
        failure, sentence, next_step = _CODES[code]
        return Verdict(failure, f"{sentence}{said}", next_step)
    if code == 0:
        return None
    return Verdict(
        "bug",
        f"it ended with exit code {code}, which glacierflow does not use{said}",
        "look at its log with `glacierflow batch logs`",
    )


def _again(evidence: Evidence, said: str) -> Verdict:
    if evidence.outcome == "interrupted":
        return reclaimed(evidence, "")
    return Verdict(
        "service",
        f"a service it needs stayed down{said}",
        "`retry --only service` tries again; what it finished is kept",
    )


_KILLED = (
    "look at its log with `glacierflow batch logs`; `retry --only killed` tries again, and "
    "if that is killed too it needs a larger memory class"
)
_CODES: dict[int, tuple[FailureClass, str, str]] = {
    64: ("config", "its settings or command were refused", "put the setting right and submit again"),
    65: (
        "data",
        "its source images cannot be used",
        "see which with `glacierflow batch logs`; `retry --only data` tries again once the archive is mended",
    ),
    70: (
        "bug",
        "glacierflow itself failed",
        "please report it with the output of `glacierflow batch logs`; `retry --only bug` after an upgrade",
    ),
    126: ("config", "its command cannot be executed in the image", "mend the job definition's command"),
    127: ("config", "its command is not in the image", "mend the job definition's command"),
    132: (
        "config",
        "it met an instruction the processor does not know",
        "the image is built for another processor; build it for the architecture of the instances",
    ),
    134: ("bug", "a library in it aborted", "please report it with the output of `glacierflow batch logs`"),
    137: ("killed", "it was killed (SIGKILL) and nobody says why; memory is the usual cause", _KILLED),
    139: ("bug", "a library in it crashed (segmentation fault)", "please report it with its log"),
    143: ("killed", "it was ended by SIGTERM and could not save its progress", _KILLED),
}


def _by_store(evidence: Evidence) -> Verdict | None:
    """What the latest attempt left, where Batch's words decide nothing."""
    said = f": {evidence.error}" if evidence.error else ""
    outcome = evidence.outcome
    if outcome == "partial":
        return Verdict(
            "data",
            f"some of its scenes could not be read{said}",
            "`retry --only data` tries those scenes again",
        )
    if outcome in WHOLE_OUTCOMES and evidence.state in {"SUCCEEDED", FORGOTTEN}:
        return _FINE
    if outcome in {"interrupted", "unavailable"}:
        return _again(evidence, said)
    if outcome == "failed":
        return Verdict("bug", f"it failed{said}", "look at its log with `glacierflow batch logs`")
    said = f": {evidence.status_reason}" if evidence.status_reason else ", and Batch gives no reason"
    if evidence.started and outcome is None:
        return Verdict("killed", f"it was killed before it could write its receipt{said}", _KILLED)
    return Verdict(
        "start",
        f"it ended before anything of it started{said}",
        "`retry --only start` tries again; if it comes back, see `glacierflow doctor`",
    )


_VARYING = (
    (re.compile(r"\b(s3|https?|/vsi\w+)://?\S+"), "<address>"),
    (re.compile(r"\bi-[0-9a-f]{8,}\b"), "<instance>"),
    (re.compile(r"\S*\d\S*[_/]\S*|\S*[_/]\S*\d\S*"), "<name>"),
    (re.compile(r"\b[0-9a-fA-F]*\d[0-9a-fA-F-]{7,}\b"), "<id>"),
    (re.compile(r"(?<![A-Za-z])\d+(\.\d+)?"), "#"),
)


def signature(failure: FailureClass, message: str | None) -> str:
    """A failure without what differs from child to child: ids, names, numbers; alike ones are one group."""
    text = message or ""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return f"{failure}: {' '.join(text.split())[:200]}" if text.strip() else failure


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
    last = state.attempts[-1] if state.attempts else AttemptState()
    code = state.exit_code if state.exit_code is not None else last.exit_code
    return Evidence(
        state=state.state,
        # what a job does not say its last attempt may
        status_reason=state.status_reason or last.status_reason,
        container_reason=state.container_reason or last.reason,
        exit_code=code if code is not None or receipt is None else receipt.exit_code,
        attempts=state.attempts,
        ended_by_request=state.ended_by_request,
        cause=state.cause,
        started=len(attempts.outcomes) if attempts else 0,
        outcome=attempts.outcomes[attempts.latest] if attempts else None,
        error=receipt.error if receipt else None,
        log_tail=log_tail,
    )
