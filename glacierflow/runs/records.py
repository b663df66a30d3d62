"""What a run leaves in the store besides its products: the manifest, its job records, its attempts."""

from __future__ import annotations

import datetime as dt
import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from glacierflow.errors import RunError, StoreError
from glacierflow.model.layout import RunLayout, runs_prefix
from glacierflow.model.manifest import Manifest, Service
from glacierflow.model.receipt import Receipt, Started
from glacierflow.model.records import Record
from glacierflow.store import Store
from glacierflow.version import __version__

_R = TypeVar("_R", bound=Record)

_TRIED_AGAIN = {"interrupted", "unavailable"}
"""Outcomes with exit code 75, which the retry rules match."""

_STAMP = re.compile(r"-(\d{8}T\d{6}Z)-[0-9a-f]{6}$")
_MOST_OF_OTHERS = 20
"""Newest runs among which a user's own latest is looked for; a call each."""


class JobRecord(Record):
    """One SubmitJob call that was answered, or what stands for it on another service."""

    number: int
    """Place of its array in the manifest."""
    name: str
    job_id: str
    job_queue: str
    job_definition: str
    first_slot: int
    size: int
    submitted_at: dt.datetime
    log_group: str | None = None
    """CloudWatch log group the children write to."""
    memory_mib: int | None = None
    """Memory class of its job definition."""
    on_demand: bool = False
    service: Service = "batch"
    """What runs it; elsewhere than on Batch the record stands for the invocations or tasks of an array."""
    tasks: tuple[str, ...] = ()
    """ARNs of the ECS tasks, by slot from ``first_slot``."""

    @property
    def slots(self) -> range:
        """The slots it runs."""
        return range(self.first_slot, self.first_slot + self.size)

    @property
    def over_lambda(self) -> bool:
        """Whether a state machine sends its slots over Lambda, and not as a job to AWS Batch."""
        return self.service == "stepfunctions" and self.job_queue == "lambda"

    @property
    def on_batch(self) -> bool:
        """Whether AWS Batch runs its slots, whoever sends them."""
        return self.service in {"batch", "stepfunctions"} and not self.over_lambda

    @property
    def is_array(self) -> bool:
        """Whether it has children; a job of one slot is a plain job."""
        return self.size > 1


@dataclass(slots=True)
class Attempts:
    """What one LIST tells about a slot."""

    outcomes: dict[int, str | None] = field(default_factory=dict)
    """Outcome by attempt number; None where the attempt started and left no receipt."""

    @property
    def latest(self) -> int:
        """Number of the latest attempt."""
        return max(self.outcomes)

    @property
    def told(self) -> bool:
        """Whether each has its receipt, and those before the latest tell why Batch tried again."""
        outcomes = [self.outcomes.get(number) for number in range(1, self.latest + 1)]
        return outcomes[-1] is not None and all(outcome in _TRIED_AGAIN for outcome in outcomes[:-1])


def read_run_manifest(store: Store, run_id: str) -> Manifest:
    """The manifest of a run.

    Raises:
        RunError: there is no such run.
        StoreError: what lies there is not a manifest.
    """
    key = RunLayout(run_id).manifest
    content = store.get(key)
    if content is None:
        close = difflib.get_close_matches(run_id, run_ids(store), n=1, cutoff=0.8)
        raise RunError(
            f"there is no run {run_id} in {store.uri('')}",
            next_step=f"did you mean {close[0]}?"
            if close
            else "give the run id that submit printed, or latest",
        )
    return _understood(Manifest, content, store.uri(key), "a manifest")


def _understood(model: type[_R], content: bytes, where: str, kind: str) -> _R:
    """A record of a run, which another version of the program may have written.

    Raises:
        StoreError: it is not one that this version understands.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise StoreError(
            f"{where} is not {kind} that glacierflow {__version__} understands: {reason}",
            next_step=_who_can_read(content),
        ) from error


def _who_can_read(content: bytes) -> str:
    """What to do about a record, by the version it says it was written with."""
    try:
        written_by = json.loads(content).get("code_version")
    except (ValueError, AttributeError):
        written_by = None
    if not isinstance(written_by, str) or written_by == __version__:
        return "it is damaged, or not of this program: look at it"
    return f"glacierflow {written_by} wrote it and can read it"


def write_job(store: Store, run_id: str, job: JobRecord) -> None:
    """Keep the job's id, right after its submission."""
    store.put(RunLayout(run_id).job(job.number), job.model_dump_json(indent=1).encode())


def read_jobs(store: Store, run_id: str) -> list[JobRecord]:
    """The records of a run's jobs, in the order of its arrays.

    Raises:
        StoreError: one cannot be understood.
    """
    keys = [entry.key for entry in store.list(RunLayout(run_id).jobs_prefix)]
    jobs = [
        _understood(JobRecord, content, store.uri(key), "a job's record")
        for key in keys
        if (content := store.get(key)) is not None
    ]
    return sorted(jobs, key=lambda job: job.number)


def latest_run(store: Store) -> str:
    """The run submitted last, by the time stamp in its id.

    Raises:
        RunError: there is no run at all.
    """
    return _newest_runs(store)[0]


def latest_of(store: Store, owner: str) -> tuple[str, str | None]:
    """The latest run of one of the people who share a bucket; where they have none of late, anybody's.

    Returns:
        The run's id, and whose it is where it is known to be somebody else's.

    Raises:
        RunError: there is no run at all.
    """
    newest = _newest_runs(store)
    somebody = _owner_of(store, newest[0])
    if somebody in {owner, None}:
        return newest[0], None
    for run_id in newest[1:_MOST_OF_OTHERS]:
        if _owner_of(store, run_id) == owner:
            return run_id, None
    return newest[0], somebody


def _newest_runs(store: Store) -> list[str]:
    """Ids of all runs, newest first; at least one."""
    stamped = {run_id: found[1] for run_id in run_ids(store) if (found := _STAMP.search(run_id))}
    if not stamped:
        raise RunError(
            f"there is no run in {store.uri('')}", next_step="submit one with `glacierflow batch submit`"
        )
    return sorted(stamped, key=lambda run_id: (stamped[run_id], run_id), reverse=True)


def _owner_of(store: Store, run_id: str) -> str | None:
    """Whose a run is; None where nobody knows: a run of an older version, or one of a newer."""
    try:
        return read_run_manifest(store, run_id).owner
    except (RunError, StoreError):
        return None


def run_ids(store: Store) -> set[str]:
    """All runs of a store; one call a thousand."""
    return set(store.folders(runs_prefix()))


def list_attempts(store: Store, run_id: str, *, slot: int | None = None) -> dict[int, Attempts]:
    """Attempts and outcomes by slot, from one LIST; of all slots, or of one."""
    layout, slots = RunLayout(run_id), dict[int, Attempts]()
    for entry in store.list(layout.attempts_prefix if slot is None else layout.slot_prefix(slot)):
        found = RunLayout.parse_attempt(entry.key)
        if found is None:
            continue
        outcomes = slots.setdefault(found.slot, Attempts()).outcomes
        if found.outcome == "started":
            outcomes.setdefault(found.attempt, None)
        else:
            outcomes[found.attempt] = found.outcome
    return slots


class ReceiptReader:
    """Reads receipts, each at most once; they never change.

    What another version wrote and this one does not understand is a StoreError that names it.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._layout = RunLayout(run_id)
        self._known: dict[tuple[int, int, str], Receipt] = {}
        self._starts: dict[tuple[int, int], Started] = {}

    def latest(self, slots: dict[int, Attempts]) -> dict[int, Receipt]:
        """The receipt of each slot's latest attempt that has one as its end."""
        wanted = {slot: (slot, attempts.latest) for slot, attempts in slots.items()}
        keys = {
            slot: (slot, number, outcome)
            for slot, (_, number) in wanted.items()
            if (outcome := slots[slot].outcomes[number]) is not None
        }
        self._fetch(set(keys.values()))
        return {slot: self._known[key] for slot, key in keys.items() if key in self._known}

    def every(self, slots: dict[int, Attempts]) -> list[Receipt]:
        """All receipts of all attempts, by slot and attempt."""
        keys = sorted(
            (slot, number, outcome)
            for slot, attempts in slots.items()
            for number, outcome in attempts.outcomes.items()
            if outcome is not None
        )
        self._fetch(set(keys))
        return [self._known[key] for key in keys if key in self._known]

    def started(self, slot: int, attempt: int) -> Started | None:
        """What an attempt wrote when it started."""
        if (slot, attempt) not in self._starts:
            key = self._layout.started(slot, attempt)
            content = self._store.get(key)
            if content is None:
                return None
            where = self._store.uri(key)
            self._starts[slot, attempt] = _understood(Started, content, where, "the start of an attempt")
        return self._starts[slot, attempt]

    def starts(self, keys: Sequence[tuple[int, int]]) -> list[Started]:
        """What several attempts, by slot and number, wrote when they started."""
        from concurrent.futures import ThreadPoolExecutor

        if not keys:
            return []
        with ThreadPoolExecutor(max_workers=min(16, len(keys))) as pool:
            found = pool.map(lambda key: self.started(*key), keys)
            return [started for started in found if started is not None]

    def _fetch(self, keys: set[tuple[int, int, str]]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        missing = sorted(keys - self._known.keys())
        if not missing:
            return
        with ThreadPoolExecutor(max_workers=min(16, len(missing))) as pool:
            for key, receipt in zip(missing, pool.map(self._get, missing), strict=True):
                if receipt is not None:
                    self._known[key] = receipt

    def _get(self, key: tuple[int, int, str]) -> Receipt | None:
        where = self._layout.receipt(*key)
        content = self._store.get(where)
        return None if content is None else _understood(Receipt, content, self._store.uri(where), "a receipt")
