"""What a run left in the store: its manifest, its jobs, its receipts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from glacierflow.errors import UsageError
from glacierflow.layout import AttemptFile, RunLayout
from glacierflow.manifest import Manifest
from glacierflow.model import Record
from glacierflow.receipt import Receipt

if TYPE_CHECKING:
    from glacierflow.store import Store

__all__ = ["Attempts", "JobRecord", "read_jobs", "read_run"]

_READERS = 8


class JobRecord(Record):
    """One submitted array or plain job."""

    number: int
    job_id: str
    job_name: str
    job_queue: str
    job_definition: str
    first_slot: int
    size: int


def read_run(run_id: str, store: Store) -> Manifest:
    """The manifest of a run.

    Raises:
        UsageError: the store holds no such run.
    """
    content = store.get(RunLayout(run_id).manifest)
    if content is None:
        raise UsageError(
            f"there is no run {run_id} in {store.uri('runs/')}",
            next_step="check the run id, and --s3-bucket or --local",
        )
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UsageError(f"the manifest of {run_id} was written by another version: {error}") from error


def read_jobs(run_id: str, store: Store) -> list[JobRecord]:
    """The jobs of a run in order of submission."""
    contents = [store.get(entry.key) for entry in store.list(RunLayout(run_id).jobs_prefix)]
    jobs = [JobRecord.model_validate_json(content) for content in contents if content is not None]
    return sorted(jobs, key=lambda job: job.number)


@dataclass
class Attempts:
    """The attempts of a run; each ``refresh`` costs one listing and a read for each new latest receipt."""

    run_id: str
    store: Store
    files: dict[int, list[AttemptFile]] = field(default_factory=dict)
    """By slot, every file that a start or an end of an attempt left."""
    receipts: dict[int, Receipt] = field(default_factory=dict)
    """By slot, the receipt of the last attempt that ended."""

    def refresh(self) -> None:
        """Look again."""
        layout = RunLayout(self.run_id)
        files: dict[int, list[AttemptFile]] = {}
        for entry in self.store.list(layout.attempts_prefix):
            found = layout.parse_attempt(entry.key)
            if found is not None:
                files.setdefault(found.slot, []).append(found)
        self.files = files
        wanted = []
        for slot, entries in files.items():
            ended = [entry for entry in entries if entry.outcome != "started"]
            if ended:
                last = max(ended, key=lambda entry: entry.attempt)
                known = self.receipts.get(slot)
                if known is None or known.attempt != last.attempt:
                    wanted.append(last)
        with ThreadPoolExecutor(_READERS) as pool:
            for receipt in pool.map(self._read, wanted):
                self.receipts[receipt.slot] = receipt

    def started(self, slot: int) -> int:
        """How many attempts of a slot started."""
        return len({entry.attempt for entry in self.files.get(slot, ()) if entry.outcome == "started"})

    def open_end(self, slot: int) -> bool:
        """Whether the last start of a slot has no end: it runs, or it was killed."""
        entries = self.files.get(slot, ())
        ended = {entry.attempt for entry in entries if entry.outcome != "started"}
        last = max((entry.attempt for entry in entries), default=None)
        return last is not None and last not in ended

    def _read(self, entry: AttemptFile) -> Receipt:
        key = RunLayout(self.run_id).receipt(entry.slot, entry.attempt, entry.outcome)
        content = self.store.get(key)
        if content is None:
            raise UsageError(f"{self.store.uri(key)} vanished while it was read")
        return Receipt.model_validate_json(content)
