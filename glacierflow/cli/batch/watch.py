"""``glacierflow batch watch``: a run, live, until it has ended."""

from __future__ import annotations

from glacierflow.cli.batch import looking
from glacierflow.cli.batch.ending import AutoRetryOption, Ending, NotifyOption
from glacierflow.cli.batch.guarding import StopAtUsdOption, limits_of
from glacierflow.cli.batch.looking import FetchOption, RunArgument
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

__all__ = ["watch_command"]


def watch_command(
    run: RunArgument = "latest",
    fetch: FetchOption = None,
    max_usd: StopAtUsdOption = None,
    auto_retry: AutoRetryOption = False,
    notify: NotifyOption = False,
    local: LocalOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show live progress of a run until it has ended."""
    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        quiet=quiet,
    )
    looking.check_fetch(fetch)
    look = looking.open_run(run, line)
    limits = limits_of(line, max_usd)
    ending = Ending(notify, auto_retry)
    return looking.watch_run(look, line, fetch=fetch, as_json=as_json, limits=limits, ending=ending)
