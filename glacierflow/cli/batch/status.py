"""``glacierflow batch status``: how a run stands."""

from __future__ import annotations

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


def status_command(
    run: RunArgument = "latest",
    local: LocalOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show every slot of a run: Batch's state, what the child reported, and why where it went wrong."""
    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        quiet=quiet,
    )
    return looking.show_status(looking.open_run(run, line).now(), as_json=as_json)
