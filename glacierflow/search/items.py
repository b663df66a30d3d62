"""What STAC items mean: which assets are which bands, and what a scene's metadata say.

``parse_item`` takes an item as the JSON dictionary a STAC API sends and answers with a Scene, or with a
LeftOut that says why it cannot be one. Facts: the recorded items of Earth Search v1 and USGS landsatlook.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from glacierflow.model.records import Acquisition, LeftOut, Satellite, Scene
from glacierflow.outside import NAME, without_secrets
from glacierflow.search.footprints import is_polygonal

SENTINEL2_COLLECTIONS = {"sentinel-2-l2a", "sentinel-2-c1-l2a"}
LANDSAT_COLLECTION = "landsat-c2l1"
SENTINEL2_STEM_LENGTH = 37
"""Characters of the product URI that downstream steps know as the product's name."""

_PRODUCT_URI = re.compile(
    r"^(S2[A-Z])_MSIL2A_(\d{8}T\d{6})_N(\d{4})_(R\d{3})_T(\d{2}[C-X][A-Z]{2})_\d{8}T\d{6}(\.SAFE)?$"
)
_LANDSAT_PLATFORM = re.compile(r"^landsat[_-](\d)$", re.IGNORECASE)
_LANDSAT_NAME = re.compile(r"L([A-Z])(\d{2})_(L1[A-Z]{2})_(\d{3})(\d{3})_(\d{8})_(\d{8})_\d{2}_(T1|T2|RT)")
_INSTRUMENTS = {"C": "OLI", "O": "OLI", "E": "ETM"}
"""By the letter of a product's name; T is TM, or TIRS alone."""
_UNKNOWN_STATION = "XXX00"
"""As USGS ends a scene's id where the ground station is not known."""
_STRIP_ID = re.compile(r"(?:_(\d{8}T\d{6}))?_S(\d{8}T\d{6})_N")
_EPSG = re.compile(r"(?:EPSG:)?(\d{4,6})(?:\.0)?")
_MOST = 1e15
"""No number of an item is larger."""
_OFFSET_BASELINE = "04.00"
"""Since this processing baseline Level-2A adds 1000 to DN."""
_OFFSET_DN = 1000
_FOREIGN_BASELINE = "99"
"""What others than the agency name theirs by."""

_QUOTED = 100
"""Characters of an odd name that are told."""

ATTRIBUTION = {
    "sentinel2": "Contains modified Copernicus Sentinel data",
    "landsat": "Landsat Level-1 data courtesy of the U.S. Geological Survey",
}


class _Unusable(Exception):  # noqa: N818 - carries a LeftOut, never leaves this module
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def parse_time(text: str) -> dt.datetime:
    """An RFC 3339 time as aware UTC datetime; one that names no zone is UTC."""
    moment = dt.datetime.fromisoformat(text)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def parse_item(item: dict[str, Any], satellite: Satellite) -> Scene | LeftOut:
    """The scene of a STAC item, or the reason why it is none."""
    item_id = str(item.get("id", "(no id)"))
    try:
        _as_name(item_id, "its id")
        return _sentinel2(item) if satellite == "sentinel2" else _landsat(item)
    except _Unusable as unusable:
        return LeftOut(item_id=item_id, code=unusable.code, reason=unusable.reason)
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError, OverflowError) as error:
        # pydantic's report spans lines; its first names the field
        what = f"{type(error).__name__} {str(error).splitlines()[0]}"
        return LeftOut(item_id=item_id, code="malformed_item", reason=f"the STAC item is malformed: {what}")


def _as_name(text: str, what: str) -> str:
    """What becomes part of a file's name; anything else could name a file elsewhere."""
    if re.match(NAME, text) is None or text.endswith("\n"):
        raise _Unusable(
            "unsafe_name",
            f"{what} {text[:_QUOTED]} is not made of letters, digits, '.', '_' and '-' alone",
        )
    return text


def _sentinel2(item: dict[str, Any]) -> Scene:
    properties, collection = item["properties"], item["collection"]
    if collection not in SENTINEL2_COLLECTIONS:
        raise _Unusable("wrong_collection", f"collection {collection} is not Sentinel-2 Level-2A")
    uri = _PRODUCT_URI.match(properties.get("s2:product_uri", ""))
    if uri is None:
        given = properties.get("s2:product_uri")
        raise _Unusable("unknown_name", f"s2:product_uri {given} is not the name of a Level-2A product")
    mission, sensing, baseline, orbit, tile = uri.group(1, 2, 3, 4, 5)
    name = uri[0].removesuffix(".SAFE")
    asset = _asset(item, "nir", "band 8")
    bands = asset.get("raster:bands") or asset.get("bands")
    band = bands[0] if isinstance(bands, list) and isinstance(bands[0], dict) else {}
    classes, applied = item["assets"].get("scl"), properties.get("earthsearch:boa_offset_applied")
    classes_href = classes.get("href") if isinstance(classes, dict) else None
    return Scene(
        satellite="sentinel2",
        platform=str(properties.get("platform") or f"sentinel-{mission[1:].lower()}"),
        place=tile,
        # The datatake's sensing time is in the name; baseline and file time are not part of the key, so that
        # a reprocessed duplicate meets its original.
        acquisition=f"{mission}_{sensing}_{orbit}",
        stem=name[:SENTINEL2_STEM_LENGTH],
        requester_pays=bool(properties.get("storage:requester_pays", False)),
        scale=_finite(band.get("scale", band.get("raster:scale"))),
        offset=_finite(band.get("offset", band.get("raster:offset"))),
        offset_applied=applied if isinstance(applied, bool) else None,
        baseline=f"{baseline[:2]}.{baseline[2:]}",
        source_name=f"{name}_B08.tif",
        href=asset["href"],
        asset_key="nir",
        classification_href=classes_href if isinstance(classes_href, str) else None,
        **_shared(item, asset, properties, _time_of(properties) or parse_time(sensing)),
    )


def _landsat(item: dict[str, Any]) -> Scene:
    properties, collection = _with_what_the_name_tells(item), item["collection"]
    if collection != LANDSAT_COLLECTION:
        raise _Unusable("wrong_collection", f"collection {collection} is not Landsat Collection 2 Level-1")
    number = _LANDSAT_PLATFORM.match(properties["platform"])
    instruments = {str(name).upper() for name in properties.get("instruments") or ()}
    if number is None or int(number[1]) < 4:
        raise _Unusable("mss", f"{properties['platform']} carries only MSS, 60 m pixels")
    if instruments & {"OLI", "ETM", "ETM+"}:
        # the panchromatic band has a grid of its own, shifted by half a pixel of the item's
        key, what, item_grid = "pan", "panchromatic band", {}
    elif "TM" in instruments:
        key, what, item_grid = "nir08", "near infrared band of TM", properties
    else:
        found = ", ".join(sorted(instruments)) or "none named"
        raise _Unusable("mss", f"instruments {found}: only OLI, ETM+ and TM are used")
    asset = _asset(item, key, what)
    s3 = (asset.get("alternate") or {}).get("s3") or {}
    time = _time_of(properties)
    if time is None:
        raise _Unusable("malformed_item", "the STAC item tells no time: datetime, start_datetime")
    place = f"{properties['landsat:wrs_path']}{properties['landsat:wrs_row']}"
    told = properties.get("landsat:scene_id")
    scene_id = told or f"{item['id'][:2]}{number[1]}{place}{time:%Y%j}{_UNKNOWN_STATION}"
    scene_id = _as_name(str(scene_id), "landsat:scene_id")
    return Scene(
        satellite="landsat",
        platform=str(properties["platform"]),
        place=place,
        # the item's id and the scene's hold when and how often it was processed
        acquisition=f"L{number[1]}_{place}_{time:%Y%m%d}",
        stem=f"{time:%Y%m%d%H%M%S}_{scene_id}_{item['id']}",
        requester_pays=bool(s3.get("storage:requester_pays", bool(s3))),
        scale=None,
        offset=None,
        offset_applied=None,
        baseline=None,
        # of a signed address only the path is a name
        source_name=_as_name(urlsplit(asset["href"]).path.rpartition("/")[2], "the file of its asset"),
        # USGS's https hrefs need an authorisation of their own
        href=s3.get("href") or asset["href"],
        asset_key=key,
        **_shared(item, {**item_grid, **asset}, properties, time),
    )


def _with_what_the_name_tells(item: dict[str, Any]) -> dict[str, Any]:
    """The properties of a Landsat item; what is missing or null is taken from the product's name."""
    given: dict[str, Any] = item["properties"]
    named = _LANDSAT_NAME.match(str(item["id"]))
    if named is None:
        return given
    letter, number, correction, path, row, _, _, tier = named.groups()
    known = {
        "platform": f"LANDSAT_{int(number)}",
        "instruments": [_INSTRUMENTS.get(letter, "TM" if int(number) in {4, 5} else "TIRS")],
        "landsat:wrs_path": path,
        "landsat:wrs_row": row,
        "landsat:collection_category": tier,
        "landsat:correction": correction,
    }
    return known | {name: value for name, value in given.items() if value is not None}


def _time_of(properties: dict[str, Any]) -> dt.datetime | None:
    """When it was sensed, the middle where begin and end are told; None where nothing is."""
    if properties.get("datetime"):
        return parse_time(properties["datetime"])
    ends = [
        parse_time(properties[name]) for name in ("start_datetime", "end_datetime") if properties.get(name)
    ]
    return ends[0] + (ends[-1] - ends[0]) / 2 if ends else None


def _finite(given: object) -> float | None:
    """A number, if it is a finite one: JSON of others may hold NaN, and ours does not."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < _MOST
    return float(given) if is_number else None  # type: ignore[arg-type]


def _asset(item: dict[str, Any], key: str, what: str) -> dict[str, Any]:
    asset: dict[str, Any] | None = item["assets"].get(key)
    if asset is None or not isinstance(asset.get("href"), str) or not asset["href"]:
        raise _Unusable("no_asset", f"no asset {key} ({what}) in the STAC item")
    return asset


def _shared(
    item: dict[str, Any], asset: dict[str, Any], properties: dict[str, Any], time: dt.datetime
) -> dict[str, Any]:
    """Fields that both satellites' items give alike; ``asset`` also names the grid, where it is known."""
    checksum = asset.get("file:checksum")
    return {
        "item_id": item["id"],
        "collection": item["collection"],
        "datetime": time,
        "epsg": _epsg(properties, asset),
        "shape": _numbers(asset.get("proj:shape"), 2),
        "transform": _numbers(asset.get("proj:transform"), 6),
        "footprint": _footprint(item),
        "cloud_cover": _finite(properties.get("eo:cloud_cover")),
        "sun_azimuth": _finite(properties.get("view:sun_azimuth")),
        "sun_elevation": _finite(properties.get("view:sun_elevation")),
        "checksum": checksum if isinstance(checksum, str) else None,
        "properties": {
            **properties,
            "bbox": item.get("bbox"),
            "landsatlook_href": without_secrets(asset["href"]),
        },
    }


def _footprint(item: dict[str, Any]) -> dict[str, Any]:
    """The item's geometry; its bounding box where it has none that is, else one without area."""
    geometry = item.get("geometry")
    if isinstance(geometry, dict) and is_polygonal(geometry):
        return geometry
    west, south, east, north = _numbers(item.get("bbox"), 4) or (0.0, 0.0, 0.0, 0.0)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    box = {"type": "Polygon", "coordinates": [ring]}
    return box if is_polygonal(box) else {"type": "Polygon", "coordinates": []}


def _numbers(given: object, count: int) -> tuple[float, ...] | None:
    """The first numbers of a list; None where it is none: no image is lost for what its file says itself."""
    if not isinstance(given, list) or len(given) < count:
        return None
    numbers = [_finite(number) for number in given[:count]]
    return None if None in numbers else tuple(given[:count])


def _epsg(properties: dict[str, Any], asset: dict[str, Any]) -> int | None:
    """``proj:code`` or, of older items, ``proj:epsg``; None where neither tells, for the file does."""
    for owner in (asset, properties):
        for name in ("proj:code", "proj:epsg"):
            found = _EPSG.fullmatch(str(owner.get(name)))
            if found is not None:
                return int(found[1])
    return None


def is_foreign(scene: Scene) -> bool:
    """Whether somebody else than the agency processed it, whose baseline 99.99 says nothing of its age."""
    return (scene.baseline or "").startswith(_FOREIGN_BASELINE)


def processed_at(scene: Scene) -> str:
    """When the agency processed a scene, as digits to sort by; empty where nothing tells.

    ``created`` and ``updated`` are of the item, and an archive may be filled in any order.
    """
    if scene.satellite == "landsat":
        named = _LANDSAT_NAME.search(scene.item_id) or _LANDSAT_NAME.search(scene.source_name)
        return named[7] if named else ""
    told = str(scene.properties.get("s2:generation_time") or "")
    strip = _STRIP_ID.search(str(scene.properties.get("s2:datastrip_id") or ""))
    digits = re.sub(r"\D", "", told.partition(".")[0])
    return digits or (strip[1] or "").replace("T", "") if strip else digits


def strip_began(scene: Scene) -> dt.datetime | None:
    """When the data strip began that a Sentinel-2 tile is cut from; None where the item does not say."""
    found = _STRIP_ID.search(str(scene.properties.get("s2:datastrip_id") or ""))
    try:
        return parse_time(found[2]) if found else None
    except ValueError:
        return None


def zero_dn(scene: Scene) -> int:
    """DN of reflectance 0: 1000 in Level-2A since baseline 04.00, unless the archive took it back.

    ``raster:bands`` names an offset where it was taken back, too, so the archive's flag counts first.
    """
    if scene.satellite == "landsat" or scene.offset_applied:
        return 0
    if not is_foreign(scene) and (scene.baseline or "") < _OFFSET_BASELINE:
        return 0
    if scene.offset is not None and scene.scale:
        return round(-scene.offset / scene.scale)
    return 0 if is_foreign(scene) else _OFFSET_DN


def attribution(acquisition: Acquisition) -> str:
    """The notice that the owner of the source data asks for."""
    return f"{ATTRIBUTION[acquisition.scenes[0].satellite]} {acquisition.datetime.year}"


def view_of(acquisition: Acquisition) -> dict[str, Any]:
    """What pairing needs beside the time, by its STAC name: orbit or path and row, sun, cloud cover.

    Of several tiles the mean counts; angles in degrees, the sun's azimuth from north over east.
    """
    first = acquisition.scenes[0]
    covers = [scene.cloud_cover for scene in acquisition.scenes]
    known: dict[str, Any] = {
        "view:sun_azimuth": _mean_azimuth([scene.sun_azimuth for scene in acquisition.scenes]),
        "view:sun_elevation": _mean([scene.sun_elevation for scene in acquisition.scenes]),
        # USGS writes -1 where it does not know
        "eo:cloud_cover": _mean([cover for cover in covers if cover is not None and cover >= 0]),
    }
    if first.satellite == "sentinel2":
        known["sat:relative_orbit"] = int(acquisition.key.rpartition("_R")[2])
    else:
        known |= {"landsat:wrs_path": first.place[:3], "landsat:wrs_row": first.place[3:]}
        known["view:off_nadir"] = first.properties.get("view:off_nadir")
    return {name: value for name, value in known.items() if value is not None}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 6) if known else None


def _mean_azimuth(values: Iterable[float | None]) -> float | None:
    known = [math.radians(value) for value in values if value is not None]
    if not known:
        return None
    mean = math.atan2(sum(math.sin(value) for value in known), sum(math.cos(value) for value in known))
    return round(math.degrees(mean) % 360, 6)
