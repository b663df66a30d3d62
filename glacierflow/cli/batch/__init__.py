"""The verbs of runs, one file each; ``glacierflow.cli.app`` registers them."""

from __future__ import annotations

from glacierflow.cli.batch.page import report_command
from glacierflow.cli.batch.report import cost_command, fetch_command, methods_command
from glacierflow.cli.batch.retry import cancel_command, retry_command
from glacierflow.cli.batch.status import list_command, queue_command, status_command, watch_command
from glacierflow.cli.batch.submit import plan_command, submit_command
from glacierflow.cli.batch.verify import verify_command
from glacierflow.cli.batch.why import why_command

__all__ = [
    "cancel_command",
    "cost_command",
    "fetch_command",
    "list_command",
    "methods_command",
    "plan_command",
    "queue_command",
    "report_command",
    "retry_command",
    "status_command",
    "submit_command",
    "verify_command",
    "watch_command",
    "why_command",
]
