"""``glacierflow batch list``: the runs of a bucket, also long after AWS Batch has forgotten them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine, cloud_for, load_line
from glacierflow.cli.options import JsonOption

if TYPE_CHECKING:
    from glacierflow.runs.history import RunEntry

__all__ = ["list_command"]

LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the N newest runs.")]


@collects(*CONNECTION, "s3_bucket")
def list_command(
    line: CommandLine,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> int:
    """List runs from the bucket, newest first, as the last look at each left them."""
    from glacierflow.cli.render import to_json
    from glacierflow.runs.history import list_runs
    from glacierflow.services.places import find_places
    from glacierflow.store import open_store

    loaded = load_line(line)
    cloud, _ = cloud_for(loaded, line)
    store = open_store(f"s3://{find_places(loaded, cloud).bucket}", cloud)
    runs = list_runs(store, limit=limit)
    if as_json:
        typer.echo(to_json({"store": store.uri(""), "runs": [run.model_dump(mode="json") for run in runs]}))
        return 0
    if not runs:
        typer.echo(f"there is no run in {store.uri('')}")
    for run in runs:
        for text in _lines(run):
            typer.echo(text)
    return 0


def _lines(run: RunEntry) -> list[str]:
    from glacierflow.cli.status_view import ago

    lines = [run.run_id, f"    submitted {ago(run.submitted_at)}; {_progress(run)}"]
    if run.retry_of:
        lines.append(f"    a retry of {run.retry_of}")
    return lines


def _progress(run: RunEntry) -> str:
    if run.notice:
        return run.notice
    if run.size is None:
        return "nobody has looked at it yet: `glacierflow batch status` does"
    outcomes = ", ".join(f"{count} {name}" for name, count in run.outcomes.items())
    state = "ended" if run.complete else f"{run.ended} had ended at the last look"
    return f"{run.size} slots, {state}{f': {outcomes}' if outcomes else ''}"
