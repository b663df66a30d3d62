"""STAC items of the sample archive, in the shape in which Earth Search and USGS landsatlook answer."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from glacierflow.local.sample.frames import Grid, Pass
from glacierflow.local.sample.scene import Rectangle, SceneStats

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


RECORD = "glacierflow:sample"
"""Property that says the item is made up, and for which regions it holds pixels."""
SAMPLE_VERSION = 1
"""Changes whenever the same request would give other pixels or items."""

_BASELINE, _NEWER_BASELINE = "05.10", "05.11"
_EXTENSIONS = "https://stac-extensions.github.io"


def sentinel2_id(tile: str, overflight: Pass, sequence: int) -> str:
    """Earth Search's item id, such as ``S2B_22WEB_20240705_0_L2A``."""
    return f"{overflight.platform}_{tile}_{overflight.start:%Y%m%d}_{sequence}_L2A"


def sentinel2_item(
    grid: Grid,
    overflight: Pass,
    sequence: int,
    stats: SceneStats,
    footprint: BaseGeometry,
    rectangles: Iterable[Rectangle],
) -> dict[str, Any]:
    """A ``sentinel-2-l2a`` item; sequence 1 is the reprocessed duplicate of sequence 0."""
    baseline = _NEWER_BASELINE if sequence else _BASELINE
    made = overflight.start + dt.timedelta(days=200 * sequence, hours=5)
    start, mission, code = f"{overflight.start:%Y%m%dT%H%M%S}", overflight.platform, baseline.replace(".", "")
    tile, zone, band, square = grid.name, grid.name[:-3], grid.name[-3], grid.name[-2:]
    item_id = sentinel2_id(tile, overflight, sequence)
    folder = f"{int(zone)}/{band}/{square}/{overflight.start.year}/{overflight.start.month}/{item_id}"
    # a tile is sensed some seconds after its datatake began, later the further south it lies; no two at once
    delay = 2 + (9.4e6 - grid.top) / 6.7e3 + int(zone) / 100 + grid.left / 1e8
    sensed = overflight.start + dt.timedelta(seconds=round(delay, 3))
    properties: dict[str, Any] = {
        "created": _stamp(made),
        "platform": f"sentinel-{mission[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(stats.cloud_share * 100, 6),
        "proj:epsg": grid.epsg,
        "proj:centroid": {"lat": round(footprint.centroid.y, 5), "lon": round(footprint.centroid.x, 5)},
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "grid:code": f"MGRS-{int(zone)}{band}{square}",
        **_sun(sensed, footprint),
        "s2:degraded_msi_data_percentage": 0,
        "s2:nodata_pixel_percentage": round(100 - stats.valid_share * 100, 6),
        "s2:saturated_defective_pixel_percentage": 0,
        "s2:cloud_shadow_percentage": 0,
        "s2:vegetation_percentage": 0,
        "s2:not_vegetated_percentage": 0,
        "s2:water_percentage": 0,
        "s2:unclassified_percentage": 0,
        "s2:medium_proba_clouds_percentage": 0,
        "s2:high_proba_clouds_percentage": round(stats.cloud_share * 100, 6),
        "s2:thin_cirrus_percentage": 0,
        "s2:snow_ice_percentage": round(100 - stats.cloud_share * 100, 6),
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{mission}_MSIL2A_{start}_N{code}_R{overflight.relative_orbit:03d}_T{tile}"
        f"_{made:%Y%m%dT%H%M%S}.SAFE",
        "s2:generation_time": f"{made:%Y-%m-%dT%H:%M:%S}.000000Z",
        "s2:datatake_id": f"G{mission}_{start}_{overflight.orbit:06d}_N{baseline}",
        "s2:datatake_type": "INS-NOBS",
        "s2:datastrip_id": f"{mission}_OPER_MSI_L2A_DS_SAMP_{made:%Y%m%dT%H%M%S}_S{start}_N{baseline}",
        "s2:granule_id": f"{mission}_OPER_MSI_L2A_TL_SAMP_{made:%Y%m%dT%H%M%S}_A{overflight.orbit:06d}"
        f"_T{tile}_N{baseline}",
        "s2:reflectance_conversion_factor": 1.0,
        "datetime": f"{sensed:%Y-%m-%dT%H:%M:%S.%f}Z",
        "s2:sequence": str(sequence),
        "earthsearch:s3_path": f"s3://sentinel-cogs/sentinel-s2-l2a-cogs/{folder}",
        "earthsearch:payload_id": f"glacierflow-sample/{item_id}",
        "earthsearch:boa_offset_applied": True,
        "processing:software": {"glacierflow-sample": str(SAMPLE_VERSION)},
        "updated": _stamp(made),
        RECORD: _record(rectangles),
    }
    extensions = ["eo/v1.1.0", "projection/v1.1.0", "raster/v1.1.0", "grid/v1.1.0", "sentinel-2/v1.0.0"]
    extensions += ["processing/v1.1.0", "view/v1.0.0", "mgrs/v1.0.0"]
    schemas = [f"{_EXTENSIONS}/{name}/schema.json" for name in extensions]
    return _feature(item_id, "sentinel-2-l2a", properties, footprint, schemas, {"nir": _nir_asset(grid)})


def landsat_id(grid: Grid, overflight: Pass) -> str:
    """USGS's item id, such as ``LC08_L1TP_063018_20160718_20200906_02_T1``."""
    made = overflight.start + dt.timedelta(days=12)
    path_row = grid.name.replace("-", "")
    return f"{overflight.platform}_L1TP_{path_row}_{overflight.start:%Y%m%d}_{made:%Y%m%d}_02_T1"


def landsat_item(
    grid: Grid, overflight: Pass, stats: SceneStats, footprint: BaseGeometry, rectangles: Iterable[Rectangle]
) -> dict[str, Any]:
    """A ``landsat-c2l1`` item with its panchromatic asset, in its requester-pays bucket."""
    item_id = landsat_id(grid, overflight)
    path, row = grid.name.split("-")
    is_etm = overflight.platform == "LE07"
    cloud = round(stats.cloud_share * 100, 2)
    made = overflight.start + dt.timedelta(days=12)
    rows = (grid.rows + 1) // 2
    properties: dict[str, Any] = {
        "datetime": f"{overflight.start:%Y-%m-%dT%H:%M:%S.%f}Z",
        "eo:cloud_cover": cloud,
        **_sun(overflight.start, footprint),
        "platform": f"LANDSAT_{int(overflight.platform[2:])}",
        "instruments": ["ETM"] if is_etm else ["OLI", "TIRS"],
        "view:off_nadir": 0,
        "landsat:cloud_cover_land": cloud,
        "landsat:wrs_type": "2",
        "landsat:wrs_path": path,
        "landsat:wrs_row": row,
        "landsat:scene_id": f"L{overflight.platform[1]}{overflight.platform[3]}{path}{row}"
        f"{overflight.start:%Y%j}LGN00",
        "landsat:collection_category": "T1",
        "landsat:collection_number": "02",
        "landsat:correction": "L1TP",
        "accuracy:geometric_x_bias": 0,
        "accuracy:geometric_y_bias": 0,
        "accuracy:geometric_x_stddev": 0.0,
        "accuracy:geometric_y_stddev": 0.0,
        "accuracy:geometric_rmse": 0.0,
        "proj:epsg": grid.epsg,
        "proj:shape": [rows, rows],
        "proj:transform": [30, 0, grid.left - 7.5, 0, -30, grid.top + 7.5],
        "created": _stamp(made),
        "updated": _stamp(made),
        RECORD: _record(rectangles),
    }
    extensions = ["https://landsat.usgs.gov/stac/landsat-extension/v1.1.1/schema.json"]
    for name in (
        "view/v1.0.0",
        "projection/v1.0.0",
        "eo/v1.0.0",
        "alternate-assets/v1.1.0",
        "storage/v1.0.0",
    ):
        extensions.append(f"{_EXTENSIONS}/{name}/schema.json")
    file = f"{item_id}_B8.TIF"
    folder = f"standard/{'etm' if is_etm else 'oli-tirs'}/{overflight.start.year}/{path}/{row}/{item_id}"
    pan = _pan_asset(grid, file, f"s3://usgs-landsat/collection02/level-1/{folder}/{file}")
    return _feature(item_id, "landsat-c2l1", properties, footprint, extensions, {"pan": pan})


def _nir_asset(grid: Grid) -> dict[str, Any]:
    band = {"name": "B08", "common_name": "nir", "center_wavelength": 0.842, "full_width_half_max": 0.145}
    return {
        "href": "./B08.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": "NIR 1 - 10m",
        "eo:bands": [band],
        "gsd": grid.pixel,
        "proj:shape": [grid.rows, grid.columns],
        "proj:transform": [grid.pixel, 0, int(grid.left), 0, -grid.pixel, int(grid.top)],
        "raster:bands": [
            {"nodata": 0, "data_type": "uint16", "spatial_resolution": 10, "scale": 0.0001, "offset": -0.1}
        ],
        "roles": ["data", "reflectance"],
    }


def _pan_asset(grid: Grid, file: str, s3_href: str) -> dict[str, Any]:
    return {
        "href": f"./{file}",
        "type": "image/vnd.stac.geotiff; cloud-optimized=true",
        "title": "Panchromatic Band (B8)",
        "description": "Collection 2 Level-1 Panchromatic Band (B8) Top of Atmosphere Radiance",
        "eo:bands": [{"name": "B8", "common_name": "pan", "gsd": grid.pixel, "center_wavelength": 0.59}],
        "alternate": {
            "s3": {"storage:platform": "AWS", "storage:requester_pays": True, "href": s3_href},
        },
        "proj:shape": [grid.rows, grid.columns],
        "proj:transform": [grid.pixel, 0, grid.left, 0, -grid.pixel, grid.top],
        "roles": ["data"],
    }


def _feature(
    item_id: str,
    collection: str,
    properties: dict[str, Any],
    footprint: BaseGeometry,
    extensions: list[str],
    assets: dict[str, Any],
) -> dict[str, Any]:
    from shapely.geometry import mapping

    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": extensions,
        "id": item_id,
        "geometry": mapping(footprint),
        "bbox": [round(edge, 6) for edge in footprint.bounds],
        "properties": properties,
        "links": [],
        "assets": assets,
        "collection": collection,
    }


def _record(rectangles: Iterable[Rectangle]) -> dict[str, Any]:
    regions = [[one.name, one.xmin, one.ymin, one.xmax, one.ymax] for one in sorted(rectangles)]
    return {"version": SAMPLE_VERSION, "regions": regions}


def _sun(when: dt.datetime, footprint: BaseGeometry) -> dict[str, float]:
    """Where the sun stands, within about a degree."""
    longitude, latitude = footprint.centroid.x, math.radians(footprint.centroid.y)
    declination = math.radians(-23.44) * math.cos(2 * math.pi * (when.timetuple().tm_yday + 10) / 365.25)
    hour_angle = math.radians((when.hour + when.minute / 60 - 12) * 15 + longitude)
    up = math.sin(latitude) * math.sin(declination)
    up += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    south = math.cos(hour_angle) * math.sin(latitude) - math.tan(declination) * math.cos(latitude)
    azimuth = 180 + math.degrees(math.atan2(math.sin(hour_angle), south))
    return {
        "view:sun_azimuth": round(azimuth, 6),
        "view:sun_elevation": round(math.degrees(math.asin(up)), 6),
    }


def _stamp(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S}.000Z"
