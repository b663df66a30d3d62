"""``glacierflow batch why`` and ``logs``: what happened to one slot, and what its child wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch import runs
from glacierflow.cli.context import CommandLine, load_line, say
from glacierflow.cli.options import (
    CONNECTION,
    JsonOption,
    collects,
    complete_regions,
    complete_runs_and_regions,
)
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.aws.logs import LogLine
    from glacierflow.cloud import Cloud
    from glacierflow.live.slot import AttemptFacts, SlotFacts
    from glacierflow.runs.status import SlotRow


WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] [REGION]",
        help="Name of a region; before it, the name of a run if it is not the latest.",
        autocompletion=complete_runs_and_regions,
    ),
]

_LOCAL_PAUSE_S, _AWS_PAUSE_S = 0.5, 3.0
"""Seconds between two looks for new lines."""

_MOST_NAMED = 10
"""Numbers of other slots shown."""

RegionOption = Annotated[
    str | None,
    typer.Option("--region", metavar="NAME", help="Name of the region.", autocompletion=complete_regions),
]
SlotOption = Annotated[int | None, typer.Option("--slot", metavar="N", help="The child's slot, from 0.")]
AttemptOption = Annotated[
    int | None, typer.Option("--attempt", metavar="K", help="Which attempt, from 1; default the latest.")
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on printing new lines as they come.")]
GrepOption = Annotated[
    str | None,
    typer.Option("--grep", metavar="PATTERN", help="Print only lines that match this regular expression."),
]


@collects(*CONNECTION, "s3_bucket")
def why_command(
    line: CommandLine,
    words: WordsArgument = None,
    slot: SlotOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain what happened to a region, from all that is recorded, and say what to do next."""
    from glacierflow.cli.render import to_json
    from glacierflow.cli.render_status import with_run
    from glacierflow.live.slot import explain_slot, find_slot, other_slots
    from glacierflow.model.manifest import short_name

    run, region = run_and_region(words or [])
    look, cloud = runs.open_look(run, line)
    status = look.now(quick=True)
    row = find_slot(status, region=region, slot=slot)
    found = explain_slot(look, row, cloud, usual_group=_usual_group(line))
    others = other_slots(status, row, region)
    run_id = status.run_id
    if as_json:
        answer = found.model_dump(mode="json")
        answer["next_step"] = with_run(found.next_step, run_id, line.again()) if found.next_step else None
        answer["other_slots"] = [one.slot for one in others]
        typer.echo(to_json(answer))
        return 0
    typer.echo(found.paragraph)
    if found.next_step:
        typer.echo(f"next: {with_run(found.next_step, run_id, line.again())}")
    if others:
        typer.echo(name_slots(others))
    if found.attempts:
        say(
            f"log:  glacierflow logs {short_name(run_id)} --slot {found.slot}{line.again()}", quiet=line.quiet
        )
    return 0


def run_and_region(words: list[str]) -> tuple[str, str | None]:
    """Which run and which region ``why RUN REGION``, ``why REGION`` and ``why RUN`` are about.

    Raises:
        UsageError: more than two words.
    """
    from glacierflow.runs.history import is_run_id

    if len(words) > 2:
        raise UsageError(
            f"{' '.join(words)} is more than a run and a region",
            next_step="write e.g. `glacierflow why 049_jakobshavn`",
        )
    if len(words) == 1 and not is_run_id(words[0]):
        return "latest", words[0]
    run, region = (*words, None, None)[:2]
    return run or "latest", region


def _usual_group(line: CommandLine) -> str:
    """Where the log of an attempt is looked for that does not say where it wrote."""
    from glacierflow.live.slot import DEFAULT_LOG_GROUP

    return load_line(replace(line, quiet=True)).settings.monitoring.log_group or DEFAULT_LOG_GROUP


def show_child(
    line: CommandLine,
    run: str,
    region: str | None,
    slot: int | None,
    attempt: int | None,
    *,
    follow: bool,
    grep: str | None,
    as_json: bool,
) -> int:
    """Print the log of one child's attempt, following it where asked."""
    wanted = pattern_of(grep)
    gather, cloud = _open(run, line, region, slot)
    usual = _usual_group(line)
    facts = gather()
    found = facts.attempt(attempt)
    if found is None or (found.log_stream is None and not (follow and facts.live)):
        return _without_log(facts, found, as_json=as_json)
    _head(facts, found, quiet=line.quiet)
    pause_s = _LOCAL_PAUSE_S if line.local else _AWS_PAUSE_S
    try:
        fixed = attempt is not None
        for entry in _lines(cloud, gather, found, usual, follow=follow, fixed=fixed, pause_s=pause_s):
            if wanted.search(entry.text):
                typer.echo(as_line(entry, as_json=as_json))
    except KeyboardInterrupt:
        return 130
    return 0


def pattern_of(grep: str | None) -> re.Pattern[str]:
    """The expression of ``--grep``; without one, every line matches."""
    try:
        return re.compile(grep or "")
    except re.error as error:
        raise UsageError(
            f"--grep = {grep} is not a regular expression: {error}", next_step="put \\ before ( [ * + ?"
        ) from error


def _open(
    run: str, line: CommandLine, region: str | None, slot: int | None
) -> tuple[Callable[[], SlotFacts], Cloud]:
    """A way to ask about the slot again and again."""
    from glacierflow.live.slot import find_slot, gather_slot, other_slots

    look, cloud = runs.open_look(run, line)
    status = look.now(quick=True)
    row = find_slot(status, region=region, slot=slot)
    others = other_slots(status, row, region)
    if others:
        say(name_slots(others), quiet=line.quiet)
    return (lambda: gather_slot(look, row, cloud)), cloud


def name_slots(others: Sequence[SlotRow]) -> str:
    """The other slots of a region in words; where some went wrong, the numbers of those."""
    wrong = [one for one in others if one.wrong]
    numbers = [str(one.slot) for one in wrong or others]
    more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
    slots = "slot" if len(others) == 1 else "slots"
    return (
        f"{len(others)} more {slots} of the region, {len(wrong) or 'none'} wrong: "
        f"--slot {', '.join(numbers[:_MOST_NAMED])}{more}"
    )


def _head(facts: SlotFacts, found: AttemptFacts, *, quiet: bool) -> None:
    row = facts.row
    where = f"slot {row.slot}, {' '.join(row.regions)}, {row.date1} to {row.date2}"
    say(f"{where}: attempt {found.number} of {len(facts.attempts)}, {found.fact.state}", quiet=quiet)


def _without_log(facts: SlotFacts, found: AttemptFacts | None, *, as_json: bool) -> int:
    if found is None:
        why = facts.fact.state.reason
        text = f"no attempt has started yet: it is {facts.row.state}{f' ({why})' if why else ''}"
    else:
        said = found.reason if found.fact.said else facts.fact.state.reason or found.reason
        text = f"attempt {found.number} never started its container: {said}"
    typer.echo(json.dumps({"slot": facts.row.slot, "log": None, "reason": text}) if as_json else text)
    return 0


def _lines(
    cloud: Cloud,
    gather: Callable[[], SlotFacts],
    found: AttemptFacts,
    usual_group: str,
    *,
    follow: bool,
    fixed: bool,
    pause_s: float,
) -> Iterator[LogLine]:
    """Lines of one attempt; followed, those of the attempts after it, too, unless one was named."""
    from glacierflow.aws.logs import LogStream

    while True:
        if found.log_stream is not None:
            stream = LogStream(cloud, found.log_group or usual_group, found.log_stream)
            if not follow:
                yield from stream.news()
                return
            over = partial(_is_over, gather, found.number)
            yield from stream.follow(over, pause_s=pause_s)
        if fixed or not follow or not _next(gather, found, pause_s):
            return
        found = gather().attempts[-1]


def _is_over(gather: Callable[[], SlotFacts], number: int) -> bool:
    """Whether an attempt has ended: the job has, or waits again, or is in a later attempt."""
    facts = gather()
    later = bool(facts.attempts) and facts.attempts[-1].number > number
    return later or not facts.live or facts.fact.state.state == "RUNNABLE"


def _next(gather: Callable[[], SlotFacts], found: AttemptFacts, pause_s: float) -> bool:
    """Wait for the attempt after this one; False where there will be none."""
    import time

    while True:
        facts = gather()
        if facts.attempts and facts.attempts[-1].number > found.number:
            return True
        if not facts.live:
            return False
        time.sleep(pause_s)


def as_line(entry: LogLine, *, as_json: bool) -> str:
    """One line of a log as it is printed."""
    if not as_json:
        return entry.text
    return json.dumps({"time": entry.time.isoformat(), "message": entry.text})
