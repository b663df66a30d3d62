"""An attempt: what a child is given, what starts it, and processes that are watched and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glacierflow.cloud import EMBEDDED_ACCESS_KEY

_INHERITED = ("HOME", "LANG", "VIRTUAL_ENV", "SSL_CERT_FILE", "PYTHONPATH", "GLACIERFLOW_HOME")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PYTHONS = frozenset({"python", "python3"})

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Order:
    """A container that is to be started, whichever service wants it."""

    owner: str
    """Id of the job or task it belongs to."""
    region: str
    image: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """Of its definition, its overrides and its service."""
    vcpus: float
    memory_mib: int
    user: str | None = None
    """``uid:gid`` of a container; None: its image's own."""
    read_only: bool = False
    """Whether a container's root file system is."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the first process of an attempt ended."""

    exit_code: int
    """As a shell counts: 128 plus the signal that killed it."""
    out_of_memory: bool = False


class StartError(Exception):
    """The attempt could not be started; the text is the reason AWS gives, such as ``CannotPull...``."""


class Attempt(Protocol):
    """A running attempt."""

    def lines(self) -> Iterator[str]:
        """What it writes, line by line, until it ends."""

    def wait(self) -> Ended:
        """Block until it has ended; nothing of it is left then."""

    def ask_to_end(self) -> None:
        """SIGTERM to its first process; nothing where it has ended."""

    def kill(self) -> None:
        """SIGKILL to all of it; nothing where it has ended."""


class Runner(Protocol):
    """Starts attempts."""

    def start(self, order: Order) -> Attempt:
        """Start an attempt.

        Raises:
            StartError: it cannot be started.
        """


def filled_command(command: Sequence[str], parameters: Mapping[str, str]) -> list[str]:
    """The command with ``Ref::name`` filled in."""
    return [parameters.get(word[5:], word) if word.startswith("Ref::") else word for word in command]


def child_argv(command: Sequence[str]) -> list[str]:
    """A container's command, run by this very Python and this very glacierflow."""
    words = list(command)
    if words[0] in _PYTHONS:
        return [sys.executable, *words[1:]]
    if words[0] == "glacierflow":
        script = Path(sys.executable).with_name("glacierflow")
        if script.exists():
            return [str(script), *words[1:]]
        return [sys.executable, "-c", "from glacierflow.cli import main; main()", *words[1:]]
    return words


def process_environment(scratch: Path, outer: Mapping[str, str]) -> dict[str, str]:
    """What a process on this machine needs, whatever service runs it; ``scratch`` is its TMPDIR."""
    kept = {name: outer[name] for name in _INHERITED if name in outer}
    path = os.pathsep.join([str(Path(sys.executable).parent), outer.get("PATH", os.defpath)])
    return kept | {"PATH": path, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}


def cloud_environment(endpoint: str, region: str, outer: Mapping[str, str]) -> dict[str, str]:
    """How a child of any service finds the embedded cloud.

    Real credentials of the person who started the cloud are handed on under other names, so that only imagery
    that stays real can use them.
    """
    real = {
        f"GLACIERFLOW_IMAGERY_{name}": outer[name]
        for name in _CREDENTIALS
        if outer.get(name) and outer.get("AWS_ACCESS_KEY_ID") != EMBEDDED_ACCESS_KEY
    }
    return real | {
        "GLACIERFLOW_EMBEDDED": "1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": EMBEDDED_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": EMBEDDED_ACCESS_KEY,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
    }


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
