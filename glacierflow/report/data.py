"""The facts of a report as the page reads them: short lists of numbers, names and sentences; pure."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from glacierflow.cost.report import CostReport
from glacierflow.errors import UsageError
from glacierflow.model.layout import RunLayout, parse_product
from glacierflow.model.manifest import short_name
from glacierflow.model.receipt import ProductRecord
from glacierflow.report.gather import Facts
from glacierflow.runs.coverage import coverage_of
from glacierflow.runs.family import check_alike
from glacierflow.runs.methods import methods_paragraph
from glacierflow.runs.progress import estimate_end, group_failures
from glacierflow.runs.status import RunStatus, SlotRow
from glacierflow.runs.verify import STATES

STANDINGS = ("failed", "partial", "running", "waiting", "done", "no_data")
"""How a region stands: of its slots the first of these that one of them has."""

_MOST_SLOTS = 12
"""Slots of a failure that are named."""


def headline(facts: Facts) -> dict[str, Any]:
    """The numbers on top, each as ``status --json`` or ``cost --json`` has it, added up over the runs."""
    statuses = facts.statuses
    outcomes: Counter[str] = Counter()
    for status in statuses:
        outcomes.update(status.outcomes)
    cost = facts.cost if isinstance(facts.cost, CostReport) else None
    return {
        "slots": sum(len(status.rows) for status in statuses),
        "done": outcomes["done"],
        "no_data": outcomes["no_data"],
        "partial": outcomes["partial"],
        "failed": sum(len(status.wrong) for status in statuses),
        "left": sum(not row.ended for status in statuses for row in status.rows),
        "images": sum(status.products for status in statuses),
        "new_images": cost.new if cost else None,
        "usd": cost.usd if cost else None,
        "wasted_usd": sum(cost.wasted.values()) if cost else None,
        "wasted": cost.wasted if cost else {},
        "hours": sum(attempt.hours or 0.0 for attempt in cost.attempts) if cost else None,
        "attempts": sum(status.attempts for status in statuses),
        "reclaims": sum(status.reclaims for status in statuses),
        "finished": all(status.finished for status in statuses),
        "eta": [estimate_end(status).model_dump(mode="json") for status in statuses],
    }


def failures(facts: Facts) -> list[dict[str, Any]]:
    """Slots that went wrong alike: reason, how the log of one ends, and what mends them."""
    found = []
    for status in facts.statuses:
        for group in group_failures(status.rows):
            slots = [status.rows[slot] for slot in group.slots]
            found.append(
                {
                    **group.model_dump(mode="json"),
                    "root": short_name(status.run_id),
                    "regions": list(dict.fromkeys(name for row in slots for name in row.regions))[
                        :_MOST_SLOTS
                    ],
                    "log_tail": facts.logs.get((status.run_id, group.slot), ()),
                }
            )
    return found


def standing_of(row: SlotRow) -> str:
    """How a slot stands, in one word."""
    if row.wrong:
        return "failed"
    if not row.ended:
        return "running" if row.state in {"STARTING", "RUNNING"} else "waiting"
    return row.outcome or "done"


def page_data(facts: Facts) -> dict[str, Any]:
    """What ``data.js`` holds; all but the images, which stand in a script of their own for each region."""
    regions = facts.family.root.regions
    names = sorted(regions)
    place = {name: number for number, name in enumerate(names)}
    standings = _standings(facts.statuses)
    cost = facts.cost if isinstance(facts.cost, CostReport) else None
    costs = {one.region: one for one in cost.regions} if cost else {}
    return {
        "run_id": facts.run_id,
        "name": short_name(facts.run_id),
        "seen_at": facts.seen_at.isoformat(),
        "headline": headline(facts),
        "standings": STANDINGS,
        "regions": [
            {
                "name": name,
                "index": regions[name].index,
                "box": [round(value) for value in regions[name].bounds],
                "standing": standings.get(name, "waiting"),
                "images": len(facts.methods.products.get(name, ())),
                "usd": costs[name].usd if name in costs else None,
                "wasted": costs[name].wasted_usd if name in costs else None,
            }
            for name in names
        ],
        "coverage": _coverage(facts, place),
        "attempts": list(_attempts(cost, place)) if cost else [],
    }


def _standings(statuses: tuple[RunStatus, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in (row for status in statuses for row in status.rows):
        for name in dict.fromkeys(row.regions):
            found[name] = min(found.get(name, STANDINGS[-1]), standing_of(row), key=STANDINGS.index)
    return found


def _coverage(facts: Facts, place: dict[str, int]) -> dict[str, Any]:
    """Cells as region, period, state, images and the number of a sentence; sentences are shared."""
    coverage = coverage_of(facts.verified.units)
    periods = {period: number for number, period in enumerate(coverage.periods)}
    sentences: dict[str, int] = {}
    cells = [
        [
            place[region],
            periods[period],
            STATES.index(check.state),
            check.products,
            -1 if check.reason is None else sentences.setdefault(check.reason, len(sentences)),
        ]
        for (region, period), check in sorted(coverage.cells.items())
    ]
    return {
        "states": STATES,
        "labels": coverage.labels,
        "periods": [[str(first), str(last)] for first, last in coverage.periods],
        "cells": cells,
        "sentences": list(sentences),
    }


def _attempts(cost: CostReport, place: dict[str, int]) -> Iterator[list[Any]]:
    """Region, start (s since 1970), hours, what it was wasted on, dollars, number, slot, run."""
    runs = {run: number for number, run in enumerate((*cost.runs, *cost.retries))}
    for one in cost.attempts:
        yield [
            place[one.regions[0]],
            round(one.started_at.timestamp(), 1),
            None if one.hours is None else round(one.hours, 6),
            one.wasted_on,
            round(one.usd, 7),
            one.attempt,
            one.slot,
            runs.get(one.run_id, -1),
        ]


def image_data(facts: Facts) -> dict[str, dict[str, Any]]:
    """By region, its images in order of time, as one list a column."""
    made = _made(facts)
    found = {}
    for region, products in facts.methods.products.items():
        records = [made.get(product.key) for product in products]
        known = [one for one in records if one is not None]
        found[region] = {
            "times": [product.datetime.isoformat() for product in products],
            "keys": [product.key for product in products],
            "coverage": [None if one is None else round(one.coverage, 3) for one in records],
            "pictures": [
                picture_address(facts.run_id, one.quicklook) if one and one.quicklook else None
                for one in records
            ],
            "curves": _curves(records, _common_stretch(known)),
        }
    return found


def _common_stretch(records: Sequence[ProductRecord]) -> dict[str | None, tuple[float, float]]:
    """By satellite, the pixels that shall be black and white in all images of a region: medians."""
    of_satellite: defaultdict[str | None, list[tuple[float, float]]] = defaultdict(list)
    for one in records:
        if one.stretch is not None:
            of_satellite[_satellite(one)].append(one.stretch)
    return {
        satellite: (statistics.median(low for low, _ in own), statistics.median(high for _, high in own))
        for satellite, own in of_satellite.items()
    }


def _curves(
    records: Sequence[ProductRecord | None], common: dict[str | None, tuple[float, float]]
) -> list[tuple[float, float] | None]:
    """Slope and intercept, of 0..1, that bring a picture from its own stretch to the common one."""
    curves: list[tuple[float, float] | None] = []
    for one in records:
        if one is None or one.stretch is None:
            curves.append(None)
            continue
        (low, high), (dark, bright) = one.stretch, common[_satellite(one)]
        span = max(bright - dark, 1.0)
        curves.append((round((high - low) / span, 4), round((low - dark) / span, 4)))
    return curves


def _satellite(record: ProductRecord) -> str | None:
    place = parse_product(record.key)
    return place.satellite if place else None


def picture_keys(facts: Facts) -> list[str]:
    """Keys of the quicklooks that the page shows."""
    return sorted({one.quicklook for one in _made(facts).values() if one.quicklook})


def _made(facts: Facts) -> dict[str, ProductRecord]:
    """The latest record of each image that an attempt of these runs wrote."""
    return {
        product.key: product
        for receipts in facts.family.receipts().values()
        for receipt in receipts
        for product in receipt.products
    }


def picture_address(run_id: str, key: str) -> str:
    """A quicklook's address from the page, which lies in the report folder of the first run."""
    own = RunLayout(run_id).report_prefix
    return key.removeprefix(own) if key.startswith(own) else f"{'../' * own.count('/')}{key}"


def methods_text(facts: Facts) -> str:
    """The paragraph for a paper, or why there is none for all of the runs."""
    try:
        check_alike(facts.family)
    except UsageError as error:
        return error.message
    return methods_paragraph(facts.methods)
