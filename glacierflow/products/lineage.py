"""What a product was made from: GeoTIFF tags, and the CSVs that downstream steps read. Pure."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from glacierflow.model.records import CRS, Acquisition, Region, Scene, StepSettings
from glacierflow.outside import cell, without_secrets
from glacierflow.search.footprints import footprint_on_grid, project
from glacierflow.search.items import attribution, view_of
from glacierflow.version import __version__

PRODUCTION_TAG = "GLACIERFLOW_PRODUCTION"
ACQUISITION_TAG = "GLACIERFLOW_ACQUISITION"
SOURCES_TAG = "GLACIERFLOW_SOURCES"

_OFFSET_BASELINE = "04.00"
"""Since this processing baseline Level-2A adds 1000 to DN."""

_QUERY_COLUMNS = (
    *("id", "bbox", "collection", "datetime", "eo:cloud_cover", "view:sun_azimuth", "view:sun_elevation"),
    *("platform", "instruments", "view:off_nadir", "landsat:cloud_cover_land", "landsat:wrs_type"),
    *("landsat:wrs_path", "landsat:wrs_row", "landsat:scene_id", "landsat:collection_category"),
    *("landsat:collection_number", "landsat:correction", "proj:epsg", "proj:shape", "proj:transform"),
    *("created", "updated", "geometry.type", "geometry.coordinates", "landsatlook_href", "s3_href"),
    *("geometry", "geometry_intersect", "aoi_intersect_frac", "subset_id", "subset_id_no_collection"),
)
"""Columns of the predecessor's ``_stac_query_results.csv``, in its order, after the unnamed index."""


def production_hash(acquisition: Acquisition, region: Region, settings: StepSettings) -> str:
    """Hash of all that decides a product's pixels: sources, grid, resampling.

    Equal hashes mean that the product need not be made again.
    """
    content = {
        "sources": [[scene.source_name, scene.asset_key, scene.baseline] for scene in acquisition.scenes],
        "bounds": region.bounds,
        "resampling": settings.resampling,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def source_names(tags: Mapping[str, str]) -> set[str]:
    """Names of the sources in a product's tags; none where another program wrote it."""
    return {str(source["name"]) for source in json.loads(tags.get(SOURCES_TAG, "[]"))}


def lacked_scenes(
    tags: Mapping[str, str], acquisition: Acquisition, region: Region, settings: StepSettings
) -> tuple[Scene, ...]:
    """The scenes of an acquisition that its product was made without, where it differs in nothing else.

    The product's hash has to be that of the other scenes on this grid with this resampling. So whatever else
    differs, a baseline or a source that is not found any more, nothing counts as lacked.
    """
    names = source_names(tags)
    had = tuple(scene for scene in acquisition.scenes if scene.source_name in names)
    before = acquisition.model_copy(update={"scenes": had})
    if not had or tags.get(PRODUCTION_TAG) != production_hash(before, region, settings):
        return ()
    return tuple(scene for scene in acquisition.scenes if scene.source_name not in names)


def product_tags(
    acquisition: Acquisition,
    region: Region,
    settings: StepSettings,
    *,
    coverage: float,
    region_cloud: float | None = None,
) -> dict[str, str]:
    """Tags of a product's GeoTIFF.

    Args:
        acquisition: what it was made from, in merge order.
        region: whose grid it is on.
        settings: how it was made.
        coverage: share of valid pixels, 0..1.
        region_cloud: share of cloud over the region, 0..1, where it was measured.
    """
    view = {
        f"GLACIERFLOW_{name.rpartition(':')[2].upper()}": str(value)
        for name, value in view_of(acquisition).items()
    }
    differing = differing_offsets(acquisition)
    return {
        PRODUCTION_TAG: production_hash(acquisition, region, settings),
        ACQUISITION_TAG: acquisition.key,
        "GLACIERFLOW_VERSION": __version__,
        "GLACIERFLOW_REGION": region.name,
        "GLACIERFLOW_RESAMPLING": settings.resampling,
        "GLACIERFLOW_COVERAGE": f"{coverage:.4f}",
        **({} if region_cloud is None else {"GLACIERFLOW_REGION_CLOUD": f"{region_cloud:.4f}"}),
        "GLACIERFLOW_PLATFORM": acquisition.platform,
        "GLACIERFLOW_DATETIME": acquisition.datetime.isoformat(),
        **view,
        SOURCES_TAG: json.dumps([source_of(scene) for scene in acquisition.scenes]),
        **({"GLACIERFLOW_DIFFERING_OFFSETS": differing} if differing else {}),
        "ATTRIBUTION": attribution(acquisition),
        "TIFFTAG_DATETIME": f"{acquisition.datetime:%Y:%m:%d %H:%M:%S}",
    }


def differing_offsets(acquisition: Acquisition) -> str | None:
    """Where the tiles of one acquisition differ in what is said of their offset: which says what.

    The search has left out those whose DN differ by 1000 if what is said is true.
    """
    places = [scene.place for scene in acquisition.scenes]
    said = []
    for scene in acquisition.scenes:
        name = scene.place if places.count(scene.place) == 1 else scene.item_id
        applied = "not told" if scene.offset_applied is None else str(scene.offset_applied).lower()
        fields = f"baseline {scene.baseline}, scale {scene.scale}, offset {scene.offset}, applied {applied}"
        said.append(f"{name}: {fields}")
    # A baseline alone changes nothing: 04.00 brought the offset, and neighbours in version agree on it
    kinds = {
        (scene.scale, scene.offset, scene.offset_applied, (scene.baseline or "") >= _OFFSET_BASELINE)
        for scene in acquisition.scenes
    }
    if len(kinds) == 1:
        return None
    return "; ".join(said)


def source_of(scene: Scene) -> dict[str, Any]:
    """What a product's lineage tells of one source."""
    fields = {
        "item": scene.item_id,
        "collection": scene.collection,
        "name": scene.source_name,
        "href": without_secrets(scene.href),
        "datetime": scene.datetime.isoformat(),
        "checksum": scene.checksum,
        "baseline": scene.baseline,
        "scale": scene.scale,
        "offset": scene.offset,
        "offset_applied": scene.offset_applied,
        "cloud_cover": scene.cloud_cover,
        "sun_azimuth": scene.sun_azimuth,
        "sun_elevation": scene.sun_elevation,
    }
    return {name: value for name, value in fields.items() if value is not None}


def individual_line(acquisition: Acquisition) -> str:
    """Stem, then the source tiles in merge order; no header, no newline, as downstream expects."""
    return ",".join([acquisition.stem, *(scene.source_name for scene in acquisition.scenes)])


def combine_lines(lines: Iterable[str]) -> str:
    """All lineage lines in order of sensing time under the header ``0,1[,2...]``."""
    rows = sorted((line.strip().split(",") for line in lines if line.strip()), key=_sensing_time)
    width = max((len(row) for row in rows), default=0)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(range(width))
    writer.writerows(row + [""] * (width - len(row)) for row in rows)
    return text.getvalue()


def _sensing_time(row: list[str]) -> tuple[str, str]:
    """Third part of ``S2A_MSIL2A_20240715T152911_N0511_R068``."""
    parts = row[0].split("_")
    return (parts[2] if len(parts) > 2 else "", row[0])


def query_results(scenes: Iterable[Scene], region: Region) -> str:
    """Landsat items of one unit as CSV rows with the predecessor's columns and values.

    Geometries are WKT in EPSG:3413, metres: the corners of the footprint, and its part within the region's
    rectangle, with the edges that decide ``aoi_intersect_frac``.
    """
    import shapely
    from shapely.geometry import shape

    rectangle = shapely.box(*region.bounds)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["", *_QUERY_COLUMNS], lineterminator="\n")
    writer.writeheader()
    ordered = sorted(scenes, key=lambda scene: (scene.datetime, scene.item_id))
    for number, scene in enumerate(ordered):
        shared = footprint_on_grid(scene.footprint).intersection(rectangle)
        subset = f"{scene.stem}_ortho"
        known = {name: cell(scene.properties.get(name)) for name in _QUERY_COLUMNS}
        writer.writerow(
            known
            | {
                "": number,
                "id": scene.item_id,
                "collection": scene.collection,
                # the predecessor's name of the column; what stood in it was ``proj:code``
                "proj:epsg": f"EPSG:{scene.epsg}",
                "geometry.type": scene.footprint["type"],
                "geometry.coordinates": scene.footprint["coordinates"],
                "s3_href": without_secrets(scene.href) if scene.href.startswith("s3://") else "",
                "geometry": shapely.make_valid(project(shape(scene.footprint), 4326, CRS)).wkt,
                "geometry_intersect": shared.wkt,
                # rounding may take a whole overlap a little beyond
                "aoi_intersect_frac": min(1.0, shared.area / rectangle.area),
                "subset_id": subset,
                "subset_id_no_collection": subset[:14],
            }
        )
    return text.getvalue()


def combine_query_parts(parts: Iterable[str]) -> str:
    """One table from the parts of all units: each item once, in order of time, numbered anew."""
    rows: dict[str, dict[str, str]] = {}
    for part in parts:
        for row in csv.DictReader(io.StringIO(part)):
            rows[row["id"]] = row
    text = io.StringIO()
    writer = csv.DictWriter(text, ["", *_QUERY_COLUMNS], lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(sorted(rows.values(), key=lambda row: (row["subset_id"], row["id"]))):
        writer.writerow(row | {"": str(number)})
    return text.getvalue()
