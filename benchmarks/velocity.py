"""What a node of velocity costs beside one plain match of OpenCV, in processor time of the same run.

    python benchmarks/velocity.py

The bars: 3.5 plain matches (chip 32, search 8) for the first pass, 6 with all passes. Needs the real scenes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from made_motion import Moved, moved, smooth

from glacierflow.velocity.track import Flag, Tracking, posting_of, prepare, track

_MATCHES = 4000
_SIZE = 640


def main() -> None:
    """Print both ratios; exit 1 where one is above its bar."""
    cv2.setNumThreads(1)
    pair = moved(smooth, size=_SIZE)
    tracked(pair, Tracking())  # compiled, and loaded
    plain = min(plain_match(pair) for _ in range(3))
    print(f"plain match, chip 32, search 8: {plain * 1e6:.0f} us")
    over = False
    for name, settings, bar in (
        ("first pass", Tracking(larger=(), second_pass=False, fill=False), 3.5),
        ("all passes", Tracking(), 6.0),
    ):
        node = min(tracked(pair, settings) for _ in range(3))
        print(f"{name}: {node * 1e6:.0f} us a node, {node / plain:.2f} plain matches (bar {bar})")
        over |= node / plain > bar
    sys.exit(int(over))


def plain_match(pair: Moved) -> float:
    """Seconds of one match."""
    began = time.process_time()
    for n in range(_MATCHES):
        y, x = 60 + n % 400, 60 + n % 170
        window, chip = pair.second[y - 8 : y + 40, x - 8 : x + 40], pair.first[y : y + 32, x : x + 32]
        cv2.matchTemplate(window, chip, cv2.TM_CCOEFF_NORMED)
    return (time.process_time() - began) / _MATCHES


def tracked(pair: Moved, settings: Tracking) -> float:
    """Seconds a node, the filters of both images included; nodes at the edge are not counted."""
    began = time.process_time()
    posting = posting_of(pair.first.shape, 10)
    found = track(prepare(pair.first, settings), prepare(pair.second, settings), posting, 8, settings)
    spent = time.process_time() - began
    return spent / int((found.flag != Flag.EDGE).sum())


if __name__ == "__main__":
    main()
