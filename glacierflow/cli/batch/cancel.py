"""``glacierflow batch cancel``: end what is still on its way of a run and its retries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.looking import RunArgument, confirm_found, locate_run
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine
from glacierflow.cli.options import JsonOption, YesOption

if TYPE_CHECKING:
    from glacierflow.services.cancel import Cancelled

__all__ = ["cancel_command"]

RegionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="End only the children that process this region, of several too; can be repeated.",
    ),
]


@collects(*CONNECTION, "s3_bucket")
def cancel_command(
    line: CommandLine,
    run: RunArgument = "latest",
    region: RegionOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> int:
    """End a run's jobs and those of its retries, and say what was done already; products stay.

    An invocation of Lambda that runs goes on to its end.
    """
    from glacierflow.runs.family import read_family
    from glacierflow.services.cancel import cancel_family

    found = locate_run(run, line)
    confirm_found(found, run, "cancel", yes=yes)
    family = read_family(found.store, found.run_id)
    cancelled = cancel_family(family, found.store, found.cloud, found.places, regions=tuple(region or ()))
    _show(cancelled, as_json=as_json)
    return 0


def _show(cancelled: list[Cancelled], *, as_json: bool) -> None:
    from dataclasses import asdict

    from glacierflow.cli import render

    if as_json:
        typer.echo(render.to_json([asdict(one) for one in cancelled]))
        return
    for one in cancelled:
        before = ", ".join(f"{count} {outcome}" for outcome, count in one.before.items())
        never = f"; {one.never_submitted} were never submitted" if one.never_submitted else ""
        if one.goes_on:
            never += f"; {len(one.goes_on)} run on Lambda, where nobody can end them"
        typer.echo(f"run {one.run_id}")
        typer.echo(f"  cancelled {len(one.ended)}; had ended before: {before or 'none'}{never}")
