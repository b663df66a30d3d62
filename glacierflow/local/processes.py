"""Process trees as the kernel shows them in /proc: who belongs to a child, and how much memory it holds."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["kill_session", "session_memory_mib", "start_ticks"]

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    session: int
    started: int
    """Clock ticks since boot: with the pid it names a process for ever."""
    rss: int
    """Bytes."""


def _read(pid: int) -> _Process | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command may hold spaces and brackets; the numbered fields start after its closing bracket.
    fields = text.rpartition(")")[2].split()
    return _Process(pid, int(fields[1]), int(fields[3]), started=int(fields[19]), rss=int(fields[21]) * _PAGE)


def _all() -> Iterator[_Process]:
    with contextlib.suppress(OSError):
        for entry in os.listdir(_PROC):  # noqa: PTH208 - names only; this runs five times a second
            if entry.isdigit() and (process := _read(int(entry))):
                yield process


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where there is no such process."""
    process = _read(pid)
    return process.started if process else None


def session_memory_mib(leaders: Iterable[int]) -> dict[int, float]:
    """Resident memory by leader, of its whole session and of all its descendants, in MiB."""
    wanted = set(leaders)
    processes = {process.pid: process for process in _all()}
    totals = dict.fromkeys(wanted, 0.0)
    for process in processes.values():
        leader = process.session if process.session in wanted else _ancestor(process, processes, wanted)
        if leader is not None:
            totals[leader] += process.rss / 2**20
    return totals


def _ancestor(process: _Process, processes: dict[int, _Process], wanted: set[int]) -> int | None:
    current: _Process | None = process
    while current is not None:
        if current.pid in wanted:
            return current.pid
        current = processes.get(current.parent)
    return None


def kill_session(leader: int) -> None:
    """SIGKILL to every process of the session, the leader's process group first."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for process in _all():
        if process.session == leader:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
