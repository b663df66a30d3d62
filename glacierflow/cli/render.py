"""Findings, estimates, JSON and the progress of units, for a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import rich.progress
    from rich.console import RenderableType

    from glacierflow.cost.estimate import Estimate
    from glacierflow.errors import Finding
    from glacierflow.runs.status import RunStatus
    from glacierflow.step.context import Progress


_COLOURS = {"SUCCEEDED": "green", "RUNNING": "cyan", "FAILED": "red", "NOT_SUBMITTED": "red"}

_MARKS = {"ok": "ok", "problem": "PROBLEM", "unknown": "unknown"}


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


def estimate_lines(estimate: Estimate) -> list[str]:
    """What it costs on each service, what is in it, and what was assumed."""
    lines = [
        _basis(estimate),
        f"about {estimate.images:,} images, {estimate.read_gb:,.1f} GB read, {estimate.written_gb:,.1f} GB"
        f" written, {estimate.child_hours:,.1f} child hours, the longest child"
        f" {estimate.longest_minutes:,.0f} min",
        f"  {'':<24}{'compute':>12}{'disk, IPv4':>12}{'shared':>12}{'in all':>12}",
    ]
    for line in estimate.lines:
        note = f"  {line.note}" if line.note else ""
        lines.append(
            f"  {line.service:<24}{_usd(line.compute_usd)}{_usd(line.around_usd)}{_usd(estimate.shared_usd)}"
            f"{_usd(estimate.total_usd(line))}{note}"
        )
    lines += [
        f"  shared: S3 requests ${estimate.requests_usd:,.2f}, logs ${estimate.logs_usd:,.2f},"
        f" a year of S3 storage ${estimate.storage_year_usd:,.2f}, between regions"
        f" ${estimate.egress_usd:,.2f}",
        f"prices: {estimate.price_source}",
        "assumed:",
        *(f"  - {text}" for text in estimate.assumptions),
    ]
    return lines


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """The same for programs."""
    totals = {line.service: round(estimate.total_usd(line), 4) for line in estimate.lines}
    return {**estimate.model_dump(mode="json"), "total_usd": totals}


def _basis(estimate: Estimate) -> str:
    if estimate.price_basis_why is None:
        return f"spot prices: {estimate.price_basis}"
    return f"spot prices: {estimate.price_basis} ({estimate.price_basis_why})"


def _usd(value: float) -> str:
    return f"{'$' + format(value, ',.2f' if value >= 1 else '.4f'):>12}"


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print a line a finding, with the fix below a problem; returns the exit code, 0, 1 or 2."""
    from glacierflow.errors import exit_code_of

    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return exit_code_of(findings)
    for finding in findings:
        typer.echo(f"{_MARKS[finding.verdict]:<8} {finding.name}: {finding.text}")
        if finding.next_step:
            typer.echo(f"         next: {finding.next_step}")
    return exit_code_of(findings)


class UnitProgress:
    """A bar for each region on a terminal; a line for each event elsewhere; nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: rich.progress.Progress | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __enter__(self) -> Callable[[Progress], None]:
        if self._quiet:
            return lambda _progress: None
        if not sys.stderr.isatty():
            return _line
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._bar.start()
        return self._draw

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            return
        name = progress.unit.region
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name)
        self._bar.update(self._tasks[name], completed=progress.done, total=progress.total)


def _line(progress: Progress) -> None:
    typer.echo(f"{progress.unit.region} {progress.done}/{progress.total} {progress.text}", err=True)


@contextlib.contextmanager
def file_progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar that counts files on a terminal; nothing when quiet, and nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
