"""Runs for new scenes: by a clock since the last time, or as a data provider announces them.

What is there already is skipped by the step itself, so looking back a few days costs a search and finds
scenes that were published late; an image that lacks a late tile is made again from all of them.

A message is a STAC item, which some wrap once more, or one of USGS's (``public-c2-notify-v2``), which names a
Landsat product and where it lies.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.functions.scheduler.planning import Office, make_manifest
from glacierflow.launch import find_launcher
from glacierflow.launch.batch import write_manifest
from glacierflow.live.same_run import find_same_run
from glacierflow.model.manifest import Manifest, Service
from glacierflow.model.records import SATELLITES, Region, Satellite
from glacierflow.regions import load_catalogue
from glacierflow.store import split_s3_uri

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

_SENTINEL2_TILE = re.compile(r"S2[A-Z]_(?:T)?(\d{2}[C-X][A-Z]{2})_|_T(\d{2}[C-X][A-Z]{2})_")
_LANDSAT_LEVEL_1 = re.compile(r"L[CETO]\d{2}_L1[A-Z]{2}_\d{6}_(\d{8})_\d{8}_02_(?:T1|T2|RT)")
"""Collection 2 Level-1 (USGS, "Landsat Collection 2 product identifiers"): path and row, then the day."""
_LANDSAT_BUCKET = "usgs-landsat"


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


@dataclass(frozen=True, slots=True)
class Announced:
    """One scene of a message, as far as it says."""

    name: str
    """Its id; of a message nobody understands its beginning."""
    satellite: Satellite | None = None
    day: dt.date | None = None
    regions: tuple[str, ...] = ()


def announced_scenes(
    event: Mapping[str, Any], regions: tuple[Region, ...], cloud: Cloud
) -> Iterator[Announced]:
    """The scenes in an event of SNS; one that is none of ours meets no region.

    Raises:
        UsageError: the footprint of a Landsat product may not be read.
        UnavailableError: AWS cannot be reached.
    """
    for record in event["Records"]:
        text = str(record["Sns"]["Message"])
        item = _item(text, cloud)
        if item is None:
            yield Announced(text[:200])
            continue
        name, met = str(item.get("id")), _met(item, regions)
        if met is None:
            yield Announced(name)
            continue
        day = dt.datetime.fromisoformat(str(item["properties"]["datetime"])).astimezone(dt.UTC).date()
        yield Announced(name, met[0], day, tuple(met[1]))


def _item(text: str, cloud: Cloud) -> Json | None:
    """The STAC item of a message, or what stands for it; None where it is about no scene we know."""
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    item = message.get("payload", message) if isinstance(message, dict) else None
    if isinstance(item, dict) and "properties" in item:
        return item
    if isinstance(item, dict) and "landsat_product_id" in item:
        return _landsat(str(item["landsat_product_id"]), str(item.get("s3_location")), cloud)
    log.warning("ignored, no scene is in the message: %s", text[:200])
    return None


def _landsat(product: str, place: str, cloud: Cloud) -> Json:
    """A product with the footprint of the STAC item beside it; its id alone where it is of no use."""
    named = _LANDSAT_LEVEL_1.fullmatch(product)
    if named is None:
        log.info("ignored, no Level-1 product: %s", product)
        return {"id": product}
    bucket, folder = split_s3_uri(place)
    if bucket != _LANDSAT_BUCKET:
        raise UsageError(f"s3_location = {place} of {product} is not in s3://{_LANDSAT_BUCKET}")
    key = f"{folder.rstrip('/')}/{product}_stac.json"
    with plain_errors(f"read s3://{bucket}/{key}", service="S3"):
        found = cloud.client("s3").get_object(Bucket=bucket, Key=key, RequestPayer="requester")
        box = json.loads(found["Body"].read())["bbox"]
    return {
        "id": product,
        "collection": "landsat-c2l1",
        "bbox": box,
        "properties": {"datetime": f"{dt.date.fromisoformat(named[1])}T00:00:00Z"},
    }


def _met(item: Mapping[str, Any], regions: tuple[Region, ...]) -> tuple[Satellite, list[str]] | None:
    """Satellite and regions of an item: by its tile, or by the outline's bounding box for Landsat."""
    collection = str(item.get("collection", ""))
    if collection.startswith("sentinel-2"):
        found = _SENTINEL2_TILE.search(str(item.get("id", "")))
        tile = next((group for group in found.groups() if group), None) if found else None
        return "sentinel2", [region.name for region in regions if tile in region.mgrs_tiles]
    if collection.startswith("landsat-c2l1"):
        west, south, east, north = item["bbox"][0], item["bbox"][1], item["bbox"][-2], item["bbox"][-1]
        names = []
        for region in regions:
            longitudes, latitudes = zip(*region.outline, strict=True)
            apart = max(longitudes) < west or min(longitudes) > east
            if not apart and max(latitudes) >= south and min(latitudes) <= north:
                names.append(region.name)
        return "landsat", names
    return None
