"""Runs for what is new: by a clock since the last time, or for one scene that a data provider announced.

What is there already is skipped by the step itself, so looking back a few days costs a search and finds
scenes that were published late; an image that lacks a late tile is made again from all of them.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from glacierflow.errors import UsageError
from glacierflow.manifest import Manifest, Service
from glacierflow.model import SATELLITES, Satellite
from glacierflow.regions import load_catalogue
from glacierflow.services.batch import write_manifest
from glacierflow.services.launch import find_launcher
from glacierflow.services.same_run import find_same_run
from glacierflow.services.scheduler.announced import announced_scenes
from glacierflow.services.scheduler.office import Office
from glacierflow.services.scheduler.plan import make_manifest

__all__ = ["submit_announced", "submit_fresh"]

Json = dict[str, Any]

log = logging.getLogger("glacierflow")

_LOOK_BACK_DAYS = 10
"""Days before the last run's end that are looked at again: scenes are published up to days after sensing."""
_FIRST_DAYS = 30
"""How far the very first run looks back."""
_SERVICE = "GLACIERFLOW_SCHEDULE_SERVICE"
"""Variable of the function: ``batch``, or ``stepfunctions``, which also tries again, verifies and tells."""
_MARKS = "runs/_schedule/"
"""Below it, one object a satellite and selection: up to which day it was looked."""


def submit_fresh(office: Office, event: Mapping[str, Any]) -> Json:
    """Submit a run for the days since the last one.

    Args:
        office: the scheduler's surroundings.
        event: ``satellite``, and ``regions`` or ``start_end_index``; neither is all regions. ``today`` is for
            a rehearsal.

    Raises:
        UsageError: the selection is wrong, or AWS refuses.
    """
    today = (
        dt.date.fromisoformat(str(event["today"])) if event.get("today") else dt.datetime.now(dt.UTC).date()
    )
    satellite = _satellite(event)
    name = re.sub(r"[^\w-]", "_", str(event.get("regions") or event.get("start_end_index") or "all"))
    mark = f"{_MARKS}{satellite}-{name}.json"
    content = office.store.get(mark)
    last = dt.date.fromisoformat(json.loads(content)["until"]) if content else None
    first = (
        today - dt.timedelta(days=_FIRST_DAYS) if last is None else last - dt.timedelta(days=_LOOK_BACK_DAYS)
    )
    selection = {key: event[key] for key in ("regions", "start_end_index") if event.get(key)}
    answer = _submit({"satellite": satellite, "date1": str(first), "date2": str(today), **selection})
    # the mark moves only once the run is on its way
    office.store.put(mark, json.dumps({"until": str(today), "run_id": answer["run_id"]}).encode())
    return answer


def submit_announced(office: Office, event: Mapping[str, Any]) -> Json:
    """Submit small runs for scenes that a data provider's topic tells of, where they meet a region.

    While a run for the same day and regions lives, another tile of the pass makes none. Where the tile came
    after that run's search, the next run of the clock adds it; without a clock nothing does.

    Returns:
        ``runs``: ids of what was submitted, and ``ignored``: what is no scene of ours or meets no region.

    Raises:
        UsageError: AWS refuses.
    """
    wanted: dict[tuple[Satellite, dt.date], set[str]] = {}
    ignored = []
    for scene in announced_scenes(event, load_catalogue().regions, office.cloud):
        if scene.satellite is None or scene.day is None or not scene.regions:
            ignored.append(scene.name)
            continue
        wanted.setdefault((scene.satellite, scene.day), set()).update(scene.regions)
    runs = [
        _submit(
            {
                "satellite": satellite,
                "date1": str(day),
                "date2": str(day),
                "regions": ",".join(sorted(names)),
            }
        )
        for (satellite, day), names in sorted(wanted.items())
    ]
    log.info("%d runs for %s", len(runs), office.places.bucket)
    return {"runs": [run["run_id"] for run in runs], "ignored": ignored}


def _submit(selection: Mapping[str, Any]) -> Json:
    """A run by the service the stack was given, or the one that does the same already."""
    service: Service = "stepfunctions" if os.environ.get(_SERVICE) == "stepfunctions" else "batch"
    office, manifest = make_manifest(selection, service)
    batch = office.loaded.settings.batch
    launcher = find_launcher(
        service,
        office.cloud,
        office.loaded,
        office.places,
        manifest.arrays,
        tags={"owner": batch.owner or "schedule"},
        consumable_resource=office.places.consumable_resource,
    )
    same = find_same_run(manifest, office.store, office.cloud, places=office.places)
    if same is not None and same.is_whole:
        return _answer(same.manifest, submitted=False)
    if same is not None:
        launcher.launch(same.manifest, office.store, same.jobs)
        return _answer(same.manifest, submitted=True)
    write_manifest(manifest, office.store)
    launcher.launch(manifest, office.store)
    return _answer(manifest, submitted=True)


def _answer(manifest: Manifest, *, submitted: bool) -> Json:
    return {"run_id": manifest.run_id, "submitted": submitted, "slots": len(manifest.slots)}


def _satellite(event: Mapping[str, Any]) -> Satellite:
    for satellite in SATELLITES:
        if event.get("satellite") == satellite:
            return satellite
    raise UsageError(
        f"satellite = {event.get('satellite')} is not known", next_step=f"accepted: {', '.join(SATELLITES)}"
    )
