"""Where the jobs, records and products of a run are to be found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from glacierflow.manifest import Manifest
    from glacierflow.runs.records import JobRecord
    from glacierflow.store import Store

__all__ = ["fetched", "submission_json", "where_it_is", "where_to_look"]

_MOST_PREFIXES = 5


def where_to_look(manifest: Manifest, jobs: Sequence[JobRecord], *, again: str) -> list[str]:
    """Ids of a submitted run, and how to look at it again (with the options ``again``)."""
    from glacierflow.layout import RunLayout

    texts = [f"run     {manifest.run_id}"]
    for job in jobs:
        kind = f"array of {job.size}" if job.is_array else "plain job"
        texts.append(f"job     {job.job_id}  {kind}  {job.job_definition} on {job.job_queue}")
    return [
        *texts,
        f"records {manifest.store}/{RunLayout(manifest.run_id).prefix}",
        f"logs    {jobs[0].log_group}",
        f"look    glacierflow batch status {manifest.run_id}{again}",
        f"        glacierflow batch watch {manifest.run_id}{again}",
    ]


def submission_json(manifest: Manifest, jobs: Sequence[JobRecord]) -> str:
    """The same as JSON."""
    from glacierflow.layout import RunLayout

    submission = {
        "run_id": manifest.run_id,
        "store": manifest.store,
        "manifest": f"{manifest.store}/{RunLayout(manifest.run_id).manifest}",
        "slots": len(manifest.slots),
        "jobs": [job.model_dump(mode="json") for job in jobs],
    }
    return json.dumps(submission, indent=2)


def where_it_is(manifest: Manifest, store: Store) -> list[str]:
    """Where products and quicklooks lie."""
    from glacierflow.layout import Layout, RunLayout

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
