"""``--canary``: three units first, then the estimate corrected by them, then the rest if it is wanted."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.runs import interval_s
from glacierflow.cli.batch.spending import guarded_look, limits_of, spent_by
from glacierflow.cli.batch.submission import Ready, Terms, send
from glacierflow.cli.context import say
from glacierflow.errors import GlacierflowError, UsageError

if TYPE_CHECKING:
    from glacierflow.live.family import FamilyLook
    from glacierflow.model.records import Unit
    from glacierflow.runs.status import RunStatus


CanaryOption = Annotated[
    bool,
    typer.Option(
        "--canary", help="Run the smallest, the median and the largest unit first, then ask (or --yes)."
    ),
]


class _CanaryError(GlacierflowError):
    """The canary did not come back well."""

    exit_code = 1


def check_answerable(*, yes: bool) -> None:
    """Know that somebody can answer before anything is spent.

    Raises:
        UsageError: nobody can, and ``--yes`` was not given.
    """
    if not yes and not sys.stdin.isatty():
        raise UsageError("--canary asks before the rest, but there is no terminal", next_step="add --yes")


def _watch(look: FamilyLook, ready: Ready, terms: Terms) -> RunStatus:
    """Follow the canary to its end, on stderr."""
    from glacierflow.cli.render_status import follow, make_console

    return follow(
        guarded_look(look, limits_of(ready.line, terms.max_usd)),
        console=make_console(stderr=True),
        interval_s=interval_s(ready.line),
        quiet=ready.line.quiet,
    )


def send_after_canary(
    ready: Ready, units: tuple[Unit, ...], terms: Terms, *, yes: bool
) -> tuple[FamilyLook, float | None]:
    """Run the canary to its end, correct the estimate, ask, and send the rest.

    Returns:
        The run that was sent last, and what of ``--max-usd`` the canary left for it.

    Raises:
        UsageError: the corrected estimate is above what is left of the limit.
        GlacierflowError: the canary went wrong.
        typer.Abort: the rest is not wanted.
    """
    from glacierflow.runs.workload import choose_canary, measure

    regions = {region.name: region for region in ready.draft.choice.regions}
    chosen = choose_canary(units, regions)
    names = ", ".join(f"{unit.region} {unit.date1:%Y-%m-%d}" for unit in chosen)
    say(f"glacierflow: canary: {names}", quiet=ready.line.quiet)
    look = send(ready, chosen, replace(terms, price=False))
    status = _watch(look, ready, terms)
    if status.exit_code != 0:
        raise _CanaryError(
            "the canary went wrong, so the rest was not submitted",
            next_step=f"`glacierflow batch status {look.manifest.name}{ready.line.again()}` says why",
        )
    rest = tuple(unit for unit in units if unit not in set(chosen))
    if not rest:
        return look, terms.max_usd
    measured = measure(look.root.receipts(), regions)
    say(f"glacierflow: the canary took {measured.time_factor:.2f} times as long as the model says")
    left = _left(look, status, terms.max_usd)

    def ask() -> None:
        if not yes and not typer.confirm(f"Submit the other {len(rest)} units?", err=True):
            raise typer.Abort

    terms = replace(terms, price=True, max_usd=left)
    canary = look.manifest.run_id
    look = send(ready, rest, terms, measured=measured, canary=canary, ask=ask)
    both = f"{canary} {look.manifest.run_id}{ready.line.again()}"
    commands = "".join(f"\n  glacierflow batch {verb} {both}" for verb in ("verify", "cost", "methods"))
    text = "commands for the canary and the rest together (the id of the rest is enough):"
    say(f"glacierflow: {text}{commands}", quiet=ready.line.quiet)
    return look, left


def _left(look: FamilyLook, status: RunStatus, max_usd: float | None) -> float | None:
    """What the canary has left of the limit, which holds for it and the rest together."""
    if max_usd is None:
        return None
    spent, why = spent_by(look, status, cautious=True)
    if spent is None:
        raise UsageError(
            f"the cost of the canary is not known, so the rest cannot be held below --max-usd: {why}",
            next_step="submit the rest with --missing, and another limit or none",
        )
    left = max(0.0, max_usd - spent.usd)
    remains = f"${left:,.2f} of the --max-usd limit remains"
    say(f"glacierflow: the canary has cost about ${spent.usd:,.2f}; {remains}")
    return left
