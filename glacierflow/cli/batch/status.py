"""``glacierflow batch status``: how a run stands."""

from __future__ import annotations

from typing import Annotated

import typer

from glacierflow.cli.batch import looking
from glacierflow.cli.batch.looking import RunArgument
from glacierflow.cli.context import CommandLine
from glacierflow.cli.options import (
    AwsConfigOption,
    AwsRegionOption,
    BucketOption,
    ConfigOption,
    JsonOption,
    LocalOption,
    ProfileOption,
    QuietOption,
)

__all__ = ["status_command"]

ReceiptsOption = Annotated[
    bool,
    typer.Option(
        "--receipts", help="Read every receipt nobody has read yet, one call each, and count its products."
    ),
]


def status_command(
    run: RunArgument = "latest",
    receipts: ReceiptsOption = False,
    local: LocalOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show a run on one screen: states, outcomes, products, attempts, reclaims, and failures by kind."""
    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        quiet=quiet,
    )
    look = looking.open_run(run, line)
    return looking.show_status(look, look.now(quick=not receipts), as_json=as_json, quiet=quiet)
