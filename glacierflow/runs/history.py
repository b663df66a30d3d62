"""The runs of a store, from their names and ledgers, and the log of submissions on this machine."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import Field, ValidationError

from glacierflow.errors import RunError, StoreError
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Service, is_name, is_whole_id, short_name
from glacierflow.model.records import Record
from glacierflow.runs.facts import AttemptFact, Products, count_products, ending, slot_fact
from glacierflow.runs.ledger import Ledger, read_ledger
from glacierflow.runs.records import run_ids
from glacierflow.runs.states import FORGOTTEN, SlotState
from glacierflow.store import Store

_RUN_ID = re.compile(r"(\w+?)-(\d{8})-(\d{8})-(\d+)_(n?\d+)-(\d{8}T\d{6}Z)-[0-9a-f]{6}")

_MOST_NAMED = 5

TEXT = "logs/aws_job_submission.log"
"""The log for people, below the user's folder; the predecessor's name for it."""


def is_run_id(word: str) -> bool:
    """Whether a word is written as the id or the name of a run, or ``latest``; no region's name is."""
    return word == "latest" or is_name(word) or is_whole_id(word)


def find_run_id(store: Store, home: Path, word: str) -> str:
    """The id of the run that a word names: an id, a short name, or a beginning of one that fits no other run.

    An id is itself, and a name that stands in this machine's log is known without a call.

    Args:
        store: where runs are.
        home: the user's folder, with the log.
        word: as typed.

    Raises:
        RunError: several runs begin so.
    """
    if is_whole_id(word):
        return word
    named = [entry.run_id for entry in _read(home) if short_name(entry.run_id) == word]
    if named:
        return named[-1]
    found = sorted(one for one in run_ids(store) if one.startswith(word) or short_name(one).startswith(word))
    exact = [one for one in found if word in {one, short_name(one)}]
    if len(exact or found) > 1:
        some = ", ".join(short_name(one) for one in found[:_MOST_NAMED])
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise RunError(
            f"{len(found)} runs of {store.uri('')} begin with {word}: {some}{more}",
            next_step="write more of the name, or the id that `glacierflow list` shows",
        )
    # what nobody knows is refused by those who look for its manifest
    return (exact or found or [word])[0]


def logged_names(home: Path) -> list[str]:
    """Short names of the runs submitted from this machine, newest first, each once; nobody is asked."""
    return list(dict.fromkeys(short_name(entry.run_id) for entry in reversed(list(_read(home)))))


class RunEntry(Record):
    """One run, as its name and the last look at it tell."""

    run_id: str
    submitted_at: dt.datetime
    satellite: str
    date1: dt.date
    date2: dt.date
    regions: str
    """First and last catalogue index, ``0_22``, or the first and a number of regions, ``3_n5``."""
    retry_of: str | None = None
    size: int | None = None
    """Slots; None where nobody has looked at the run yet."""
    ended: int | None = None
    complete: bool = False
    """Whether it has ended and all of it is kept."""
    outcomes: dict[str, int] = Field(default_factory=dict)
    """Slots by how they stand, as of the last look: each is one of them."""
    attempts: int = 0
    reclaims: int = 0
    """Attempts whose machine was taken away."""
    products: int = 0
    """Products in place: new ones, and those that were already there."""
    new: int = 0
    notice: str | None = None


def list_runs(store: Store, *, limit: int) -> tuple[RunEntry, ...]:
    """The newest runs, newest first: one LIST a thousand runs, and one GET for each run shown.

    Folders whose name is not that of a run are passed over.
    """
    named = [found for run_id in run_ids(store) if (found := _RUN_ID.fullmatch(run_id))]
    named.sort(key=lambda found: (found[6], found[0]), reverse=True)
    shown = named[:limit]
    if not shown:
        return ()
    with ThreadPoolExecutor(max_workers=min(16, len(shown))) as pool:
        return tuple(pool.map(lambda found: _entry(store, found), shown))


def _entry(store: Store, found: re.Match[str]) -> RunEntry:
    entry = RunEntry(
        run_id=found[0],
        submitted_at=dt.datetime.strptime(found[6], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC),
        satellite=found[1],
        date1=_day(found[2]),
        date2=_day(found[3]),
        regions=f"{found[4]}_{found[5]}",
    )
    try:
        ledger = read_ledger(store, entry.run_id)
    except StoreError as error:
        return entry.model_copy(update={"notice": error.message})
    if ledger.size is None:
        return entry
    return entry.model_copy(
        update={
            "retry_of": ledger.root_run_id,
            "size": ledger.size,
            "ended": len(ledger.slots),
            "complete": ledger.complete,
            **_facts(ledger, ledger.size),
        }
    )


def _facts(ledger: Ledger, size: int) -> dict[str, object]:
    """What the ledger tells of all slots together, as a look at the run counts it."""
    listed, outcomes, attempts, products = ledger.listed, Counter[str](), list[AttemptFact](), Products()
    for slot in range(size):
        kept, entries = ledger.slots.get(slot), ledger.entries_of(slot)
        state = kept.state_of() if kept else SlotState(FORGOTTEN, "")
        machines = [entry.machine for entry in entries.values() if entry.machine]
        on_lambda = any(machine.launch_type == "LAMBDA" for machine in machines)
        fact = slot_fact(ledger.run_id, slot, state, listed.get(slot), entries, on_lambda=on_lambda)
        own = count_products(fact.attempts)
        outcomes[ending(fact.outcome, ended=kept is not None, attempts=len(fact.attempts))] += 1
        attempts += fact.attempts
        products = Products(products.new + own.new, products.in_all + own.in_all)
    return {
        "outcomes": dict(sorted(outcomes.items())),
        "attempts": len(attempts),
        "reclaims": sum(one.reclaimed for one in attempts),
        "products": products.in_all,
        "new": products.new,
    }


def _day(text: str) -> dt.date:
    return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))


class Submission(Record):
    """One submitted run."""

    run_id: str
    store: str
    """``s3://bucket``."""
    local: bool
    """Whether it went to the embedded cloud."""
    submitted_at: dt.datetime
    service: Service = "batch"
    slots: int | None = None
    """How many were submitted."""


def log_submission(home: Path, submission: Submission) -> None:
    """Append one line to each of the two files.

    Raises:
        StoreError: the file cannot be written.
    """
    _append(_file(home), submission.model_dump_json())
    _append(home / TEXT, _sentence(submission))


def latest_submission(home: Path, store: str, *, local: bool) -> str | None:
    """Run id of the last submission from this machine to that store, or None."""
    found = [entry.run_id for entry in _read(home) if entry.store == store and entry.local == local]
    return found[-1] if found else None


def _append(path: Path, line: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def _sentence(submission: Submission) -> str:
    at = submission.submitted_at.astimezone(dt.UTC)
    where = "the embedded cloud" if submission.local else "AWS"
    slots = "" if submission.slots is None else f", {submission.slots} slots"
    return (
        f"{at:%Y-%m-%d %H:%M:%S} UTC - {submission.run_id}: to {submission.service} of {where}{slots}"
        f"; records in {submission.store}/{RunLayout(submission.run_id).prefix}"
    )


def _read(home: Path) -> Iterator[Submission]:
    try:
        lines = _file(home).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            yield Submission.model_validate_json(line)
        except ValidationError:
            # Half a line, left by a machine that went down; the run itself is in the store.
            continue


def _file(home: Path) -> Path:
    return home / "runs.jsonl"
