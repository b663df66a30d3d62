"""The page: a template of HTML filled in, its data as scripts, and what it needs beside it.

Data stand in scripts, not in JSON, because a page that was opened from disk may load scripts only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glacierflow.host import resource_path
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import short_name
from glacierflow.model.records import CRS, PIXEL_SIZE_M
from glacierflow.report.data import failures, headline, image_data, methods_text, page_data
from glacierflow.report.gather import Facts
from glacierflow.store import Store
from glacierflow.version import __version__

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("page.js", "map.js", "matrix.js", "gallery.js", "charts.js")
"""Ours, in the order in which they are loaded."""
_CARRIED = ("d3.min.js", "d3.LICENSE.txt")
_THREADS = 16

INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class Page:
    """A report, made once and put wherever it is wanted."""

    folder: str
    """Its prefix in a store, that of the first run's report."""
    files: dict[str, bytes]
    """By name below the folder."""

    @property
    def key(self) -> str:
        """Of the page itself."""
        return f"{self.folder}{INDEX}"


def make_page(facts: Facts, again: str = "") -> Page:
    """All that makes the page, but for the quicklooks: the facts in scripts, and what shows them.

    Args:
        facts: what it tells.
        again: options that commands need to find the same run.
    """
    return Page(RunLayout(facts.run_id).report_prefix, dict(_files(facts, again)))


def _files(facts: Facts, again: str) -> Iterator[tuple[str, bytes]]:
    yield INDEX, _html(facts, again).encode()
    yield "data.js", _script("GLACIERFLOW", page_data(facts))
    coast = resource_path("ancillary/coast.json").read_bytes().strip()
    yield "coast.js", b"window.GLACIERFLOW_COAST=" + coast + b";\n"
    for name in (*_CARRIED, "page.css", *_SCRIPTS):
        yield name, (_ASSETS / name).read_bytes()
    for region, columns in image_data(facts).items():
        if columns["keys"]:
            yield f"images/{region}.js", _script(f"GLACIERFLOW_IMAGES[{json.dumps(region)}]", columns)


def _script(name: str, value: object) -> bytes:
    return f"window.{name}={json.dumps(value, separators=(',', ':'))};\n".encode()


def write_page(page: Page, store: Store) -> str:
    """Put a page into its folder of a store; the page itself last.

    Returns:
        Its key.

    Raises:
        UsageError: the store refuses to be written.
        StoreError: the store failed.
    """
    others = [name for name in page.files if name != INDEX]
    with ThreadPoolExecutor(_THREADS if store.remote else 1) as pool:
        list(pool.map(lambda name: store.put(f"{page.folder}{name}", page.files[name]), others))
    store.put(page.key, page.files[INDEX])
    return page.key


def copy_pictures(keys: Sequence[str], source: Store, target: Store) -> int:
    """Copy quicklooks under their keys, without those that are there; how many there are then.

    Raises:
        StoreError, UsageError: one of the stores failed, or refuses.
    """

    def copy(key: str) -> bool:
        if target.exists(key):
            return True
        content = source.get(key)
        return content is not None and target.put(key, content)

    with ThreadPoolExecutor(_THREADS) as pool:
        return sum(pool.map(copy, keys))


def _html(facts: Facts, again: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["money"] = money
    return environment.get_template("page.html.j2").render(_words(facts, again))


def money(usd: float | None) -> str:
    """Dollars with as many digits as tell something: ``$123``, ``$1.24``, ``$0.0042``."""
    if usd is None:
        return "not known"
    if usd >= 100:
        return f"${usd:,.0f}"
    if usd >= 0.995 or usd <= 0:
        return f"${usd:.2f}"
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}"


def _words(facts: Facts, again: str) -> dict[str, Any]:
    root = facts.family.root
    units = [unit for slot in root.slots for unit in slot]
    satellites = sorted({unit.satellite for unit in units})
    images = [product for of_region in facts.methods.products.values() for product in of_region]
    return {
        "version": __version__,
        "crs": CRS,
        "runs": [{"id": status.run_id, "name": short_name(status.run_id)} for status in facts.statuses],
        "retries": facts.family.retries,
        "created_at": facts.statuses[0].created_at,
        "seen_at": facts.seen_at,
        "store": facts.statuses[0].store,
        "satellites": [
            {"name": {"sentinel2": "Sentinel-2", "landsat": "Landsat"}[name], "pixel_m": PIXEL_SIZE_M[name]}
            for name in satellites
        ],
        "date1": min(unit.date1 for unit in units),
        "date2": max(unit.date2 for unit in units),
        "regions": len(root.regions),
        "headline": headline(facts),
        "failures": failures(facts),
        "cost": None if isinstance(facts.cost, str) else facts.cost,
        "no_cost": facts.cost if isinstance(facts.cost, str) else "",
        "methods": methods_text(facts),
        "example": images[0].key if images else None,
        "again": again,
        "scripts": _SCRIPTS,
    }
