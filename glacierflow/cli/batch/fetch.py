"""``glacierflow fetch``: what a run made, copied to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glacierflow.cli.batch.looking import RunArgument, check_fetch, locate_run
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine
from glacierflow.cli.options import JsonOption
from glacierflow.cli.places import fetched

ToOption = Annotated[
    Path, typer.Option("--to", metavar="DIR", help="Folder to copy to; it is made where it is missing.")
]


@collects(*CONNECTION, "s3_bucket")
def fetch_command(
    line: CommandLine,
    run: RunArgument = "latest",
    to: ToOption = Path("results"),
    as_json: JsonOption = False,
) -> int:
    """Copy images, lineage, quicklooks and records of a run and its retries to a folder."""
    from glacierflow.cli import render
    from glacierflow.cli.fetch import fetch_run
    from glacierflow.runs.family import read_family

    check_fetch(to, "--to")
    found = locate_run(run, line)
    family = read_family(found.store, found.run_id)
    files: dict[Path, None] = {}
    for member in family.sent:
        files |= dict.fromkeys(fetch_run(member.manifest, found.store, to))
    if as_json:
        typer.echo(render.to_json({"run_id": found.run_id, "files": [str(path) for path in files]}))
        return 0
    for text in fetched(list(files), to):
        typer.echo(text)
    return 0
