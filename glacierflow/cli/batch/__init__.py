"""The verbs of runs, one file each; ``glacierflow.cli.run_verbs`` registers them."""

from __future__ import annotations

from glacierflow.cli.batch.cancel import cancel_command
from glacierflow.cli.batch.cost import cost_command
from glacierflow.cli.batch.fetch import fetch_command
from glacierflow.cli.batch.list import list_command
from glacierflow.cli.batch.methods import methods_command
from glacierflow.cli.batch.plan import plan_command
from glacierflow.cli.batch.queue import queue_command
from glacierflow.cli.batch.retry import retry_command
from glacierflow.cli.batch.status import status_command
from glacierflow.cli.batch.submit import submit_command
from glacierflow.cli.batch.verify import verify_command
from glacierflow.cli.batch.watch import watch_command
from glacierflow.cli.batch.why import why_command

__all__ = [
    "cancel_command",
    "cost_command",
    "fetch_command",
    "list_command",
    "methods_command",
    "plan_command",
    "queue_command",
    "retry_command",
    "status_command",
    "submit_command",
    "verify_command",
    "watch_command",
    "why_command",
]
