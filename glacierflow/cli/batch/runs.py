"""What the verbs that look at a run share: finding it, showing it, following it to its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.context import CommandLine, cloud_for, load_line, say
from glacierflow.cli.options import complete_runs
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.aws.names import Places
    from glacierflow.cloud import Cloud
    from glacierflow.live.family import FamilyLook
    from glacierflow.runs.status import RunStatus
    from glacierflow.settings import LoadedSettings
    from glacierflow.store import Store
_LOCAL_INTERVAL_S, _AWS_INTERVAL_S = 1.0, 10.0
"""Seconds between two looks: the embedded cloud has nobody else to serve."""

_MOST_LOGS = 3
"""Kinds of failure whose example's log is read for the status."""

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="Name or id of a run, or the beginning of one; by default your latest run.",
        show_default=False,
        autocompletion=complete_runs,
    ),
]
SomeRunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="A run's name or id, or latest; without it your latest run, after a question.",
        autocompletion=complete_runs,
    ),
]
RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Runs to take together; by default your latest run.",
        show_default=False,
        autocompletion=complete_runs,
    ),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Show progress until the run has ended.")]
FetchOption = Annotated[
    Path | None,
    typer.Option("--fetch", metavar="DIR", help="Copy images, quicklooks and records there at the end."),
]


def check_fetch(fetch: Path | None, option: str = "--fetch") -> None:
    """Know that the folder can be written before hours are spent, without making it yet."""
    if fetch is None:
        return
    nearest = next(place for place in (fetch, *fetch.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UsageError(
            f"{option} = {fetch} cannot be written: {nearest} is no directory you may write to",
            next_step=f"name another directory with {option}",
        )


@dataclass(frozen=True, slots=True)
class Located:
    """A run that was named, and where it lies."""

    run_id: str
    store: Store
    cloud: Cloud
    loaded: LoadedSettings
    places: Places


def locate_run(run: str, line: CommandLine) -> Located:
    """The run named, or the latest; AWS Batch is not asked.

    Raises:
        UsageError: ``latest``, and there is no run at all.
    """
    from glacierflow.aws.names import find_places
    from glacierflow.cli.batch.planning import owner_of
    from glacierflow.local.control import default_home
    from glacierflow.model.layout import RunLayout
    from glacierflow.runs.history import find_run_id, latest_submission
    from glacierflow.store import open_store

    loaded = load_line(line)
    cloud, _ = cloud_for(loaded, line)
    places = find_places(loaded, cloud)
    where = f"s3://{places.bucket}"
    store = open_store(where, cloud)
    if run == "latest":
        logged = latest_submission(default_home().parent, where, local=line.local)
        # a run of an embedded cloud that was reset is still in the log
        if logged and store.exists(RunLayout(logged).manifest):
            run = logged
        else:
            run = _latest_in(store, owner_of(loaded.settings))
    else:
        run = find_run_id(store, default_home().parent, run)
    return Located(run, store, cloud, loaded, places)


def _latest_in(store: Store, owner: str | None) -> str:
    from glacierflow.runs.records import latest_of, latest_run

    if owner is None:
        return latest_run(store)
    run, somebody = latest_of(store, owner)
    if somebody:
        say(f"glacierflow: the latest run is {somebody}'s, you have none here: {run}")
    return run


def confirm_found(found: Located, run: str | None, act: str, *, yes: bool) -> None:
    """Name the run that was found and ask, where none was typed.

    Args:
        found: the run.
        run: as typed, an id or ``latest``; None where nothing was.
        act: what would be done with it, e.g. ``cancel``.
        yes: whether the answer was given already.

    Raises:
        UsageError: nobody is there to answer.
        typer.Abort: the answer is no.
    """
    if yes or run is not None:
        return
    say(f"your latest run is {found.run_id}")
    if not sys.stdin.isatty():
        raise UsageError(
            f"no run is named, and there is no terminal to confirm this one: {found.run_id}",
            next_step=f"add --yes, or write `glacierflow {act} {found.run_id}`",
        )
    if not typer.confirm(f"{act.capitalize()} it?", err=True):
        raise typer.Abort


def locate_runs(runs: Sequence[str] | None, line: CommandLine) -> tuple[Located, list[str]]:
    """Where the runs named lie, or the latest, and their ids.

    Raises:
        UsageError: ``latest``, and there is no run at all.
    """
    from glacierflow.model.manifest import is_whole_id

    first, *others = runs or ["latest"]
    found = locate_run(first, line)
    ids = [run if is_whole_id(run) else locate_run(run, line).run_id for run in others]
    return found, [found.run_id, *ids]


def heading(runs: Sequence[str], retries: Sequence[str]) -> list[str]:
    """Of which runs a report is."""
    return [*(f"run {run}" for run in runs), *(f"  with its retry {retry}" for retry in retries)]


def open_run(run: str, line: CommandLine) -> FamilyLook:
    """The run named, or the latest, ready to be looked at.

    Raises:
        UsageError: there is no such run.
    """
    return open_look(run, line)[0]


def open_look(run: str, line: CommandLine) -> tuple[FamilyLook, Cloud]:
    """The same, with the cloud that it is in.

    Raises:
        UsageError: there is no such run.
    """
    from glacierflow.live.family import FamilyLook

    found = locate_run(run, line)
    look = FamilyLook.open(found.run_id, found.store, found.cloud, **found.places.queues)
    return look, found.cloud


def show_status(look: FamilyLook, status: RunStatus, line: CommandLine, *, as_json: bool) -> int:
    """Print a run as it is; return the exit code."""
    from glacierflow.cli.batch.spending import spent_by
    from glacierflow.cli.render import to_json
    from glacierflow.cli.render_status import make_console, screen, status_json

    spent, _ = spent_by(look, status)
    logs = example_logs(look, status)
    for notice in look.notices:
        say(f"glacierflow: {notice}", quiet=line.quiet)
    if as_json:
        typer.echo(to_json(status_json(status, spent=spent, logs=logs)))
    else:
        screen(status, make_console(), spent=spent, logs=logs, again=line.again())
    return status.exit_code


def example_logs(look: FamilyLook, status: RunStatus) -> dict[int, tuple[str, ...]]:
    """By slot, how the logs end of the examples of the first kinds of failure; a call each."""
    from glacierflow.live.slot import example_log
    from glacierflow.runs.progress import group_failures

    groups = group_failures(status.rows)[:_MOST_LOGS]
    return {group.slot: example_log(look, status.rows[group.slot]) for group in groups}


def interval_s(line: CommandLine) -> float:
    """Seconds between two looks."""
    return _LOCAL_INTERVAL_S if line.local else _AWS_INTERVAL_S
