"""Copying what a run made to a folder."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glacierflow.layout import Layout
    from glacierflow.manifest import Manifest
    from glacierflow.model import Unit
    from glacierflow.store import Store

__all__ = ["fetch_run"]

_SENSED = re.compile(r"(\d{8})T?\d{6}")


def fetch_run(manifest: Manifest, store: Store, folder: Path) -> list[Path]:
    """Copy products, lineage, STAC items, templates, quicklooks and records of a run, under their keys.

    STAC collections and the catalog are made anew, of the items that the folder has then.

    Returns:
        The files copied, in order of their keys.

    Raises:
        UsageError: the folder cannot be written.
        StoreError: an object cannot be read.
    """
    from glacierflow.store import LocalStore

    target = LocalStore(folder)
    target.check_writable()
    copied = []
    for key in sorted(set(_keys(manifest, store))):
        content = store.get(key)
        if content is not None:
            target.put(key, content)
            copied.append(folder / key)
    _rebuild_trees(manifest, target)
    return copied


def _rebuild_trees(manifest: Manifest, target: Store) -> None:
    """The bucket's collections name images of other runs, too."""
    from glacierflow.sidecars import rebuild_tree

    layout = _layout(manifest)
    for satellite, name in sorted({(unit.satellite, unit.region) for unit in _units(manifest)}):
        rebuild_tree(target, layout, satellite, manifest.regions[name])


def _layout(manifest: Manifest) -> Layout:
    from glacierflow.layout import Layout

    return Layout(manifest.settings.base_path, manifest.settings.folder_structure)


def _units(manifest: Manifest) -> Iterator[Unit]:
    return (unit for slot in manifest.slots for unit in slot)


def _keys(manifest: Manifest, store: Store) -> Iterator[str]:
    from glacierflow.layout import RunLayout

    layout, run = _layout(manifest), RunLayout(manifest.run_id)
    # what the names below told/ tell stands in the receipts
    keys = (entry.key for entry in store.list(run.prefix))
    yield from (key for key in keys if not key.startswith(run.told_root))
    for unit in _units(manifest):
        prefixes = [
            layout.products_prefix(unit.satellite, unit.region),
            layout.stac_items_prefix(unit.satellite, unit.region),
        ]
        yield layout.template(unit.satellite, unit.region)
        if unit.satellite == "landsat":
            yield layout.query_results(unit.region)
        else:
            yield layout.combined_csv(unit.region)
            prefixes.append(layout.individual_csv_prefix(unit.region))
        for prefix in prefixes:
            yield from (entry.key for entry in store.list(prefix) if _is_within(entry.key, unit))


def _is_within(key: str, unit: Unit) -> bool:
    """Whether the sensing time in a file's name lies between the unit's dates; a region has many runs."""
    found = _SENSED.search(key.rpartition("/")[2])
    try:
        day = dt.date.fromisoformat(found[1]) if found else None
    except ValueError:
        day = None
    if day is None:
        return False
    return unit.date1 <= day <= unit.date2
