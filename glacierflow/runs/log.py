"""The log of submissions on this machine: lines of JSON, which tell ``latest``, and a text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from glacierflow.errors import StoreError
from glacierflow.layout import RunLayout
from glacierflow.manifest import Service
from glacierflow.model import Record

__all__ = ["TEXT", "Submission", "latest_submission", "log_submission"]

TEXT = "logs/aws_job_submission.log"
"""The log for people, below the user's folder; the predecessor's name for it."""


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
