"""``glacierflow batch methods``: the paragraph and tables that a paper needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glacierflow.cli.batch.looking import RunArgument, check_fetch, locate_run
from glacierflow.cli.batch.verify import write_file
from glacierflow.cli.context import CommandLine
from glacierflow.cli.options import (
    AwsConfigOption,
    AwsRegionOption,
    BucketOption,
    ConfigOption,
    LocalOption,
    ProfileOption,
    QuietOption,
)

__all__ = ["methods_command"]

OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write methods.md, scenes.csv and exclusions.csv there."),
]


def methods_command(
    run: RunArgument = "latest",
    out: OutOption = None,
    local: LocalOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    quiet: QuietOption = False,
) -> int:
    """Write the methods paragraph of a run with its retries: scenes, dates, versions, exclusions."""
    from glacierflow.runs.family import read_family
    from glacierflow.runs.methods import exclusions_csv, methods_markdown, methods_of, scenes_csv

    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        quiet=quiet,
    )
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
