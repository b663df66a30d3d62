"""While something watches: stop a run that has cost enough, or whose children all fail alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.context import CommandLine, load_line, say

if TYPE_CHECKING:
    from glacierflow.runs.guard import Limits
    from glacierflow.runs.spent import Spent
    from glacierflow.runs.status import RunStatus
    from glacierflow.services.family_look import FamilyLook

__all__ = ["StopAtUsdOption", "guarded_look", "limits_of", "spent_by"]

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
    from glacierflow.runs.guard import reason_to_stop

    stopped = unpriced = False

    def now() -> RunStatus:
        nonlocal stopped, unpriced
        status = look.now()
        if stopped:
            return status
        spent, why = spent_by(look, status)
        if why and limits.max_usd is not None and not unpriced:
            say(f"glacierflow: --max-usd cannot stop this run, nobody knows what it costs: {why}")
            unpriced = True
        reason = reason_to_stop(status, limits, spent.usd if spent else None)
        if reason is not None:
            look.stop(reason)
            stopped = True
            say(f"glacierflow: stopped what was left of the run: {reason}")
        return status

    return now


def spent_by(look: FamilyLook, status: RunStatus) -> tuple[Spent | None, str | None]:
    """Cost so far by the dated table; None, and why, where the table lacks what the run ran on."""
    from glacierflow.errors import DataError
    from glacierflow.local.control import default_home
    from glacierflow.runs.spent import spent_so_far
    from glacierflow.services.prices import load_prices

    try:
        prices = load_prices(default_home().parent, look.root.cloud.region)
        ledgers = look.ledgers()
        return spent_so_far(ledgers, prices, attempts=status.attempts, running=status.running), None
    except DataError as error:
        return None, error.message
