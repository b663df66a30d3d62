"""The verbs of runs, registered once for two places: ``glacierflow status``, ``glacierflow batch status``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from glacierflow.cli import batch
from glacierflow.cli.logs import logs_command
from glacierflow.cli.options import DryRunCommand
from glacierflow.cli.panels import RUNS, PanelCommand, Verbs

__all__ = ["register_run_verbs"]


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
    _RunVerb("status", batch.status_command, "--json", "Show how a run stands."),
    _RunVerb("watch", batch.watch_command, "--fetch results", "Follow a run until it ends."),
    _RunVerb("why", batch.why_command, "049_jakobshavn", "Explain what happened to one region."),
    _RunVerb("logs", logs_command, "--region 049_jakobshavn --follow", "Print what one child wrote."),
    _RunVerb(
        "retry", batch.retry_command, "--only oom,spot --dry-run", "Try again what failed.", DryRunCommand
    ),
    _RunVerb("cancel", batch.cancel_command, "--region 049_jakobshavn", "End what is still running."),
    _RunVerb("verify", batch.verify_command, "--png coverage.png", "Compare images with receipts."),
    _RunVerb("fetch", batch.fetch_command, "--to results", "Copy a run's images to a folder."),
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
