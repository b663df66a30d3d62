"""What every launcher can be asked, and whether slots fit a service with limits of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glacierflow.errors import UsageError
from glacierflow.host import LAMBDA_MIB_A_VCPU
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest, Service
from glacierflow.runs.records import JobRecord
from glacierflow.runs.workload import expected_peak_mb, expected_seconds
from glacierflow.store import Store

_SAFE = 0.9
"""Share of the time that may be planned with: the rest is for stopping in time."""


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


def check_lambda_fit(manifest: Manifest, *, memory_mb: int, timeout_s: int, invocations: int = 1) -> None:
    """Refuse slots that would not end within so many invocations, or need more memory than the function has.

    Raises:
        UsageError: some do not fit; AWS Batch takes them.
    """
    vcpus = max(1, round(memory_mb / LAMBDA_MIB_A_VCPU))
    wrong = []
    for slot in manifest.slots:
        regions = {unit.region: manifest.regions[unit.region] for unit in slot}
        seconds = sum(expected_seconds(unit, regions[unit.region], vcpus=vcpus) for unit in slot)
        peak = max(expected_peak_mb(regions[unit.region], unit.satellite) for unit in slot)
        if seconds > timeout_s * _SAFE * invocations:
            has = f"{invocations} x {timeout_s}" if invocations > 1 else timeout_s
            wrong.append(f"{slot[0].region} is expected to take {seconds:,.0f} s of {has}")
        elif peak > memory_mb:
            wrong.append(f"{slot[0].region} is expected to need {peak:,.0f} MB of {memory_mb:,}")
    if wrong:
        more = f", and {len(wrong) - 1} more do not fit" if len(wrong) > 1 else ""
        raise UsageError(
            f"{wrong[0]}{more}",
            next_step="submit with --service batch, or cut the dates with --by quarter or --by month",
        )
