"""What is measured: regions, lengths of series, and what must come out. Imports nothing heavy."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

FIRST_DAY = dt.date(2024, 7, 1)
EVERY_DAYS = 2
ACQUISITIONS = 24
"""In the archive, of every region."""
SHORT = 3
METHODS = ("predecessor", "odc-stac", "glacierflow")


@dataclass(frozen=True, slots=True)
class Case:
    """One region, and the least that glacierflow has to reach there."""

    region: str
    what: str
    long: int
    """Acquisitions of the long series."""
    fewer_bytes: float
    """At least so many times fewer than the predecessor, over the long series."""
    memory_mb: int
    """Peak resident memory stays below it, over the long series."""
    faster: float | None = None
    """At least so many times faster than the predecessor, an acquisition."""
    faster_short: float | None = None
    """Like ``faster``, for the whole short series with the start of Python in it."""
    floor_s: float | None = None
    """Seconds that an acquisition costs at least on two processors at 1 Gbit/s, as computed beforehand for
    regions of one tile: fetch 0.32, inflate, predictor, cubic and write together 0.97 of one processor."""

    def acquisitions(self, method: str) -> int:
        """Length of a method's long series; the predecessor's time goes up evenly, so 6 tell."""
        return min(self.long, 2 * SHORT) if method == "predecessor" else self.long


CASES = (
    Case("134_Arsuk", "small", 24, 40, 400, faster_short=12),
    Case("002_anoritup_kangerdlua", "median, 2 tiles", 24, 15, 500, faster=20),
    Case("049_jakobshavn", "large, 1 tile", 12, 4, 700, faster=4, floor_s=0.49),
    Case("122_upernavik_central", "3 tiles, 2 zones", 24, 15, 500, faster=150),
)
FASTER_THAN_ODC = 2.5
"""An acquisition of the long series, in every region."""
TIMES_THE_FLOOR = 1.5
"""At most, on the large region."""


def day_of(number: int) -> dt.date:
    """Day of the acquisition with this number, from 0."""
    return FIRST_DAY + dt.timedelta(days=number * EVERY_DAYS)
