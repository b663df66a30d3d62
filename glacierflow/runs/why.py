"""Why a slot is as it is, as one plain paragraph from all the evidence; pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.records import Record
from glacierflow.runs.facts import AttemptFact, SlotFact
from glacierflow.runs.states import WAITING, AttemptState, FailureClass, Verdict
from glacierflow.runs.status import SlotRow

_SAID_BY_ITS_LOG: frozenset[FailureClass] = frozenset(
    {"killed", "bug", "data", "config", "service", "missing"}
)
_LAST_LINES = 3


@dataclass(frozen=True, slots=True)
class QueueWords:
    """What the queue has to do with it; sentences without a full stop."""

    sentences: tuple[str, ...] = ()
    verdict: Verdict | None = None
    """What blocks the queue, where something does."""


class AttemptStory(Record):
    """One attempt in the explanation."""

    number: int
    failure: FailureClass | None
    text: str


class Explanation(Record):
    """Why a slot is as it is."""

    run_id: str
    slot: int
    regions: tuple[str, ...]
    state: str
    outcome: str | None
    failure: FailureClass | None
    paragraph: str
    next_step: str | None
    attempts: tuple[AttemptStory, ...]
    log_tail: tuple[str, ...]


def explain(
    row: SlotRow,
    fact: SlotFact,
    *,
    log_tail: Sequence[str] = (),
    queue: QueueWords | None = None,
    now: dt.datetime | None = None,
) -> Explanation:
    """Put the evidence into words.

    Args:
        row: the slot, as the run's status has it.
        fact: what is known of it in the run that it is from, the log's end included.
        log_tail: last lines of the latest attempt's log.
        queue: what the queue says of a slot that waits.
        now: the time; None is the present.
    """
    queue = queue or QueueWords()
    latest = fact.attempts[-1].entry if fact.attempts else None
    own, blocked = fact.verdict, queue.verdict if row.state in WAITING else None
    verdict = blocked if blocked is not None and (own is None or own.uncertain) else own
    stories = tuple(_story(attempt, verdict) for attempt in fact.attempts)
    sentences = [f"{_who(row)} {_how(row, verdict, latest, now or dt.datetime.now(dt.UTC))}"]
    if len(stories) > 1 or (verdict is not None and stories):
        sentences += [f"Attempt {story.number} {story.text}" for story in stories]
    if row.state in WAITING:
        sentences += queue.sentences
    news = [text.strip() for text in log_tail if not _repeats(text, latest)][-_LAST_LINES:]
    if verdict is not None and verdict.failure in _SAID_BY_ITS_LOG and news:
        sentences.append(f"The last lines of its log are: {' / '.join(news)}")
    return Explanation(
        run_id=row.run_id,
        slot=row.slot,
        regions=row.regions,
        state=row.state,
        outcome=row.outcome,
        failure=verdict.failure if verdict else None,
        paragraph=" ".join(f"{sentence.rstrip('.')}." for sentence in sentences),
        next_step=verdict.next_step if verdict else None,
        attempts=stories,
        log_tail=tuple(log_tail),
    )


def _repeats(text: str, latest: AttemptEntry | None) -> bool:
    """Whether a line of the log says what the receipt says."""
    error = latest.error if latest else None
    return bool(error) and any(part.rstrip(".") in text for part in str(error).split("; ") if part)


def _who(row: SlotRow) -> str:
    satellite = {"sentinel2": "Sentinel-2", "landsat": "Landsat"}.get(row.satellite, row.satellite)
    return f"{' '.join(row.regions)} (slot {row.slot}, {satellite}, {row.date1} to {row.date2})"


def _how(row: SlotRow, verdict: Verdict | None, latest: AttemptEntry | None, now: dt.datetime) -> str:
    if verdict is not None:
        verb = "is waiting" if row.state in WAITING else "went wrong" if row.wrong else "is not whole"
        return f"{verb}: {verdict.sentence}"
    if row.outcome == "no_data" and latest is not None:
        return f"is done, and there was nothing to process: {_nothing(latest)}"
    if row.outcome == "done" and latest is not None and row.state not in {"STARTING", "RUNNING"}:
        return f"is done: {_products(latest)}"
    if row.state == "RUNNING":
        since = f" for {_minutes((now - latest.started_at).total_seconds())}" if latest else ""
        return f"is running{since}; nothing is wrong so far"
    if row.state == "STARTING":
        return "is starting: its machine pulls the image"
    if row.state in WAITING:
        return f"is {row.state}: it waits for its turn or for a machine"
    return f"is {row.state}"


def _nothing(entry: AttemptEntry) -> str:
    if entry.notes:
        return "; ".join(note.rstrip(".") for note in entry.notes)
    if not entry.counts.found:
        return "the archive has no scene of it between these dates"
    return f"none of {entry.counts.found} scenes was usable ({_left_out(entry)})"


def _products(entry: AttemptEntry) -> str:
    counts = entry.counts
    parts = [f"{counts.written} products written"]
    if counts.skipped:
        parts.append(f"{counts.skipped} were there already")
    if entry.left_out:
        parts.append(f"scenes left out: {_left_out(entry)}")
    return ", ".join(parts)


def _left_out(entry: AttemptEntry) -> str:
    return ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in sorted(entry.left_out.items()))


def _story(attempt: AttemptFact, verdict: Verdict | None) -> AttemptStory:
    state, entry, failure = attempt.said, attempt.entry, attempt.failure
    begin, end = attempt.started_at, attempt.ended_at
    took = f" after {_minutes((end - begin).total_seconds())}" if begin and end else ""
    where = _machine(entry)
    if entry is not None and entry.outcome is not None:
        told = not entry.error or (verdict is not None and entry.error.rstrip(".") in verdict.sentence)
        what = f"ended{took} {entry.outcome.replace('_', ' ')}{'' if told else f' ({entry.error})'}"
    elif entry is not None:
        what = f"ended{took} without a receipt" if end else "has not ended"
    else:
        what = "never started a container" if state is None or state.exit_code is None else f"ended{took}"
    said = f", Batch says: {_said(state)}" if state is not None and failure is not None else ""
    return AttemptStory(number=attempt.number, failure=failure, text=f"{what}{where}{said}")


def _machine(entry: AttemptEntry | None) -> str:
    machine = entry.machine if entry else None
    if machine is None or machine.instance_type is None:
        return ""
    return f" on a {machine.instance_type}{f' in {machine.zone}' if machine.zone else ''}"


def _said(state: AttemptState) -> str:
    texts = [text.rstrip(".") for text in (state.status_reason, state.reason) if text]
    code = "" if state.exit_code is None else f"exit code {state.exit_code}"
    return ", ".join(text for text in (*dict.fromkeys(texts), code) if text) or "nothing"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
