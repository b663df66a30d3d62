"""``glacierflow batch methods``: the paragraph and tables that a paper needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glacierflow.cli.batch.looking import RunArgument, check_fetch, locate_run
from glacierflow.cli.batch.verify import write_file
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine

__all__ = ["methods_command"]

OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write methods.md, scenes.csv and exclusions.csv there."),
]


@collects(*CONNECTION, "s3_bucket")
def methods_command(
    line: CommandLine,
    run: RunArgument = "latest",
    out: OutOption = None,
) -> int:
    """Write the methods paragraph of a run with its retries: scenes, dates, versions, exclusions."""
    from glacierflow.runs.family import read_family
    from glacierflow.runs.methods import exclusions_csv, methods_markdown, methods_of, scenes_csv

    check_fetch(out, option="--out")
    found = locate_run(run, line)
    methods = methods_of(read_family(found.store, found.run_id))
    if out is None:
        typer.echo(methods_markdown(methods), nl=False)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    files = {
        "methods.md": methods_markdown(methods),
        "scenes.csv": scenes_csv(methods),
        "exclusions.csv": exclusions_csv(methods),
    }
    for name, text in files.items():
        write_file(out / name, text.encode(), option="--out")
        typer.echo(str(out / name))
    return 0
