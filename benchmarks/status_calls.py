"""How long `batch status` takes for thousands of children, and how many calls: with fakes that count.

    python benchmarks/status_calls.py [children]

The fakes answer at once, so the seconds are glacierflow's own; a call to AWS takes about 0.05 s more, and the
calls of one look follow each other. Exits 1 where a look takes more calls than `docs/decisions.md` promises.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from big_run import BigRun

CALL_S = 0.05
FIRST, LATER = 60, 10
"""Most calls of the first look at children that have ended, and of a look after it."""


def measure(name: str, run: BigRun, look: Callable[[], object], limit: int) -> bool:
    """Time one look; True where it takes few enough calls."""
    run.calls()
    begin = time.perf_counter()
    look()
    seconds = time.perf_counter() - begin
    calls = run.calls()
    total = seconds + calls * CALL_S
    print(f"{name:<42} {seconds:6.2f} s  {calls:6d} calls  {total:6.2f} s with {CALL_S} s a call")
    return calls <= limit


def main() -> int:
    """Measure the looks of a user at a big run."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    run = BigRun(size)
    fine = [measure("nothing has run", run, lambda: run.open().now(quick=True), LATER)]
    run.finish(failed=size // 50, reclaimed=0.05)
    watch = run.open()
    fine.append(measure("all ended, nobody has looked", run, watch.now, FIRST))
    fine.append(measure("the same watch again", run, watch.now, LATER))
    fine.append(measure("batch status after that", run, lambda: run.open().now(quick=True), LATER))
    return 0 if all(fine) else 1


if __name__ == "__main__":
    raise SystemExit(main())
