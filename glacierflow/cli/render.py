"""Tables and lines about runs, for a terminal."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from glacierflow.runs.status import RunStatus, SlotRow

__all__ = ["progress_line", "progress_view", "status_json", "summary", "to_json"]

_MOST_ROWS = 60
"""A table longer than this shows what is wrong or partial, and counts the rest."""

_COLOURS = {"SUCCEEDED": "green", "RUNNING": "cyan", "FAILED": "red", "NOT_SUBMITTED": "red"}


def to_json(value: Any) -> str:  # noqa: ANN401 - whatever json takes
    """Indented JSON."""
    return json.dumps(value, indent=2)


def progress_line(status: RunStatus, elapsed_s: float) -> str:
    """One line: children by state, products so far, elapsed."""
    states = ", ".join(f"{count} {state}" for state, count in status.states.items())
    outcomes = Counter(status.outcomes)
    named = ", ".join(
        f"{outcomes[name]} {name}" for name in ("partial", "failed", "interrupted") if outcomes[name]
    )
    return f"{_clock(elapsed_s)}  {states}  {status.products} products{f'  ({named})' if named else ''}"


def progress_view(status: RunStatus, elapsed_s: float) -> RenderableType:
    """The same as a bar with counts, for a live display."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    ended = sum(row.ended for row in status.rows)
    counts = Text("  ").join(
        Text(f"{count} {state}", style=_COLOURS.get(state, "dim")) for state, count in status.states.items()
    )
    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=len(status.rows), completed=ended, width=30)
    grid.add_row(bar, f"{ended}/{len(status.rows)}", counts, f"{status.products} products", _clock(elapsed_s))
    return grid


def summary(status: RunStatus, console: Console) -> None:
    """The table at the end, and one line for all of it."""
    from rich.table import Table

    notable = [row for row in status.rows if row.wrong or row.reason]
    shown = status.rows if len(status.rows) <= _MOST_ROWS else tuple(notable[:_MOST_ROWS])
    if shown:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("slot", justify="right")
        table.add_column("region", no_wrap=True)
        table.add_column("state")
        table.add_column("outcome")
        for name in ("products", "left out", "attempts"):
            table.add_column(name, justify="right")
        table.add_column("why", overflow="fold")
        for row in shown:
            table.add_row(*_cells(row), style="red" if row.wrong else None)
        console.print(table)
    if len(status.rows) > len(shown):
        console.print(
            f"{len(status.rows) - len(shown)} of {len(status.rows)} slots are not shown; --json has all"
        )
    console.print(_verdict(status), markup=False, highlight=False, soft_wrap=True)


def _cells(row: SlotRow) -> tuple[str, ...]:
    from rich.markup import escape

    return (
        str(row.slot),
        escape(" ".join(row.regions)),
        row.state,
        row.outcome or "-",
        str(row.products),
        str(row.left_out),
        str(row.attempts),
        escape(row.reason or ""),
    )


def _verdict(status: RunStatus) -> str:
    if not status.finished:
        verdict = f"{sum(row.ended for row in status.rows)} of {len(status.rows)} slots have ended"
    else:
        verdict = f"all {len(status.rows)} slots have ended"
    wrong, partial = len(status.wrong), status.outcomes.get("partial", 0)
    parts = [verdict, f"{wrong} went wrong" if wrong else "nothing went wrong", f"{status.products} products"]
    if partial:
        parts.insert(2, f"{partial} partial")
    return "; ".join(parts)


def status_json(status: RunStatus) -> dict[str, Any]:
    """Everything about a run."""
    return {
        **status.model_dump(mode="json", exclude={"rows"}),
        "finished": status.finished,
        "states": status.states,
        "outcomes": status.outcomes,
        "products": status.products,
        "wrong": len(status.wrong),
        "slots": [row.model_dump(mode="json") for row in status.rows],
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
