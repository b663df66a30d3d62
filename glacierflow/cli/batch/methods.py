"""``glacierflow batch methods``: the paragraph and tables that a paper needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glacierflow.cli.batch.looking import RunsArgument, check_fetch, locate_runs
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
    runs: RunsArgument = None,
    out: OutOption = None,
) -> int:
    """Write the methods paragraph of a run: scenes, dates, versions, exclusions.

    Its retries and its canary are in it; of several runs, one paragraph and one table are made.
    """
    from glacierflow.runs.joined import check_alike, read_joined
    from glacierflow.runs.methods import exclusions_csv, methods_markdown, methods_of, scenes_csv

    check_fetch(out, option="--out")
    found, run_ids = locate_runs(runs, line)
    family = read_joined(found.store, run_ids)
    check_alike(family)
    methods = methods_of(family)
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
