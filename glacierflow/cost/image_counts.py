"""How many images units have: one small request to the STAC API a region, or for a sample of regions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from glacierflow.model.records import Region, StepSettings, Unit
from glacierflow.runs.workload import expected_images, image_count
from glacierflow.search.stac_api import Catalogue, Query, count_items

_SAMPLE = 24
"""Regions that are asked for; the others are scaled from them."""
_THREADS = 8

Ask = Callable[[Catalogue, Query], int]


@dataclass(frozen=True, slots=True)
class SceneCounts:
    """Images by unit, and where the numbers are from."""

    images: Mapping[Unit, float]
    source: str
    """One sentence."""


def assumed_counts(units: Sequence[Unit]) -> SceneCounts:
    """Averages over the year; nobody is asked."""
    return SceneCounts(
        {unit: expected_images(unit) for unit in units},
        "images are assumed at a yearly average, not counted: the STAC API was not asked",
    )


def count_scenes(
    units: Sequence[Unit], regions: Mapping[str, Region], settings: StepSettings, *, ask: Ask = count_items
) -> SceneCounts:
    """Images of each unit from the items of its region over all its periods, shared out by days.

    An image of Sentinel-2 is made of about as many items as the region has tiles.

    Raises:
        UnavailableError: the API did not answer.
        DataError: the API refused the search.
    """
    spans = _spans(units)
    asked = _sample(spans, regions)
    catalogue = _catalogue(units[0], settings)

    def count(name: str) -> int:
        return ask(catalogue, _query(regions[name], spans[name]))

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        counts = dict(zip(asked, pool.map(count, asked), strict=True))
    daily = {
        name: image_count(items, units[0].satellite, regions[name]) / _days(spans[name])
        for name, items in counts.items()
    }
    usual = sum(daily.values()) / len(daily)
    images = {unit: daily.get(unit.region, usual) * _days((unit.date1, unit.date2)) for unit in units}
    total = sum(counts.values())
    source = f"{total:,} items counted by the STAC API in {len(asked)} regions"
    if len(asked) < len(spans):
        source += f", a sample by size; the other {len(spans) - len(asked)} at its average a day"
    return SceneCounts(images, source)


def _spans(units: Sequence[Unit]) -> dict[str, tuple[dt.date, dt.date]]:
    spans: dict[str, tuple[dt.date, dt.date]] = {}
    for unit in units:
        first, last = spans.get(unit.region, (unit.date1, unit.date2))
        spans[unit.region] = min(first, unit.date1), max(last, unit.date2)
    return spans


def _sample(spans: Mapping[str, object], regions: Mapping[str, Region]) -> list[str]:
    """All regions, or so many of them evenly from the smallest to the largest."""
    by_size = sorted(spans, key=lambda name: (regions[name].area_km2, name))
    if len(by_size) <= _SAMPLE:
        return by_size
    return [by_size[place * (len(by_size) - 1) // (_SAMPLE - 1)] for place in range(_SAMPLE)]


def _catalogue(unit: Unit, settings: StepSettings) -> Catalogue:
    if unit.satellite == "landsat":
        return Catalogue.of(settings.landsat_stac_url, settings.landsat_collection, settings)
    return Catalogue.of(settings.sentinel2_stac_url, settings.sentinel2_collection, settings)


def _query(region: Region, span: tuple[dt.date, dt.date]) -> Query:
    first = dt.datetime.combine(span[0], dt.time.min, dt.UTC)
    last = dt.datetime.combine(span[1], dt.time.max, dt.UTC)
    return Query(region.geometry, (first, last))


def _days(span: tuple[dt.date, dt.date]) -> int:
    return (span[1] - span[0]).days + 1
