"""``--missing``: only what earlier runs have not finished, by their receipts and by what lies in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.sending import Ready
from glacierflow.cli.context import say

if TYPE_CHECKING:
    from glacierflow.model import Unit

__all__ = ["MissingOption", "missing_units"]

MissingOption = Annotated[
    bool,
    typer.Option("--missing", help="Submit only what no earlier run finished, or whose products are gone."),
]


def missing_units(ready: Ready, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The units that are not done; says how many are left out."""
    from glacierflow.runs.missing import find_done
    from glacierflow.services.same_run import runs_named

    earlier = (
        runs_named(ready.cloud, f"s3://{ready.places.bucket}", f"{units[0].satellite}-") if units else []
    )
    done = find_done(ready.store, earlier, units, ready.draft.step)
    missing = tuple(unit for unit in units if unit not in done)
    say(f"glacierflow: {len(done)} of {len(units)} units are done and in place", quiet=ready.line.quiet)
    return missing
