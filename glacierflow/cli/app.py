"""All verbs together, and the one try/except that turns errors into exit codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from glacierflow.cli import (
    batch,
    config,
    container,
    lambda_,
    local,
    prices,
    regions,
    stack,
    sync,
    velocity,
    velocity_made,
)
from glacierflow.cli.check import check_command, compare_command
from glacierflow.cli.clean import clean_command
from glacierflow.cli.config import doctor_command
from glacierflow.cli.logs import logs_command
from glacierflow.cli.options import DryRunCommand
from glacierflow.cli.panels import RUNS, PanelCommand, Verbs, instead_of
from glacierflow.cli.run import run_command
from glacierflow.errors import GlacierflowError
from glacierflow.version import __version__

EXIT_WRONG, EXIT_USAGE, EXIT_INTERRUPTED = 1, 64, 130

app = Verbs(
    name="glacierflow",
    help="Turn a range of glacier regions into clipped satellite images, on AWS Batch or here.",
    pretty_exceptions_enable=False,
)
batch_app = Verbs(help="The same commands for runs, as array jobs on AWS Batch.")


@dataclass(frozen=True, slots=True)
class _RunVerb:
    """One verb, and what follows it in the example of its help."""

    name: str
    command: Callable[..., Any]
    example: str
    help: str
    cls: type[PanelCommand] = PanelCommand


_RUN_VERBS = (
    _RunVerb(
        "plan",
        batch.plan_command,
        "--date1 2016-01-01 --date2 2025-12-31 --by year --price",
        "Show what a submission would do.",
    ),
    _RunVerb(
        "submit",
        batch.submit_command,
        "--satellite sentinel2 --start-end-index 0:23 --dry-run",
        "Start a run.",
        DryRunCommand,
    ),
    _RunVerb("status", batch.status_command, "--json", "Show the state of a run."),
    _RunVerb("watch", batch.watch_command, "--fetch results", "Follow a run until it ends."),
    _RunVerb("why", batch.why_command, "049_jakobshavn", "Explain what happened to one region."),
    _RunVerb("logs", logs_command, "--region 049_jakobshavn --follow", "Print what one child wrote."),
    _RunVerb(
        "retry", batch.retry_command, "--only oom,spot --dry-run", "Try again what failed.", DryRunCommand
    ),
    _RunVerb("cancel", batch.cancel_command, "--region 049_jakobshavn", "End what is still running."),
    _RunVerb("verify", batch.verify_command, "--png coverage.png", "Compare images with receipts."),
    _RunVerb("fetch", batch.fetch_command, "--to results", "Copy a run's images to a folder."),
    _RunVerb("report", batch.report_command, "--open", "Write a page that shows a run."),
    _RunVerb("list", batch.list_command, "--limit 5", "List the runs of the bucket."),
    _RunVerb("cost", batch.cost_command, "--csv cost.csv", "Add up what runs have cost."),
    _RunVerb("methods", batch.methods_command, "--out methods", "Write the methods paragraph."),
    _RunVerb("queue", batch.queue_command, "--json", "Show what waits in the queues."),
)


def register_run_verbs(app: Verbs, path: str) -> None:
    """Register the verbs of runs in an app whose commands begin with ``path``: ``glacierflow batch``."""
    for verb in _RUN_VERBS:
        app.command(
            verb.name,
            cls=verb.cls,
            short_help=verb.help,
            rich_help_panel=RUNS,
            epilog=f"Example: {path} {verb.name} {verb.example}",
        )(verb.command)


register_run_verbs(app, "glacierflow")
register_run_verbs(batch_app, "glacierflow batch")
app.command(
    "run",
    cls=DryRunCommand,
    epilog="Example: glacierflow run --local --satellite landsat --regions 134_Arsuk",
)(run_command)
app.command("check", epilog="Example: glacierflow check output")(check_command)
app.command("compare", epilog="Example: glacierflow compare output s3://bucket/prefix")(compare_command)
app.command("doctor", epilog="Example: glacierflow doctor --profile science")(doctor_command)
app.command(
    "clean",
    cls=DryRunCommand,
    epilog="Example: glacierflow clean --satellite landsat --regions 134_Arsuk --dry-run",
)(clean_command)


def task_command() -> None:
    """Process one slot of a run (GLACIERFLOW_MANIFEST), or one region by settings, as a child does."""
    from glacierflow.task import leave, main

    leave(main())


app.command(
    "task",
    hidden=True,
    epilog="Example: GLACIERFLOW_MANIFEST=manifest.json GLACIERFLOW_INDEX=0 glacierflow task",
)(task_command)
app.add_typer(batch_app, name="batch", rich_help_panel=RUNS)
app.add_typer(regions.app, name="regions")
velocity.app.command(
    "run",
    epilog="Example: glacierflow velocity run output --satellite landsat --mask rock.gpkg --region 134_Arsuk",
)(velocity_made.run_command)
velocity.app.command(
    "at", epilog="Example: glacierflow velocity at --where output --region 134_Arsuk flowline.gpkg"
)(velocity_made.at_command)
app.add_typer(velocity.app, name="velocity")
app.add_typer(config.app, name="config")
app.add_typer(stack.app, name="stack")
app.add_typer(sync.app, name="sync")
app.add_typer(prices.app, name="prices")
app.add_typer(local.app, name="local")
app.add_typer(container.app, name="container")
app.add_typer(lambda_.app, name="lambda")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"glacierflow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn a range of glacier regions into clipped satellite images, on AWS Batch or here."""


@cache
def _command() -> Any:  # noqa: ANN401 - typer's own class of commands is not public
    """All verbs with all their options, made once: that takes longer than most of them."""
    return typer.main.get_command(app)


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit code."""
    try:
        result = _command()(arguments, standalone_mode=False, prog_name="glacierflow")
    except TyperException as error:
        message = error.format_message()
        typer.echo(f"glacierflow: {message}", err=True)
        if not message.startswith("Usage:"):
            instead = instead_of(str(getattr(error, "option_name", "")))
            typer.echo(f"  next: {instead or f'see `{_path_of(error)} --help`'}", err=True)
        return EXIT_USAGE
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("glacierflow: stopped", err=True)
        return EXIT_INTERRUPTED
    except GlacierflowError as error:
        typer.echo(f"glacierflow: {error.message}", err=True)
        if error.next_step:
            typer.echo(f"  next: {error.next_step}", err=True)
        return EXIT_USAGE if error.exit_code == EXIT_USAGE else EXIT_WRONG
    return result if isinstance(result, int) else 0


def _path_of(error: TyperException) -> str:
    """The command that was mistyped, as far as it was understood."""
    context = getattr(error, "ctx", None)
    return context.command_path if context else "glacierflow"
