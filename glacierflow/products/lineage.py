"""Whether what a product was made from is told beside it: tags, CSVs, STAC item."""

from __future__ import annotations

import csv
import functools
import io
import json
import threading
from collections.abc import Iterator

from glacierflow.lineage import ACQUISITION_TAG, PRODUCTION_TAG
from glacierflow.products.findings import Finding
from glacierflow.products.tree import Product, Tree

__all__ = ["LineageCheck"]

_TAGS = (PRODUCTION_TAG, ACQUISITION_TAG, "GLACIERFLOW_SOURCES")


class LineageCheck:
    """Looks up the lineage of a tree's products; files that many share are read once."""

    def __init__(self, tree: Tree, *, quick: bool) -> None:
        self._tree = tree
        self._quick = quick
        self._lock = threading.Lock()
        self._names = functools.cache(self._read_names)

    def problems(self, product: Product, tags: dict[str, str]) -> Iterator[Finding]:
        """Everything that is wrong with one product's lineage; the predecessor's files have no tags."""
        key, place = product.entry.key, product.place
        if PRODUCTION_TAG in tags:
            yield from self._tags(key, tags)
            item = place.layout.stac_item(place.satellite, place.region, place.stem)
            if not self._tree.has(item):
                yield Finding(key=key, code="stac_item", reason=f"its STAC item {item} is missing")
        if place.satellite == "sentinel2":
            yield from self._sentinel2(product)
        else:
            item_id = place.stem.split("_", 2)[-1]
            yield from self._listed(key, place.layout.query_results(place.region), item_id)

    def _tags(self, key: str, tags: dict[str, str]) -> Iterator[Finding]:
        missing = [name for name in _TAGS if not tags.get(name)]
        if missing:
            yield Finding(key=key, code="tags", reason=f"it lacks the tags {', '.join(missing)}")
            return
        try:
            sources = json.loads(tags["GLACIERFLOW_SOURCES"])
        except ValueError:
            sources = None
        if not isinstance(sources, list) or not sources:
            yield Finding(key=key, code="tags", reason="its tag GLACIERFLOW_SOURCES names no sources")

    def _sentinel2(self, product: Product) -> Iterator[Finding]:
        key, place = product.entry.key, product.place
        own = place.layout.individual_csv(place.region, place.stem)
        if not self._tree.has(own):
            yield Finding(key=key, code="csv", reason=f"its lineage {own} is missing")
        elif not self._quick:
            stem, *sources = (self._tree.get(own) or b"").decode(errors="replace").strip().split(",")
            if stem != place.stem or not any(sources):
                yield Finding(key=key, code="csv", reason=f"{own} does not name it and its source tiles")
        yield from self._listed(key, place.layout.combined_csv(place.region), place.stem)

    def _listed(self, key: str, table: str, name: str) -> Iterator[Finding]:
        if not self._tree.has(table):
            yield Finding(key=key, code="combined_csv", reason=f"{table} is missing")
            return
        with self._lock:
            names = self._names(table)
        if name not in names:
            yield Finding(key=key, code="combined_csv", reason=f"{table} does not list it")

    def _read_names(self, table: str) -> frozenset[str]:
        """Every value of a small table; the names looked for are unlike anything else in it."""
        text = (self._tree.get(table) or b"").decode(errors="replace")
        return frozenset(cell for row in csv.reader(io.StringIO(text)) for cell in row)
