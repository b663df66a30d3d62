"""How long `batch status` takes for thousands of children, and how many calls: with fakes that count.

    python benchmarks/status_calls.py [children]

The fakes answer at once, so the seconds are glacierflow's own; a call to AWS takes about 0.05 s more, and the
calls of one look follow each other. Exits 1 where a look takes longer than three seconds in all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from big_run import BigRun

CALL_S = 0.05
LIMIT_S = 3.0
THREADS = 16
"""Receipts are read by so many threads."""


def measure(name: str, run: BigRun, look: Callable[[], object], *, limited: bool = True) -> bool:
    """Time one look; True where it is quick enough."""
    run.calls()
    begin = time.perf_counter()
    look()
    seconds = time.perf_counter() - begin
    calls = run.calls()
    total = seconds + calls * CALL_S / (1 if limited else THREADS)
    at_once = "" if limited else f", {THREADS} at once"
    print(f"{name:<42} {seconds:6.2f} s  {calls:6d} calls  {total:6.2f} s with {CALL_S} s a call{at_once}")
    return total <= LIMIT_S or not limited


def main() -> int:
    """Measure the looks of a user at a big run."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    run = BigRun(size)
    fine = [measure("nothing has run", run, lambda: run.open().now(quick=True))]
    run.finish(failed=size // 50, reclaimed=0.05)
    fine.append(measure("all ended, nobody has looked", run, lambda: run.open().now(quick=True)))
    measure("every receipt read once (batch watch)", run, lambda: run.open().now(), limited=False)
    fine.append(measure("the look after that", run, lambda: run.open().now(quick=True)))
    return 0 if all(fine) else 1


if __name__ == "__main__":
    raise SystemExit(main())
