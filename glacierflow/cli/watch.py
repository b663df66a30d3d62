"""Following a run to its end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from glacierflow.cli.render import progress_line, progress_view
from glacierflow.errors import StoreError, UnavailableError

if TYPE_CHECKING:
    from rich.console import Console

    from glacierflow.runs.status import RunStatus

__all__ = ["follow", "make_console"]

_HEARTBEAT_S = 15.0
"""A line is printed at least this often where there is no live display, in seconds."""

_PATIENCE_S = 600.0
"""How long a service may stay away while a run is watched, in seconds; the run itself goes on anyway."""

Show = Callable[["RunStatus", float], None]


def make_console(*, stderr: bool = False) -> Console:
    """A console; wide enough for the table where it is not a terminal."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=200)


def follow(
    look: Callable[[], RunStatus], *, console: Console, interval_s: float, quiet: bool = False
) -> RunStatus:
    """Look again and again until every slot has ended; return the last look.

    A service that stays away for a while does not end the watch.

    Raises:
        UnavailableError: AWS could not be reached for ten minutes.
    """
    begin = last_answer = time.monotonic()
    with _display(console, quiet=quiet) as show:
        while True:
            try:
                status = look()
            except (UnavailableError, StoreError):
                if time.monotonic() - last_answer > _PATIENCE_S:
                    raise
            else:
                last_answer = time.monotonic()
                show(status, last_answer - begin)
                if status.finished:
                    return status
            time.sleep(interval_s)


@contextlib.contextmanager
def _display(console: Console, *, quiet: bool) -> Iterator[Show]:
    if quiet:
        yield lambda _status, _elapsed: None
    elif console.is_terminal:
        from rich.live import Live

        with Live(console=console, auto_refresh=False) as live:
            yield lambda status, elapsed: live.update(progress_view(status, elapsed), refresh=True)
    else:
        yield _plain_lines(stderr=console.stderr)


def _plain_lines(*, stderr: bool) -> Show:
    """Print a line when something changed, or when it is time for a sign of life."""
    before: tuple[object, ...] = ()
    printed_at = 0.0

    def show(status: RunStatus, elapsed_s: float) -> None:
        nonlocal before, printed_at
        now = (status.states, status.outcomes, status.products)
        if now != before or elapsed_s - printed_at >= _HEARTBEAT_S:
            typer.echo(progress_line(status, elapsed_s), err=stderr)
            before, printed_at = now, elapsed_s

    return show
