"""What a run made: where it is to be found, and copied to a folder."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glacierflow.model.layout import Layout
    from glacierflow.model.manifest import Manifest
    from glacierflow.model.records import Unit
    from glacierflow.runs.records import JobRecord
    from glacierflow.store import Store


_SENSED = re.compile(r"(\d{8})T?\d{6}")

_MOST_PREFIXES = 5


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
    from glacierflow.step.sidecars import rebuild_tree

    layout = _layout(manifest)
    for satellite, name in sorted({(unit.satellite, unit.region) for unit in _units(manifest)}):
        rebuild_tree(target, layout, satellite, manifest.regions[name])


def _layout(manifest: Manifest) -> Layout:
    from glacierflow.model.layout import Layout

    return Layout(manifest.settings.base_path, manifest.settings.folder_structure)


def _units(manifest: Manifest) -> Iterator[Unit]:
    return (unit for slot in manifest.slots for unit in slot)


def _keys(manifest: Manifest, store: Store) -> Iterator[str]:
    from glacierflow.model.layout import RunLayout

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


def where_to_look(
    manifest: Manifest, jobs: Sequence[JobRecord], *, again: str, rounds: int | None = None
) -> list[str]:
    """Ids of a submitted run, and how to look at it again (with the options ``again``).

    Of a run on Lambda also what becomes of what its deadline cuts, which goes on by itself ``rounds`` times.
    """
    from glacierflow.model.layout import RunLayout

    on_lambda = manifest.service == "lambda"
    texts = [f"run     {manifest.run_id}", f"name    {manifest.name}  (short, for commands)"]
    for job in jobs:
        kind = f"array of {job.size}" if job.is_array else "plain job"
        texts.append(f"job     {job.job_id}  {kind}  {job.job_definition} on {job.job_queue}")
    return [
        *texts,
        f"records {manifest.store}/{RunLayout(manifest.run_id).prefix}",
        f"logs    {jobs[0].log_group}",
        f"look    glacierflow status {manifest.name}{again}",
        f"        glacierflow watch {manifest.name}{again}",
        *(_left(f"glacierflow retry {manifest.name}{again}", rounds) if on_lambda else ()),
    ]


def _left(retry: str, rounds: int | None) -> list[str]:
    if not rounds:
        return [f"left    what the deadline cuts goes on, on AWS Batch, with {retry}"]
    return [
        f"left    what the deadline cuts goes on by itself, in at most {rounds} more invocations of a slot;",
        f"        what is left then goes on, on AWS Batch, with {retry}",
    ]


def submission_json(manifest: Manifest, jobs: Sequence[JobRecord]) -> str:
    """The same as JSON."""
    from glacierflow.model.layout import RunLayout

    submission = {
        "run_id": manifest.run_id,
        "name": manifest.name,
        "store": manifest.store,
        "manifest": f"{manifest.store}/{RunLayout(manifest.run_id).manifest}",
        "slots": len(manifest.slots),
        "jobs": [job.model_dump(mode="json") for job in jobs],
    }
    return json.dumps(submission, indent=2)


def where_it_is(manifest: Manifest, store: Store) -> list[str]:
    """Where products and quicklooks lie."""
    from glacierflow.model.layout import Layout, RunLayout

    layout = Layout(manifest.settings.base_path, manifest.settings.folder_structure)
    units = [unit for slot in manifest.slots for unit in slot]
    prefixes = [layout.products_prefix(unit.satellite, unit.region) for unit in units]
    prefixes = list(dict.fromkeys(prefixes))
    if len(prefixes) > _MOST_PREFIXES:
        prefixes = [*prefixes[: _MOST_PREFIXES - 1], f"{layout.base_path}/ ..."]
    return [
        *(f"products   {store.uri(prefix)}" for prefix in prefixes),
        f"quicklooks {store.uri(f'{RunLayout(manifest.run_id).report_prefix}quicklooks')}",
    ]


def fetched(files: Sequence[Path], folder: Path) -> list[str]:
    """What was copied to a folder; the images by name."""
    images = [path for path in files if path.suffix in {".png", ".tif"}]
    return [f"{len(files)} files copied to {folder}, among them:", *(f"  {path}" for path in images)]
