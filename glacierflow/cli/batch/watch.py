"""``glacierflow batch watch``: a run, live, until it has ended."""

from __future__ import annotations

from glacierflow.cli.batch import looking
from glacierflow.cli.batch.ending import AutoRetryOption, Ending, NotifyOption
from glacierflow.cli.batch.guarding import StopAtUsdOption, limits_of
from glacierflow.cli.batch.looking import FetchOption, RunArgument
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine
from glacierflow.cli.options import JsonOption

__all__ = ["watch_command"]


@collects(*CONNECTION, "s3_bucket")
def watch_command(
    line: CommandLine,
    run: RunArgument = "latest",
    fetch: FetchOption = None,
    max_usd: StopAtUsdOption = None,
    auto_retry: AutoRetryOption = False,
    notify: NotifyOption = False,
    as_json: JsonOption = False,
) -> int:
    """Show live progress of a run until it has ended."""
    looking.check_fetch(fetch)
    look = looking.open_run(run, line)
    limits = limits_of(line, max_usd)
    ending = Ending(notify, auto_retry)
    return looking.watch_run(look, line, fetch=fetch, as_json=as_json, limits=limits, ending=ending)
