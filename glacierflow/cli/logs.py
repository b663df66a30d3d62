"""``glacierflow logs``: what a child of a run wrote, or what works around the runs did."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli import context as c
from glacierflow.cli.batch.why import (
    AttemptOption,
    FollowOption,
    GrepOption,
    RegionOption,
    SlotOption,
    as_line,
    pattern_of,
    show_child,
)
from glacierflow.cli.options import CONNECTION, JsonOption, collects
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.aws.logs import LogLine
    from glacierflow.cloud import Cloud
    from glacierflow.settings import LoadedSettings


_LOCAL_PAUSE_S, _AWS_PAUSE_S = 0.5, 5.0
"""Seconds between two looks for new lines."""
_STREAMS_FOLLOWED = 10
_LINES = 50
_AROUND = ("function", "scheduler", "machine")
"""What writes a log without being a child of a run."""


@collects(*CONNECTION, "s3_bucket")
def logs_command(
    line: c.CommandLine,
    of: Annotated[
        str, typer.Argument(metavar="OF", help="Id of a run, or latest, function, scheduler or machine.")
    ] = "latest",
    region: RegionOption = None,
    slot: SlotOption = None,
    attempt: AttemptOption = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines", "-n", min=1, help="For function, scheduler or machine: how many lines; default 50."
        ),
    ] = None,
    follow: FollowOption = False,
    grep: GrepOption = None,
    as_json: JsonOption = False,
) -> int:
    """Print the log of one child of a run on any service, or the end of another log.

    The others: the Lambda function's, the scheduler's, and that of the state machine of Step Functions.
    """
    of_run = {"--region": region, "--slot": slot, "--attempt": attempt}
    unwanted = [name for name, value in of_run.items() if value is not None] if of in _AROUND else []
    if of not in _AROUND and lines is not None:
        unwanted = ["--lines"]
    if unwanted:
        raise UsageError(
            f"{unwanted[0]} does not belong to the log of {of}",
            next_step="leave it out; see `glacierflow logs --help`",
        )
    if of in _AROUND:
        return show_end(line, of, lines=lines or _LINES, follow=follow, grep=grep, as_json=as_json)
    return show_child(line, of, region, slot, attempt, follow=follow, grep=grep, as_json=as_json)


def show_end(
    line: c.CommandLine, of: str, *, lines: int, follow: bool, grep: str | None, as_json: bool
) -> int:
    """Print the end of the newest log of ``function``, ``scheduler`` or ``machine``, and what follows."""
    from glacierflow.aws.logs import LogStream, newest_streams

    wanted = pattern_of(grep)
    loaded = c.load_line(line)
    cloud, _ = c.cloud_for(loaded, line)
    group = _group(of, cloud, loaded)

    def show(entries: Iterator[LogLine]) -> None:
        for entry in entries:
            if wanted.search(entry.text):
                typer.echo(as_line(entry, as_json=as_json))

    streams = newest_streams(cloud, group, 1)
    if not streams:
        c.say(f"{group}: there are no lines yet", quiet=line.quiet)
    for stream in streams:
        c.say(f"{group} {stream}", quiet=line.quiet)
        show(iter(LogStream(cloud, group, stream).tail(lines)))
    if not follow:
        return 0
    try:
        for entries in _followed(cloud, group, _LOCAL_PAUSE_S if line.local else _AWS_PAUSE_S):
            show(entries)
    except KeyboardInterrupt:
        pass
    return 130


def _group(of: str, cloud: Cloud, loaded: LoadedSettings) -> str:
    from glacierflow.launch.lambda_ import function_name
    from glacierflow.stack.templates import stack_name

    base = loaded.settings.batch.stack
    if of == "function":
        return f"/aws/lambda/{function_name(cloud, loaded)}"
    if of == "scheduler":
        return f"/aws/lambda/{stack_name(base, 'schedule')}"
    return f"/aws/vendedlogs/states/{stack_name(base, 'stepfunctions')}"


def _followed(cloud: Cloud, group: str, pause_s: float) -> Iterator[Iterator[LogLine]]:
    """What the newest streams get from now on; every invocation environment of Lambda has its own."""
    from glacierflow.aws.logs import LogStream, newest_streams

    known: dict[str, LogStream] = {}
    first = True
    while True:
        for stream in newest_streams(cloud, group, _STREAMS_FOLLOWED):
            entries = known.setdefault(stream, LogStream(cloud, group, stream)).news()
            if first:
                list(entries)
            else:
                yield entries
        first = False
        time.sleep(pause_s)
