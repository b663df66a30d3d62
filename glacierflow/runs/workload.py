"""What a unit is expected to need: memory, seconds, images. Models fitted to measurements, for planning only.

Measured on the made-up archive (2 cores, cubic, several acquisitions in flight; the whole process):

| region                  | million pixels | tiles | images | peak MB |
|-------------------------|---------------:|------:|-------:|--------:|
| 134_Arsuk               |           0.86 |     1 |      3 |     345 |
| 002_anoritup_kangerdlua |           5.38 |     2 |     24 |     420 |
| 122_upernavik_central   |           7.73 |     3 |     24 |     474 |
| 049_jakobshavn          |          26.45 |     1 |     12 |     504 |
| 090_petermann           |         114.56 |     4 |      2 |     799 |

The highest of several runs; the first has its kernels compiled on the way. Seconds were measured with three
images each: 0.8 an image for 134_Arsuk, 1.6 for 049_jakobshavn, 11.4 (of two) for 090_petermann. As many
acquisitions are in flight as memory has room for, so memory depends on the region and not on how many images
there are. ``docs/reference/memory.md`` tells it to users.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from glacierflow.errors import UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.model.receipt import Receipt
from glacierflow.model.records import PIXEL_SIZE_M, Region, Satellite, Unit

VCPUS: dict[int, int] = {7_500: 1, 15_500: 2, 31_500: 4, 63_200: 8}
"""vCPUs of each class: the share of an r-type instance that the memory takes anyway."""

_HEADROOM = 1.25
"""A class must hold the expected peak so many times."""

_BASE_MB, _MB_PER_MPX = 420.0, 7.0
_START_S = 8.0
"""Start of the container and the search, for each unit."""
_SECONDS_PER_IMAGE, _CPU_SECONDS_PER_MPX = 0.5, 0.1
_IMAGES_PER_DAY: dict[Satellite, float] = {"sentinel2": 0.8, "landsat": 0.35}
"""Images that become products, a day: 11 and 5 in two weeks of one of the predecessor's summers."""
_MIB_IN_MB = 1.048576


@dataclass(frozen=True, slots=True)
class Measured:
    """What earlier runs measured, by region; empty where nothing is known."""

    peak_mb: Mapping[str, float] = field(default_factory=dict)
    """Highest peak memory of any attempt."""
    time_factor: float = 1.0
    """How many times longer than the model units took."""


_NOTHING = Measured()


def million_pixels(region: Region, satellite: Satellite) -> float:
    """Pixels of one product, in millions."""
    return region.area_km2 / PIXEL_SIZE_M[satellite] ** 2


def expected_peak_mb(region: Region, satellite: Satellite, measured: Measured = _NOTHING) -> float:
    """Peak memory of a child in MB: the model, or what was measured where that is more."""
    model = _BASE_MB + _MB_PER_MPX * million_pixels(region, satellite)
    return max(model, measured.peak_mb.get(region.name, 0.0))


def memory_class(
    region: Region,
    satellite: Satellite,
    measured: Measured = _NOTHING,
    *,
    classes: Sequence[int] = MEMORY_CLASSES_MIB,
) -> int:
    """The smallest of some memory classes, in MiB, that holds a unit of the region with headroom.

    Raises:
        UsageError: no class does.
    """
    needed = expected_peak_mb(region, satellite, measured) * _HEADROOM / _MIB_IN_MB
    fitting = [mib for mib in sorted(classes) if mib >= needed]
    if not fitting:
        raise UsageError(
            f"{region.name} is expected to need {needed:,.0f} MiB, more than the largest memory class"
            f" ({max(classes):,} MiB)",
            next_step="leave the region out, or cut it into smaller ones in your own --regions-file"
            if max(classes) == MEMORY_CLASSES_MIB[-1]
            else f"allow a larger one of {', '.join(map(str, MEMORY_CLASSES_MIB))} by classes in [BATCH]",
        )
    return fitting[0]


def next_class(memory_mib: int, classes: Sequence[int] = MEMORY_CLASSES_MIB) -> int | None:
    """Of some classes the one above one that was too small; None above the largest."""
    return next((mib for mib in sorted(classes) if mib > memory_mib), None)


def expected_images(unit: Unit) -> float:
    """Images of a unit where nobody has counted them: an average over the year."""
    return ((unit.date2 - unit.date1).days + 1) * _IMAGES_PER_DAY[unit.satellite]


def image_count(items: float, satellite: Satellite, region: Region) -> float:
    """Images that STAC items make: one of Sentinel-2 for as many items as the region has tiles."""
    return items / max(1, len(region.mgrs_tiles)) if satellite == "sentinel2" else items


def expected_seconds(
    unit: Unit, region: Region, *, images: float | None = None, measured: Measured = _NOTHING, vcpus: int = 1
) -> float:
    """Seconds a unit takes on so many vCPUs.

    Args:
        unit: the unit.
        region: its region.
        images: images it has, where they were counted.
        measured: how much longer than the model it took earlier.
        vcpus: vCPUs of its memory class.
    """
    images = expected_images(unit) if images is None else images
    cpu_seconds = _CPU_SECONDS_PER_MPX * million_pixels(region, unit.satellite)
    return measured.time_factor * (_START_S + images * (_SECONDS_PER_IMAGE + cpu_seconds / vcpus))


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
