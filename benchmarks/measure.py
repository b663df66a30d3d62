"""Measure a whole process from outside: wall clock, processor, peak memory, and what a server sent it.

Linux counts the peak of the process that started it too, so this module and whoever uses it stay small.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process cost."""

    wall_s: float
    cpu_s: float
    """User and system, of the process and of the children it waited for."""
    peak_mb: float
    """Largest resident size of the process, or of the largest of its children."""
    megabytes: float
    """Bodies the server sent, 1e6 bytes."""
    requests: int
    other_cores: float
    """Processors that everything else on the machine took meanwhile, the server included."""


class CommandError(RuntimeError):
    """A measured command did not end with 0."""


def measure(command: list[str], log: Path, server: str, *, folder: Path) -> Measured:
    """Run a command and wait for it.

    Args:
        command: program and arguments.
        log: file for its output.
        server: address whose ``/counters`` tell what was sent.
        folder: working directory.

    Raises:
        CommandError: it ended with something other than 0.
    """
    before, busy_before = counters(server), _busy_s()
    start = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        end = log.read_text(errors="replace")[-2000:]
        raise CommandError(f"{' '.join(command)} ended with {process.returncode}:\n{end}")
    after, cpu_s = counters(server), usage.ru_utime + usage.ru_stime
    return Measured(
        wall_s=round(wall_s, 3),
        cpu_s=round(cpu_s, 3),
        # Linux counts kilobytes
        peak_mb=round(usage.ru_maxrss / 1024, 1),
        megabytes=round((after["bytes"] - before["bytes"]) / 1e6, 3),
        requests=after["requests"] - before["requests"],
        other_cores=round(max(0.0, _busy_s() - busy_before - cpu_s) / wall_s, 2),
    )


def counters(server: str) -> dict[str, int]:
    """What a server has sent since it started."""
    with urllib.request.urlopen(f"{server}/counters", timeout=30) as answer:
        found: dict[str, int] = json.load(answer)
        return found


def _busy_s() -> float:
    """Processor seconds of the whole machine that were not idle, since it started."""
    user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
