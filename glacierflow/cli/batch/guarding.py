"""While something watches: stop a run that has cost enough, or whose children all fail alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.context import CommandLine, load_line, say

if TYPE_CHECKING:
    from glacierflow.runs.guard import Limits
    from glacierflow.runs.status import RunStatus
    from glacierflow.services.family_look import FamilyLook

__all__ = ["StopAtUsdOption", "guarded_look", "limits_of"]

StopAtUsdOption = Annotated[
    float | None,
    typer.Option(
        "--max-usd", metavar="DOLLARS", min=0, help="Stop the run when its compute has cost as much."
    ),
]


def limits_of(line: CommandLine, max_usd: float | None) -> Limits:
    """The limit that was typed, and the breaker of the settings."""
    from glacierflow.runs.guard import Limits

    # the verb has told the notices of the files already
    batch = load_line(replace(line, quiet=True)).settings.batch
    return Limits(max_usd, batch.breaker_children, batch.breaker_share)


def guarded_look(look: FamilyLook, limits: Limits) -> Callable[[], RunStatus]:
    """Look at the run; at the first look that gives a reason, stop what is left of it."""
    from glacierflow.local.control import default_home
    from glacierflow.runs.estimate import job_hour
    from glacierflow.runs.guard import reason_to_stop
    from glacierflow.runs.workload import MEMORY_CLASSES_MIB
    from glacierflow.services.prices import load_prices

    book = load_prices(default_home().parent)
    on_demand = any(array.on_demand for array in look.manifest.arrays)
    stopped = False

    def child_hour(memory_mib: int | None) -> float:
        return job_hour(book, memory_mib or MEMORY_CLASSES_MIB[0], on_demand=on_demand)

    def now() -> RunStatus:
        nonlocal stopped
        status = look.now()
        reason = None if stopped else reason_to_stop(status, limits, child_hour)
        if reason is not None:
            look.stop(reason)
            stopped = True
            say(f"glacierflow: stopped what was left of the run: {reason}")
        return status

    return now
