"""Files beside the products: the predecessor's tables, and the STAC items, collections and catalog.

What many units share is never appended to: each unit writes its own part, and the whole is rebuilt from them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from glacierflow import lineage
from glacierflow.layout import Layout, sensing_time
from glacierflow.model import Region, Satellite, Unit
from glacierflow.product_item import Product, make_catalog, make_collection, make_item

if TYPE_CHECKING:
    from glacierflow.search import Found
    from glacierflow.store import Store

__all__ = ["put_item", "rebuild_catalog", "rebuild_tree", "write_tables"]

_ROUNDS = 5


def write_tables(store: Store, layout: Layout, unit: Unit, region: Region, found: Found) -> None:
    """Rebuild the tables of a region that downstream steps of the predecessor read.

    Raises:
        StoreError: the store could not be read or written.
    """
    if unit.satellite == "sentinel2":

        def combine(keys: list[str]) -> None:
            lines = _texts(store, keys)
            store.put(layout.combined_csv(region.name), lineage.combine_lines(lines).encode())

        _settle(store, layout.individual_csv_prefix(region.name), ".csv", combine)
    elif found.acquisitions:
        scenes = [scene for acquisition in found.acquisitions for scene in acquisition.scenes]
        part = layout.query_part(region.name, unit.date1, unit.date2)
        store.put(part, lineage.query_results(scenes, region).encode())

        def join(keys: list[str]) -> None:
            table = lineage.combine_query_parts(_texts(store, keys))
            store.put(layout.query_results(region.name), table.encode())

        _settle(store, layout.query_parts_prefix(region.name), ".csv", join)


def _texts(store: Store, keys: list[str]) -> list[str]:
    contents = [store.get(key) for key in keys]
    return [content.decode() for content in contents if content is not None]


def put_item(store: Store, layout: Layout, product: Product) -> None:
    """Write the STAC item of a product.

    Raises:
        StoreError: the store could not be written.
    """
    acquisition = product.acquisition
    key = layout.stac_item(acquisition.scenes[0].satellite, product.region.name, acquisition.stem)
    _put_json(store, key, make_item(product, layout))


def rebuild_tree(store: Store, layout: Layout, satellite: Satellite, region: Region) -> None:
    """Bring a region's collection and the catalog up to date; nothing where the region has no item.

    Raises:
        StoreError: the store could not be read or written.
    """

    def write_collection(keys: list[str]) -> None:
        stems = list(_stems(keys))
        if stems:
            collection = make_collection(satellite, region, stems, layout)
            _put_json(store, layout.stac_collection(satellite, region.name), collection)

    if _settle(store, layout.stac_items_prefix(satellite, region.name), ".json", write_collection):
        rebuild_catalog(store, layout)


def rebuild_catalog(store: Store, layout: Layout) -> None:
    """Write the catalog of the collections that are there; nothing where there is none.

    Raises:
        StoreError: the store could not be read or written.
    """

    def write_catalog(keys: list[str]) -> None:
        titles = {key: _title(key) for key in keys}
        _put_json(store, layout.stac_catalog, make_catalog(titles, layout))

    _settle(store, layout.stac_collections_prefix, ".json", write_catalog)


def _stems(keys: list[str]) -> Iterator[str]:
    """Stems of products; what else somebody laid there is none of ours."""
    for key in keys:
        stem = key.rpartition("/")[2].removesuffix(".json")
        with contextlib.suppress(ValueError):
            sensing_time(stem)
            yield stem


def _put_json(store: Store, key: str, content: dict[str, Any]) -> None:
    store.put(key, json.dumps(content, indent=1).encode())


def _settle(store: Store, prefix: str, suffix: str, write: Callable[[list[str]], None]) -> bool:
    """Write a list of what lies below a prefix, until it is still true after the writing.

    Of several units that do so at once, the last to write looks again afterwards, so that none is missing.
    """
    keys = _keys(store, prefix, suffix)
    for _ in range(_ROUNDS):
        if not keys:
            break
        write(keys)
        now = _keys(store, prefix, suffix)
        if now == keys:
            break
        keys = now
    return bool(keys)


def _keys(store: Store, prefix: str, suffix: str) -> list[str]:
    return sorted(entry.key for entry in store.list(prefix) if entry.key.endswith(suffix))


def _title(key: str) -> str:
    satellite, name = key.removesuffix(".json").split("/")[-2:]
    return f"{satellite} {name}"
