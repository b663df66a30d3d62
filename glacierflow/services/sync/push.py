"""Settings and sources into the bucket: only what changed, by checksum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glacierflow.services.sync.project import PREFIX, ProjectFile
from glacierflow.services.sync.remote import Bucket

__all__ = ["PushPlan", "plan_push", "push"]


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would do."""

    changed: tuple[ProjectFile, ...]
    """Missing in the bucket, or with other content there."""
    missing: tuple[ProjectFile, ...]
    """Those of them that are not in the bucket."""
    unchanged: int
    strangers: tuple[str, ...]
    """Keys below the prefix that are no file of the project (any more)."""


def plan_push(files: Sequence[ProjectFile], bucket: Bucket) -> PushPlan:
    """Compare the project with its copy: one listing, contents by checksum.

    Raises:
        UsageError: the bucket is missing or may not be read.
        StoreError: S3 did not answer.
    """
    there = {remote.key: remote for remote in bucket.list(PREFIX)}
    changed = tuple(
        file
        for file in files
        if (remote := there.get(file.key)) is None or not bucket.holds(remote, file.path)
    )
    missing = tuple(file for file in changed if file.key not in there)
    ours = {file.key for file in files}
    strangers = tuple(key for key in there if key not in ours)
    return PushPlan(changed, missing, len(files) - len(changed), strangers)


def push(plan: PushPlan, bucket: Bucket, *, delete: bool, tell: Callable[[str], None]) -> None:
    """Upload what changed, the settings last; with ``delete`` also remove strangers.

    Raises:
        UsageError: the bucket may not be written.
        StoreError: S3 did not answer.
    """
    # Settings last: a job that reads them meanwhile never meets new settings with old sources.
    for file in sorted(plan.changed, key=lambda file: file.name.endswith("config.ini")):
        bucket.put(file.key, file.path.read_bytes())
        tell(f"uploaded {file.key}")
    if delete:
        for key in plan.strangers:
            bucket.delete(key)
            tell(f"removed {key}")
