"""``glacierflow batch``: submit array jobs, look at them, and put right what went wrong; one file a verb."""

from __future__ import annotations

import typer

from glacierflow.cli.batch.cancel import cancel_command
from glacierflow.cli.batch.cost import cost_command
from glacierflow.cli.batch.list import list_command
from glacierflow.cli.batch.logs import logs_command
from glacierflow.cli.batch.methods import methods_command
from glacierflow.cli.batch.plan import plan_command
from glacierflow.cli.batch.queue import queue_command
from glacierflow.cli.batch.retry import retry_command
from glacierflow.cli.batch.status import status_command
from glacierflow.cli.batch.submit import submit_command
from glacierflow.cli.batch.verify import verify_command
from glacierflow.cli.batch.watch import watch_command
from glacierflow.cli.batch.why import why_command
from glacierflow.cli.options import DryRunCommand

__all__ = ["app", "submit_command"]

app = typer.Typer(
    help="Run on AWS Batch: submit, look, verify, put right.", no_args_is_help=True, rich_markup_mode=None
)
app.command("plan", epilog="Example: glacierflow batch plan --date1 2016-01-01 --date2 2025-12-31 --by year")(
    plan_command
)
app.command(
    "submit",
    cls=DryRunCommand,
    epilog="Example: glacierflow batch submit --satellite sentinel2 --start-end-index 0:23 --dry-run",
)(submit_command)
app.command("status", epilog="Example: glacierflow batch status latest")(status_command)
app.command("watch", epilog="Example: glacierflow batch watch latest --fetch results")(watch_command)
app.command("logs", epilog="Example: glacierflow batch logs latest --region 049_jakobshavn --follow")(
    logs_command
)
app.command("verify", epilog="Example: glacierflow batch verify latest --png coverage.png")(verify_command)
app.command(
    "retry",
    cls=DryRunCommand,
    epilog="Example: glacierflow batch retry latest --only oom,spot --dry-run",
)(retry_command)
app.command("cancel", epilog="Example: glacierflow batch cancel latest --region 049_jakobshavn")(
    cancel_command
)
app.command("why", epilog="Example: glacierflow batch why latest 049_jakobshavn")(why_command)
app.command("queue", epilog="Example: glacierflow batch queue")(queue_command)
app.command("cost", epilog="Example: glacierflow batch cost latest --csv cost.csv")(cost_command)
app.command("list", epilog="Example: glacierflow batch list --limit 5")(list_command)
app.command("methods", epilog="Example: glacierflow batch methods latest --out methods")(methods_command)
