"""Copy what a run made from its store to a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.layout import Layout, RunLayout
from glacierflow.manifest import Manifest
from glacierflow.store import LocalStore

if TYPE_CHECKING:
    from glacierflow.store import Entry, Store

__all__ = ["fetch_run"]


def fetch_run(manifest: Manifest, store: Store, directory: Path) -> list[str]:
    """Copy products, lineage and records of a run below a directory, under the same keys.

    Returns:
        The keys, copied now or there already with the same size.
    """
    target = LocalStore(directory)
    keys = []
    for entry in _entries(manifest, store):
        path = directory / entry.key
        if not path.is_file() or path.stat().st_size != entry.size or not entry.key.endswith(".tif"):
            content = store.get(entry.key)
            if content is None:
                continue
            target.put(entry.key, content)
        keys.append(entry.key)
    return keys


def _entries(manifest: Manifest, store: Store) -> Iterator[Entry]:
    layout = Layout(manifest.settings.base_path, manifest.settings.folder_structure)
    yield from store.list(RunLayout(manifest.run_id).prefix)
    for satellite, region in sorted(
        {(unit.satellite, unit.region) for slot in manifest.slots for unit in slot}
    ):
        yield from store.list(layout.products_prefix(satellite, region))
        yield from store.list(layout.template(satellite, region))
        if satellite == "sentinel2":
            yield from store.list(layout.individual_csv_prefix(region))
            yield from store.list(layout.combined_csv(region))
        else:
            yield from store.list(layout.query_results(region))
