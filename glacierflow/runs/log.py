"""The log of submissions on this machine, one JSON line each: what ``latest`` means here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from glacierflow.errors import StoreError
from glacierflow.model import Record

__all__ = ["Submission", "latest_submission", "log_submission"]


class Submission(Record):
    """One submitted run."""

    run_id: str
    store: str
    """``s3://bucket``."""
    local: bool
    """Whether it went to the embedded cloud."""
    submitted_at: dt.datetime


def log_submission(home: Path, submission: Submission) -> None:
    """Append one line.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _file(home).open("a", encoding="utf-8") as log:
            log.write(f"{submission.model_dump_json()}\n")
    except OSError as error:
        raise StoreError(f"{_file(home)} cannot be written: {error.strerror}") from error


def latest_submission(home: Path, store: str, *, local: bool) -> str | None:
    """Run id of the last submission from this machine to that store, or None."""
    found = [entry.run_id for entry in _read(home) if entry.store == store and entry.local == local]
    return found[-1] if found else None


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
