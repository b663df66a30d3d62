"""What every service that runs slots can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glacierflow.layout import RunLayout
from glacierflow.manifest import Manifest, Service
from glacierflow.runs.records import JobRecord
from glacierflow.store import Store

__all__ = ["Launcher", "manifest_uri"]


class Launcher(Protocol):
    """One service, its places found to exist."""

    @property
    def service(self) -> Service:
        """Which one."""

    @property
    def image(self) -> str | None:
        """The container image that will run, where it is known."""

    def check(self, manifest: Manifest) -> None:
        """Refuse what the service cannot run, before anything is written.

        Raises:
            UsageError: a slot does not fit the service; the sentence says which one takes it.
        """

    def launch(self, manifest: Manifest, store: Store, known: Sequence[JobRecord] = ()) -> list[JobRecord]:
        """Start everything of a run whose manifest lies in the store.

        Args:
            manifest: the run.
            store: where the job records go, each as soon as it is known.
            known: records of an earlier submission that was broken off.

        Returns:
            The records of all arrays.
        """


def manifest_uri(manifest: Manifest) -> str:
    """``s3://bucket/runs/.../manifest.json``."""
    return f"{manifest.store}/{RunLayout(manifest.run_id).manifest}"
