"""A run on one screen or as JSON, once or until it has ended."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from glacierflow.cli.render import progress_line, progress_view
from glacierflow.errors import StoreError, UnavailableError
from glacierflow.model.manifest import short_name
from glacierflow.runs.progress import estimate_end, group_failures, products_in_words

if TYPE_CHECKING:
    from rich.console import Console

    from glacierflow.cost.gather import Spent
    from glacierflow.runs.progress import Eta, FailureGroup
    from glacierflow.runs.status import RunStatus, SlotRow


_Logs: TypeAlias = Mapping[int, Sequence[str]]
"""The last lines of some slots' logs."""

_NO_LOGS: _Logs = {}

_MOST_ROWS = 30
"""Of a run with more slots than this only the groups of failures are shown."""

_MOST_GROUPS = 8

_HEARTBEAT_S = 15.0
"""A line is printed at least this often where there is no live display, in seconds."""

_PATIENCE_S = 600.0
"""How long a service may stay away while a run is watched, in seconds; the run itself goes on anyway."""

Show = Callable[["RunStatus", float], None]


def screen(
    status: RunStatus,
    console: Console,
    *,
    spent: Spent | None = None,
    logs: _Logs = _NO_LOGS,
    again: str = "",
) -> None:
    """Everything that matters, the table of slots where it is short, and one line for all of it.

    The commands in it end with ``again``: the options that lead to the same run.
    """
    for text in _lines(status, spent):
        _plain(console, text)
    if len(status.rows) <= _MOST_ROWS:
        _table(status, console)
    groups = group_failures(status.rows)
    for group in groups[:_MOST_GROUPS]:
        for text in _group_lines(group, status, logs, again):
            _plain(console, text)
    if len(groups) > _MOST_GROUPS:
        _plain(console, f"{len(groups) - _MOST_GROUPS} more kinds of failure; --json has all")
    if status.unexplained:
        _plain(
            console,
            f"{status.unexplained} x not explained yet: AWS Batch is asked about a few hundred in a look; "
            "look again for more, or --receipts asks for all",
        )
    _plain(console, _verdict(status))


def status_json(status: RunStatus, *, spent: Spent | None = None, logs: _Logs = _NO_LOGS) -> dict[str, Any]:
    """Everything about a run."""
    return {
        **status.model_dump(mode="json", exclude={"rows"}),
        "finished": status.finished,
        "states": status.states,
        "outcomes": status.outcomes,
        "products": status.products,
        "new": status.new,
        "already_there": status.products - status.new,
        "attempts": status.attempts,
        "reclaims": status.reclaims,
        "unread_receipts": status.unread,
        "unexplained": status.unexplained,
        "wrong": len(status.wrong),
        "cost": spent.model_dump(mode="json") if spent else None,
        "eta": estimate_end(status).model_dump(mode="json"),
        "failures": [
            {**group.model_dump(mode="json"), "log_tail": logs.get(group.slot, ())}
            for group in group_failures(status.rows)
        ],
        "slots": [row.model_dump(mode="json") for row in status.rows],
    }


def _lines(status: RunStatus, spent: Spent | None) -> list[str]:
    lines = [
        f"run       {short_name(status.run_id)}  {status.run_id}",
        f"submitted {status.created_at:%Y-%m-%d %H:%M} UTC, {ago(status.created_at)}; {status.store}",
        f"slots     {len(status.rows)}: {_counts(status.states)}",
    ]
    if status.outcomes:
        lines.append(f"outcomes  {_counts(status.outcomes)}")
    unread = f" (the receipts of {status.unread} slots are not read yet: --receipts)" if status.unread else ""
    lines.append(f"products  {products_in_words(status.new, status.products)}{unread}")
    reclaims = status.reclaims or "none"
    lines.append(f"attempts  {status.attempts} ({reclaims} interrupted by spot reclaims)")
    if spent is not None:
        lines.append(f"cost      {_spent(spent)}")
    if status.retries:
        lines.append(f"retries   {', '.join(status.retries)}")
    if not status.finished:
        lines.append(f"ends in   {_eta(estimate_end(status))}")
    return lines


def _spent(spent: Spent) -> str:
    missing = f" for {spent.attempts} attempts, {spent.unknown} not known yet" if spent.unknown else ""
    prices = f" at prices of {spent.prices_of}, not of where it runs" if spent.prices_of else ""
    return f"{spent.usd:.4f} US dollars so far{missing}{prices}; `glacierflow batch cost` has the details"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _eta(eta: Eta) -> str:
    if eta.low_s is None or eta.high_s is None:
        return f"not known yet: {eta.basis}"
    return f"{span(eta.low_s)} to {span(eta.high_s)} ({eta.basis})"


def ago(when: dt.datetime) -> str:
    """How long ago, roughly."""
    return f"{span((dt.datetime.now(dt.UTC) - when).total_seconds())} ago"


def span(seconds: float) -> str:
    """A duration in the unit that fits it: ``40 s``, ``12 min``, ``3.5 h``, ``9 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def with_run(next_step: str, run_id: str, again: str = "") -> str:
    """A verdict's next step with the whole command in it, and the options that lead to the same run."""
    run = short_name(run_id)
    return (
        next_step.replace("`retry", f"`glacierflow batch retry {run}{again}")
        .replace("`glacierflow batch logs`", "the log below")
        .replace("`glacierflow batch verify`", f"`glacierflow batch verify {run}{again}`")
    )


def _group_lines(group: FailureGroup, status: RunStatus, logs: _Logs, again: str) -> list[str]:
    return [
        f"{len(group.slots)} x {group.failure}, e.g. {group.region} (slot {group.slot}): {group.example}",
        f"    next: {with_run(group.next_step, status.run_id, again)}",
        f"    log:  glacierflow batch logs {short_name(status.run_id)} --slot {group.slot}{again}",
        *(f"        {text}" for text in logs.get(group.slot, ())),
    ]


def _table(status: RunStatus, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("slot", justify="right")
    table.add_column("region", no_wrap=True)
    table.add_column("state")
    table.add_column("outcome")
    for name in ("products", "left out", "attempts"):
        table.add_column(name, justify="right")
    table.add_column("why", overflow="fold")
    for row in status.rows:
        table.add_row(*_cells(row), style="red" if row.wrong else None)
    console.print(table)


def _cells(row: SlotRow) -> tuple[str, ...]:
    from rich.markup import escape

    return (
        str(row.slot),
        escape(" ".join(row.regions)),
        row.state,
        row.outcome or "-",
        str(row.products) if row.read else "?",
        str(row.left_out) if row.read else "?",
        str(row.attempts),
        escape(row.failure or ""),
    )


def _verdict(status: RunStatus) -> str:
    done = sum(row.ended and not row.wrong for row in status.rows)
    regions = {row.regions for row in status.rows if len(row.regions) == 1}
    # a region of several years, or several regions in one slot, are not counted by region
    kind = "regions" if len(regions) == len(status.rows) else "slots"
    wrong, partial = len(status.wrong), status.outcomes.get("partial", 0)
    parts = [
        f"{done} of {len(status.rows)} {kind} done",
        _count(wrong, "failure"),
        _count(status.products, "image"),
    ]
    if partial:
        parts.insert(2, f"{partial} partial")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _plain(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


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
