"""Progress of units that run in this process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import rich.progress

    from glacierflow.clip import Progress

__all__ = ["UnitProgress", "file_progress"]


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
            TextColumn("{task.description}"),
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
