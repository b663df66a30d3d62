"""``glacierflow batch status``: how a run stands."""

from __future__ import annotations

from typing import Annotated

import typer

from glacierflow.cli.batch import looking
from glacierflow.cli.batch.looking import RunArgument
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine
from glacierflow.cli.options import JsonOption

__all__ = ["status_command"]

ReceiptsOption = Annotated[
    bool,
    typer.Option(
        "--receipts", help="Read every receipt nobody has read yet, one call each, and count its products."
    ),
]


@collects(*CONNECTION, "s3_bucket")
def status_command(
    line: CommandLine,
    run: RunArgument = "latest",
    receipts: ReceiptsOption = False,
    as_json: JsonOption = False,
) -> int:
    """Show a run on one screen: states, outcomes, products, attempts, reclaims, and failures by kind."""
    look = looking.open_run(run, line)
    return looking.show_status(look, look.now(quick=not receipts), line, as_json=as_json)
