"""Whether slots fit a service that has limits of its own; pure."""

from __future__ import annotations

from glacierflow.errors import UsageError
from glacierflow.manifest import Manifest
from glacierflow.resources import LAMBDA_MIB_A_VCPU
from glacierflow.runs.workload import expected_peak_mb, expected_seconds

__all__ = ["check_lambda_fit"]

_SAFE = 0.9
"""Share of the time that may be planned with: the rest is for stopping in time."""


def check_lambda_fit(manifest: Manifest, *, memory_mb: int, timeout_s: int) -> None:
    """Refuse slots that would not end within an invocation, or need more memory than the function has.

    Raises:
        UsageError: some do not fit; AWS Batch takes them.
    """
    vcpus = max(1, round(memory_mb / LAMBDA_MIB_A_VCPU))
    wrong = []
    for slot in manifest.slots:
        regions = {unit.region: manifest.regions[unit.region] for unit in slot}
        seconds = sum(expected_seconds(unit, regions[unit.region], vcpus=vcpus) for unit in slot)
        peak = max(expected_peak_mb(regions[unit.region], unit.satellite) for unit in slot)
        if seconds > timeout_s * _SAFE:
            wrong.append(f"{slot[0].region} is expected to take {seconds:,.0f} s of {timeout_s}")
        elif peak > memory_mb:
            wrong.append(f"{slot[0].region} is expected to need {peak:,.0f} MB of {memory_mb:,}")
    if wrong:
        more = f", and {len(wrong) - 1} more do not fit" if len(wrong) > 1 else ""
        raise UsageError(
            f"{wrong[0]}{more}",
            next_step="submit with --service batch, or cut the dates with --by quarter or --by month",
        )
