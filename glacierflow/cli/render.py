"""JSON, and the progress of a run as a line or a bar."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from glacierflow.runs.status import RunStatus

__all__ = ["clock", "progress_line", "progress_view", "to_json"]

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
    return f"{clock(elapsed_s)}  {states}  {status.products} products{f'  ({named})' if named else ''}"


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
    grid.add_row(bar, f"{ended}/{len(status.rows)}", counts, f"{status.products} products", clock(elapsed_s))
    return grid


def clock(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
