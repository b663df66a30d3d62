"""Three units to try first, and what their receipts tell of all the others. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from glacierflow.model import Region, Unit
from glacierflow.receipt import Receipt
from glacierflow.runs.workload import Measured, expected_seconds, image_count

__all__ = ["choose_canary", "measure"]


def choose_canary(units: Sequence[Unit], regions: Mapping[str, Region]) -> tuple[Unit, ...]:
    """The units expected to take least, middling and longest; fewer where there are not three."""
    ordered = sorted(units, key=lambda unit: expected_seconds(unit, regions[unit.region]))
    places = sorted({0, len(ordered) // 2, len(ordered) - 1})
    return tuple(ordered[place] for place in places)


def measure(receipts: Sequence[Receipt], regions: Mapping[str, Region]) -> Measured:
    """Peaks by region, and how much longer than the model attempts took, by the median.

    Receipts of slots with several units, and attempts that found nothing, tell peaks only.
    """
    peaks: dict[str, float] = {}
    factors = []
    for receipt in receipts:
        for unit in receipt.units:
            peaks[unit.region] = max(peaks.get(unit.region, 0.0), receipt.peak_memory_mb)
        unit = receipt.units[0]
        images = image_count(receipt.counts.found, unit.satellite, regions[unit.region])
        if len(receipt.units) > 1 or images <= 0 or receipt.outcome not in {"done", "partial"}:
            continue
        took = (receipt.ended_at - receipt.started_at).total_seconds()
        factors.append(took / expected_seconds(unit, regions[unit.region], images=images))
    return Measured(peak_mb=peaks, time_factor=statistics.median(factors) if factors else 1.0)
