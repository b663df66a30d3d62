"""What a look at a run need not read one by one: the run's ledger, and attempts in short.

It holds the receipts without their lists of products, and what AWS Batch said of ended children, because
Batch forgets them after about a week. All of it is about things that do not change any more, so two ledgers
of one run are merged by putting them together.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from glacierflow.errors import StoreError
from glacierflow.model.attempts import AttemptEntry, entry_of_name
from glacierflow.model.layout import RunLayout
from glacierflow.model.records import Record
from glacierflow.runs.records import Attempts, ReceiptReader
from glacierflow.runs.states import AttemptState, FailureClass, SlotState
from glacierflow.store import Store

SCHEMA_VERSION = 1
_TRIES = 8

MOST_ATTEMPTS = 10
"""Attempts of a job (AWS Batch API reference, RetryStrategy)."""

AttemptKey = tuple[int, int, str | None]
"""Slot, number and outcome of an attempt; None for one that started and left no receipt."""

_PAGE = 1000
"""Names a LIST of S3 answers with."""


class SlotEntry(Record):
    """What AWS Batch said of a child that has ended."""

    slot: int
    state: str
    job_id: str
    status_reason: str | None = None
    container_reason: str | None = None
    exit_code: int | None = None
    log_stream: str | None = None
    attempts: tuple[AttemptState, ...] = ()
    ended_by_request: bool = False
    explained: bool = False
    cause: FailureClass | None = None

    @classmethod
    def of(cls, slot: int, state: SlotState) -> SlotEntry:
        """The entry of a slot."""
        return cls.model_construct(slot=slot, **{name: getattr(state, name) for name in _KEPT_OF_SLOT})

    def state_of(self) -> SlotState:
        """As Batch said it."""
        return SlotState(**{name: getattr(self, name) for name in _KEPT_OF_SLOT})


_KEPT_OF_SLOT = (
    "state",
    "job_id",
    "status_reason",
    "container_reason",
    "exit_code",
    "log_stream",
    "attempts",
    "ended_by_request",
    "explained",
    "cause",
)


class _Line(Record):
    """One line of the file: one of the two; or the first, which says what file it is."""

    attempt: AttemptEntry | None = None
    slot: SlotEntry | None = None
    schema_version: int | None = None
    run_id: str | None = None
    complete: bool | None = None
    size: int | None = None
    root_run_id: str | None = None


@dataclass(slots=True)
class Ledger:
    """The attempts and ended children of one run, as far as somebody has looked."""

    run_id: str
    attempts: dict[tuple[int, int], AttemptEntry] = field(default_factory=dict)
    """By slot and attempt number."""
    slots: dict[int, SlotEntry] = field(default_factory=dict)
    complete: bool = False
    """Whether the run has ended and all of it is in here: nobody need look anywhere else."""
    size: int | None = None
    """Slots of the run, where the one who wrote this knew."""
    root_run_id: str | None = None
    """The first run, where this one is a retry."""
    tag: str | None = field(default=None, compare=False)
    """Entity tag of what it was read from, empty where nothing lay there; None where nobody knows."""

    def add_attempt(self, entry: AttemptEntry) -> bool:
        """Add an attempt; a receipt takes the place of a mere start. True if it was news."""
        key = entry.slot, entry.attempt
        known = self.attempts.get(key)
        if known is not None and (known.outcome is not None or entry.outcome is None):
            return False
        self.attempts[key] = entry
        return True

    def add_slot(self, entry: SlotEntry) -> bool:
        """Add an ended child; one with Batch's reasons takes the place of one without. True if news."""
        known = self.slots.get(entry.slot)
        if known is not None and (known.explained or not entry.explained):
            return False
        self.slots[entry.slot] = entry
        return True

    def merge(self, other: Ledger) -> bool:
        """Take over what another ledger of the run has. True if there was news."""
        news = [self.add_attempt(entry) for entry in other.attempts.values()]
        news += [self.add_slot(entry) for entry in other.slots.values()]
        completed = other.complete and not self.complete
        self.complete = self.complete or other.complete
        self.size, self.root_run_id = self.size or other.size, self.root_run_id or other.root_run_id
        return any(news) or completed

    @property
    def listed(self) -> dict[int, Attempts]:
        """Attempts by slot, as a list of records would show them."""
        found: dict[int, Attempts] = {}
        for (slot, number), entry in self.attempts.items():
            found.setdefault(slot, Attempts()).outcomes[number] = entry.outcome
        return found

    def entries_of(self, slot: int) -> dict[int, AttemptEntry]:
        """A slot's attempts by number; there are ten at most."""
        keys = ((slot, number) for number in range(1, MOST_ATTEMPTS + 1))
        return {key[1]: self.attempts[key] for key in keys if key in self.attempts}

    def copy(self) -> Ledger:
        """Another ledger with the same entries."""
        return replace(self, attempts=dict(self.attempts), slots=dict(self.slots))

    def to_bytes(self) -> bytes:
        """Gzipped JSON lines: the head, the attempts, the children; the same bytes for the same content."""
        head = _Line(
            schema_version=SCHEMA_VERSION,
            run_id=self.run_id,
            complete=self.complete,
            size=self.size,
            root_run_id=self.root_run_id,
        )
        lines = [head.model_dump_json(exclude_none=True)]
        for name, entries in (("attempt", self.attempts), ("slot", self.slots)):
            lines += _json_lines(name, (entry for _, entry in sorted(entries.items())))
        return gzip.compress("\n".join(lines).encode(), compresslevel=6, mtime=0)

    @classmethod
    def from_bytes(cls, data: bytes) -> Ledger:
        """The inverse.

        Raises:
            ValueError: these are not the bytes of a ledger this version understands.
        """
        try:
            head, *lines = gzip.decompress(data).splitlines()
            first = _Line.model_validate_json(head)
            if first.schema_version != SCHEMA_VERSION or first.run_id is None:
                msg = f"a ledger of schema version {first.schema_version}"
                raise ValueError(msg)
            ledger = cls(
                first.run_id,
                complete=bool(first.complete),
                size=first.size,
                root_run_id=first.root_run_id,
            )
            for line in lines:
                found = _Line.model_validate_json(line)
                if found.attempt is not None:
                    ledger.attempts[found.attempt.slot, found.attempt.attempt] = found.attempt
                elif found.slot is not None:
                    ledger.slots[found.slot.slot] = found.slot
        except (OSError, EOFError, ValidationError) as error:
            raise ValueError(str(error)) from error
        return ledger


def _json_lines(name: str, entries: Iterable[Record]) -> list[str]:
    return [f'{{"{name}":{entry.model_dump_json(exclude_defaults=True)}}}' for entry in entries]


def read_ledger(store: Store, run_id: str) -> Ledger:
    """The ledger of a run; an empty one where nobody has kept one yet.

    Raises:
        StoreError: what lies there is not a ledger this version understands.
    """
    found = store.get_tagged(RunLayout(run_id).ledger)
    if found is None:
        return Ledger(run_id, tag="")
    ledger = _parse(store, run_id, found[0])
    ledger.tag = found[1]
    return ledger


def keep_ledger(store: Store, ledger: Ledger) -> bool:
    """Put a ledger into the store, merged with what lies there; afterwards it has that, too.

    Two that do so at once lose nothing: a write is conditional on what was read. True if it is kept now;
    False where others were faster every time, which leaves the news for the next time.

    Raises:
        UsageError: the store refuses to be written.
        StoreError: what lies there is not a ledger this version understands, or S3 failed.
    """
    key = RunLayout(ledger.run_id).ledger
    # where nobody wrote since it was read, one call does
    tag, ledger.tag = ledger.tag, None
    if tag is not None:
        data = ledger.to_bytes()
        if store.replace(key, data, tag) if tag else store.put(key, data, if_absent=True):
            return True
    for _ in range(_TRIES):
        found = store.get_tagged(key)
        if found is None:
            if store.put(key, ledger.to_bytes(), if_absent=True):
                return True
            continue
        there = _parse(store, ledger.run_id, found[0])
        merged = there.copy()
        news = merged.merge(ledger)
        ledger.merge(there)
        if not news or store.replace(key, merged.to_bytes(), found[1]):
            return True
    return False


def _parse(store: Store, run_id: str, data: bytes) -> Ledger:
    try:
        return Ledger.from_bytes(data)
    except ValueError as error:
        uri = store.uri(RunLayout(run_id).ledger)
        raise StoreError(
            f"{uri} is not a ledger this version understands",
            next_step="upgrade glacierflow; or delete the object, and it is made again from the receipts",
        ) from error


class EntryReader:
    """Reads attempts in short, each at most once; they never change."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run = RunLayout(run_id)
        self._known: dict[AttemptKey, AttemptEntry] = {}
        self.records = ReceiptReader(store, run_id)
        """Reads the records themselves."""

    def read(
        self, keys: Collection[AttemptKey], *, attempts: int, at_most: int | None = None
    ) -> list[AttemptEntry]:
        """The entries of some attempts, with as few calls as possible; what is not there is left out.

        What names tell is taken only of attempts that the caller has seen in the list of records.

        Args:
            keys: the attempts.
            attempts: attempts of the run; a LIST of all names takes a call for each thousand.
            at_most: where more records than this would have to be read one by one, none of them is.

        Raises:
            StoreError: a record cannot be understood, or the store cannot be read.
        """
        if self._store.remote:
            for ended in (True, False):
                missing = [key for key in self._missing(keys) if (key[2] is not None) is ended]
                if len(missing) > attempts // _PAGE + 1:
                    self._list(ended=ended)
        missing = self._missing(keys)
        if at_most is None or not self._store.remote or len(missing) <= at_most:
            self._read(missing)
        return [self._known[key] for key in keys if key in self._known]

    def _missing(self, keys: Collection[AttemptKey]) -> list[AttemptKey]:
        return [key for key in keys if key not in self._known]

    def _list(self, *, ended: bool) -> None:
        for told in self._store.list(self._run.told_prefix(ended=ended)):
            entry = entry_of_name(told.key)
            if entry is not None:
                self._known[_key_of(entry)] = entry

    def _read(self, keys: Collection[AttemptKey]) -> None:
        wanted: dict[int, Attempts] = {}
        for slot, number, outcome in keys:
            if outcome is not None:
                wanted.setdefault(slot, Attempts()).outcomes[number] = outcome
        starts = [(slot, number) for slot, number, outcome in keys if outcome is None]
        for record in (*self.records.every(wanted), *self.records.starts(starts)):
            entry = AttemptEntry.of(record)
            self._known[_key_of(entry)] = entry


def _key_of(entry: AttemptEntry) -> AttemptKey:
    return entry.slot, entry.attempt, entry.outcome
