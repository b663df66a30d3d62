"""While something watches: stop a run that has cost enough, or whose children all fail alike."""

from __future__ import annotations

import datetime as dt
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


_PRICES_HOLD = dt.timedelta(days=1)
"""For so long spot prices that were asked for are kept, and a refusal is not asked again."""


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
    limited = limits.max_usd is not None
    priced_at: dt.datetime | None = None

    def now() -> RunStatus:
        nonlocal stopped, unpriced, priced_at
        status = look.now()
        if stopped:
            return status
        if limited and (priced_at is None or dt.datetime.now(dt.UTC) - priced_at > _PRICES_HOLD):
            priced_at = dt.datetime.now(dt.UTC)
            _tell_prices(look)
        spent, why = spent_by(look, status, cautious=limited)
        if why and limited and not unpriced:
            say(f"glacierflow: --max-usd cannot stop this run, nobody knows what it costs: {why}")
            unpriced = True
        reason = reason_to_stop(status, limits, spent.usd if spent else None)
        if reason is not None:
            look.stop(reason)
            stopped = True
            say(f"glacierflow: stopped what was left of the run: {reason}")
        return status

    return now


def _tell_prices(look: FamilyLook) -> None:
    """Ask for the day's spot prices before a limit counts by them; say it where they must be assumed."""
    from glacierflow.errors import DataError
    from glacierflow.local.control import default_home
    from glacierflow.runs.estimate import spot_types
    from glacierflow.services.prices import ask_prices, load_prices

    cloud, home, manifest = look.root.cloud, default_home().parent, look.root.manifest
    if manifest.service in {"lambda", "fargate"} or all(array.on_demand for array in manifest.arrays):
        return
    try:
        book = load_prices(home, cloud.region)
    except DataError:
        return  # the look that follows says so
    book = ask_prices(home, cloud, book, spot_types(manifest, book, None))
    if book.spot_as_of is None:
        share = book.table.spot_share.p90
        say(f"glacierflow: --max-usd counts spot at {share:.0%} of on-demand, assumed: {book.unasked}")


def spent_by(
    look: FamilyLook, status: RunStatus, *, cautious: bool = False
) -> tuple[Spent | None, str | None]:
    """Cost so far by the prices known; None, and why, where they lack what the run ran on.

    Args:
        look: the run and its retries.
        status: as it was seen last.
        cautious: whether spot prices that are assumed are the 90th percentile, as a limit takes them.
    """
    from glacierflow.errors import DataError
    from glacierflow.local.control import default_home
    from glacierflow.runs.spent import spent_so_far
    from glacierflow.services.prices import load_prices

    try:
        prices = load_prices(default_home().parent, look.root.cloud.region)
        ledgers = look.ledgers()
        return spent_so_far(
            ledgers, prices, attempts=status.attempts, running=status.running, cautious=cautious
        ), None
    except DataError as error:
        return None, error.message
