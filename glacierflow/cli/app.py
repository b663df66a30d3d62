"""All verbs together, and the one try/except that turns errors into exit codes."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.exceptions import TyperException

from glacierflow import __version__
from glacierflow.cli import config, container, lambda_, local, prices, regions, stack, sync
from glacierflow.cli.check import check_command
from glacierflow.cli.clean import clean_command
from glacierflow.cli.compare import compare_command
from glacierflow.cli.doctor import doctor_command
from glacierflow.cli.options import DryRunCommand
from glacierflow.cli.panels import RUNS, Verbs
from glacierflow.cli.run import run_command
from glacierflow.cli.run_verbs import register_run_verbs
from glacierflow.cli.task import task_command
from glacierflow.errors import GlacierflowError

__all__ = ["app", "run"]

EXIT_WRONG, EXIT_USAGE, EXIT_INTERRUPTED = 1, 64, 130

app = Verbs(
    name="glacierflow",
    help="Turn a range of glacier regions into clipped satellite images, on AWS Batch or here.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
batch_app = Verbs(help="The same verbs of runs, for array jobs on AWS Batch.")
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
app.command(
    "task",
    hidden=True,
    epilog="Example: GLACIERFLOW_MANIFEST=manifest.json GLACIERFLOW_INDEX=0 glacierflow task",
)(task_command)
app.add_typer(batch_app, name="batch", rich_help_panel=RUNS)
app.add_typer(regions.app, name="regions")
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


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit code."""
    try:
        result = app(arguments, standalone_mode=False, prog_name="glacierflow")
    except TyperException as error:
        message = error.format_message()
        typer.echo(f"glacierflow: {message}", err=True)
        if not message.startswith("Usage:"):
            typer.echo(f"  next: see `{_path_of(error)} --help`", err=True)
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
