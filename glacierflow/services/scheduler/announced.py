"""What data providers' topics say of a new scene, and which regions it meets.

A message is a STAC item, which some wrap once more, or one of USGS's (``public-c2-notify-v2``), which names a
Landsat product and where it lies.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.model import Region, Satellite
from glacierflow.services.failures import plain_errors
from glacierflow.store import split_s3_uri

__all__ = ["Announced", "announced_scenes"]

Json = dict[str, Any]

log = logging.getLogger("glacierflow")

_SENTINEL2_TILE = re.compile(r"S2[A-Z]_(?:T)?(\d{2}[C-X][A-Z]{2})_|_T(\d{2}[C-X][A-Z]{2})_")
_LANDSAT_LEVEL_1 = re.compile(r"L[CETO]\d{2}_L1[A-Z]{2}_\d{6}_(\d{8})_\d{8}_02_(?:T1|T2|RT)")
"""Collection 2 Level-1 (USGS, "Landsat Collection 2 product identifiers"): path and row, then the day."""
_LANDSAT_BUCKET = "usgs-landsat"


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
