"""``glacierflow lambda invoke``: one call of the function, its answer, and what is left after it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glacierflow.cli import context as c
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.services.functions import Answer

__all__ = ["invoke_command"]

EventOption = Annotated[
    str | None,
    typer.Option("--event", metavar="FILE", help="The event as JSON; - reads it from standard input."),
]
RegionOption = Annotated[
    str | None, typer.Option("--region", "--regions", metavar="A,B", help="Names of regions.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Also write the answer there, as JSON.")
]


@collects("archive", *CONNECTION, "s3_bucket", first=("satellite", "date1", "date2"))
def invoke_command(
    line: c.CommandLine,
    event: EventOption = None,
    region: RegionOption = None,
    out: OutOption = None,
) -> int:
    """Call the function and wait: with an event of a file, or with one made of the options.

    Exit code 0: all was done; 1: something went wrong, or the deadline came first and regions are left.
    """
    from glacierflow.services.functions import call, function_name
    from glacierflow.services.places import find_places

    given = _read(event) if event is not None else None
    typed = {"--satellite": line.satellite, "--region": region, "--date1": line.date1, "--date2": line.date2}
    _check(given, [name for name, value in typed.items() if value is not None])
    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(f"--out = {out}: there is no directory {out.parent}", next_step="make it first")
    line = replace(line, regions=region if given is None else None)
    loaded = c.load_line(line)
    regions = c.choose_regions(loaded, line).regions if given is None else ()
    cloud, _ = c.cloud_for(loaded, line, regions)
    settings = loaded.settings
    made = {
        "satellite": settings.settings.satellite,
        "regions": [one.name for one in regions],
        "date1": str(settings.dates.date1),
        "date2": str(settings.dates.date2),
        "s3_bucket": find_places(loaded, cloud).bucket,
        "s3_base_path": settings.storage.s3_base_path,
    }
    answer = call(cloud, function_name(cloud, loaded), made if given is None else given)
    text = json.dumps(answer.payload, indent=2)
    if out is not None:
        out.write_text(f"{text}\n", encoding="utf-8")
    typer.echo(text)
    return _tell(answer, line)


def _read(name: str) -> dict[str, Any]:
    try:
        content = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        event = json.loads(content)
    except OSError as error:
        raise UsageError(f"--event = {name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--event = {name} is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise UsageError(
            f"--event = {name} is not an event: it must be a JSON object",
            next_step='write, say, {"satellite": "landsat", "region": "134_Arsuk", ...}',
        )
    return event


def _check(event: dict[str, Any] | None, typed: list[str]) -> None:
    if event is not None and typed:
        raise UsageError(f"--event and {typed[0]} exclude each other", next_step="leave one of the two out")
    if event is None and "--region" not in typed:
        raise UsageError(
            "nothing says what to process", next_step="name a region with --region, or an --event"
        )


def _tell(answer: Answer, line: c.CommandLine) -> int:
    """What went wrong, or is left, on stderr; the exit code."""
    if answer.error is not None:
        c.say(f"glacierflow: the function went wrong: {answer.error}")
        c.say(f"  next: glacierflow lambda logs{line.again()}")
        return 1
    if answer.goes_on is not None:
        left = answer.body.get("left")
        which = f"; left: {', '.join(left)}" if left else ""
        c.say(f"glacierflow: stopped before the deadline, progress is saved{which}")
        c.say(f"  next: glacierflow batch retry {answer.goes_on}{line.again()}")
        return 1
    return 0
