"""Following a run to its end, and what is done then: try again what may succeed, tell people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.planning import job_options
from glacierflow.cli.batch.runs import interval_s, show_status
from glacierflow.cli.context import CommandLine, load_line, say
from glacierflow.cli.results import fetched, where_it_is
from glacierflow.errors import GlacierflowError

if TYPE_CHECKING:
    from glacierflow.live.family import FamilyLook
    from glacierflow.model.manifest import Service
    from glacierflow.runs.progress import Limits
    from glacierflow.runs.states import FailureClass
    from glacierflow.runs.status import RunStatus


NotifyOption = Annotated[
    bool,
    typer.Option(
        "--notify",
        help="Publish a summary to the SNS topic when the run ends; always done if sns_topic_arn is set.",
    ),
]
AutoRetryOption = Annotated[
    bool,
    typer.Option(
        "--auto-retry",
        help="While it is watched: units that were reclaimed, got no machine, lacked memory or time, could "
        "not start, or met a service that was down are tried again with what they lacked, twice at most.",
    ),
]

_AUTO: tuple[FailureClass, ...] = ("spot", "capacity", "oom", "timeout", "start", "service")
"""What may end otherwise without anybody mending anything."""
_ROUNDS = 2

_EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Ending:
    """What was asked for."""

    notify: bool = False
    auto_retry: bool = False
    service: Service = "batch"
    """What takes those that are tried again by themselves."""


def follow_to_the_end(
    look: FamilyLook, line: CommandLine, ending: Ending, follow: Callable[[FamilyLook], RunStatus]
) -> tuple[FamilyLook, RunStatus]:
    """Follow a run, and the retries it gets by itself; the last look, and what it saw."""
    status = follow(look)
    for _ in range(_ROUNDS if ending.auto_retry else 0):
        try:
            retried = _retry(look, status, line, ending.service)
        except GlacierflowError as error:
            say(f"glacierflow: no retry was submitted: {error.message}")
            break
        if retried is None:
            break
        look = retried
        status = follow(look)
    return look, status


def _retry(look: FamilyLook, status: RunStatus, line: CommandLine, service: Service) -> FamilyLook | None:
    """The run with a retry more; None where there is nothing that may end otherwise by itself."""
    from glacierflow.cli.batch.runs import locate_run, open_run
    from glacierflow.launch import find_launcher
    from glacierflow.live.retry import find_retry, submit_retry
    from glacierflow.runs.family import read_family

    failures = {row.failure for row in status.rows}
    # somebody, or a limit, has ended a part of it: then it does not go on by itself
    if "cancelled" in failures or not failures & set(_AUTO):
        return None
    quiet = replace(line, quiet=True)
    found = locate_run(look.manifest.run_id, quiet)
    family = read_family(found.store, found.run_id)
    plan = find_retry(family, found.store, found.cloud, found.places, _AUTO, service)
    if not plan.units:
        return None
    options = job_options(found.loaded.settings, found.places)
    find = partial(find_launcher, service, found.cloud, found.loaded, found.places, **options)
    manifest, _ = submit_retry(family, plan, found.store, find)
    classes = ", ".join(f"{count} {name}" for name, count in plan.classes.items())
    say(f"glacierflow: retrying automatically: {classes} as {manifest.run_id}", quiet=line.quiet)
    return open_run(found.run_id, quiet)


def tell(look: FamilyLook, status: RunStatus, line: CommandLine, ending: Ending) -> None:
    """Publish the summary where that is asked for; a topic that cannot be used is said, and no more."""
    from glacierflow.aws.account import publish
    from glacierflow.cli.batch.runs import locate_run
    from glacierflow.cli.batch.spending import spent_by
    from glacierflow.runs.progress import summary_message

    quiet = replace(line, quiet=True)
    by_hand = load_line(quiet).settings.notifications.sns_topic_arn
    # a topic of aws_config.ini is on AWS, and the embedded cloud need not have it
    if not ending.notify and (by_hand is None or line.local):
        return
    try:
        found = locate_run(status.run_id, quiet)
        topic = by_hand or found.places.topic
        if topic is None:
            say("glacierflow: no summary was sent: there is no topic; set sns_topic_arn in [NOTIFICATIONS]")
        else:
            spent, _ = spent_by(look, status)
            publish(found.cloud, topic, *summary_message(status, spent.usd if spent else None))
    except GlacierflowError as error:
        say(f"glacierflow: no summary was sent: {error.message}")


def watch_run(
    look: FamilyLook,
    line: CommandLine,
    *,
    fetch: Path | None,
    as_json: bool,
    limits: Limits | None = None,
    ending: Ending | None = None,
) -> int:
    """Follow a run to its end, then show it, copy it and tell of it where asked; return the exit code.

    With limits, what is left of the run is stopped when it passes one.
    """
    from glacierflow.cli.batch.page import leave_report
    from glacierflow.cli.batch.spending import guarded_look
    from glacierflow.cli.render_status import follow, make_console
    from glacierflow.cli.results import fetch_run

    def to_its_end(one: FamilyLook) -> RunStatus:
        return follow(
            guarded_look(one, limits) if limits else one.now,
            console=make_console(stderr=as_json),
            interval_s=interval_s(line),
            quiet=line.quiet,
        )

    name, ending = look.manifest.name, ending or Ending()
    try:
        look, ended = follow_to_the_end(look, line, ending, to_its_end)
    except KeyboardInterrupt:
        look.keep()
        say(
            f"\nglacierflow: stopped watching; the run goes on. Look again with:\n"
            f"  glacierflow watch {name}{line.again()}"
        )
        return _EXIT_INTERRUPTED
    tell(look, ended, line, ending)
    code = show_status(look, ended, line, as_json=as_json)
    for text in where_it_is(look.manifest, look.store):
        typer.echo(text, err=as_json)
    if fetch is not None:
        for text in fetched(fetch_run(look.manifest, look.store, fetch), fetch):
            typer.echo(text, err=as_json)
    leave_report(look, line, fetch, err=as_json)
    return code
