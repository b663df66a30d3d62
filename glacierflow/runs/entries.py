"""Reads what attempts left in short: many of them by one LIST of their names, few of them one by one."""

from __future__ import annotations

from collections.abc import Collection

from glacierflow.attempts import AttemptEntry, entry_of_name
from glacierflow.layout import RunLayout
from glacierflow.runs.records import Attempts, ReceiptReader
from glacierflow.store import Store

__all__ = ["AttemptKey", "EntryReader"]

AttemptKey = tuple[int, int, str | None]
"""Slot, number and outcome of an attempt; None for one that started and left no receipt."""

_PAGE = 1000
"""Names a LIST of S3 answers with."""


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
