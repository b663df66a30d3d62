"""A product, a region and all regions as STAC: what pairing and search need, with relative links. Pure.

STAC 1.1, static; a copied tree still holds together. No ``raster:scale`` or
``raster:offset`` stands on the image: DN are those of the archive, and what the archive's items say of their
offset contradicts itself; it is told for each source in ``glacierflow:sources``.
"""

from __future__ import annotations

import datetime as dt
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from glacierflow.model.layout import Layout, sensing_time
from glacierflow.model.records import CRS, PIXEL_SIZE_M, Acquisition, Region, Satellite, StepSettings
from glacierflow.products import lineage
from glacierflow.search import items as items_module
from glacierflow.version import __version__

_STAC_VERSION = "1.1.0"
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
_EXTENSIONS = ("projection/v2.0.0", "file/v2.1.0", "eo/v2.0.0", "processing/v1.1.0")
_OPTIONAL_EXTENSIONS = {"view:": "view/v1.0.0", "sat:": "sat/v1.0.0"}
"""These want at least one of their fields, which an item may not have."""
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_SHA256_MULTIHASH = "1220"
"""Code of SHA-256 and its length of 32 bytes, as the file extension wants it before the digest."""

_BAND: dict[str, dict[str, Any]] = {
    "nir": {"name": "B08", "eo:common_name": "nir", "eo:center_wavelength": 0.842},
    "pan": {"name": "B8", "eo:common_name": "pan"},
    "nir08": {"name": "B4", "eo:common_name": "nir", "eo:center_wavelength": 0.83},
}
_TITLE: dict[Satellite, str] = {"sentinel2": "Sentinel-2", "landsat": "Landsat"}
_PROVIDER: dict[Satellite, dict[str, Any]] = {
    "sentinel2": {"name": "ESA", "roles": ["producer", "licensor"], "url": "https://sentinels.copernicus.eu"},
    "landsat": {"name": "USGS", "roles": ["producer", "licensor"], "url": "https://www.usgs.gov/landsat"},
}
_TERMS: dict[Satellite, str] = {
    "sentinel2": "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
    "landsat": "https://www.usgs.gov/landsat-missions/landsat-data-policy",
}


@dataclass(frozen=True, slots=True)
class Product:
    """A finished product."""

    acquisition: Acquisition
    region: Region
    settings: StepSettings
    key: str
    coverage: float
    """Share of valid pixels, 0..1."""
    size: int
    """Bytes."""
    sha256: str
    region_cloud: float | None = None
    """Share of cloud over the region, 0..1, where it was measured."""


def make_item(product: Product, layout: Layout) -> dict[str, Any]:
    """The STAC item of a product."""
    acquisition, region = product.acquisition, product.region
    satellite = acquisition.scenes[0].satellite
    place = layout.stac_item(satellite, region.name, acquisition.stem)
    properties = _properties(product)
    extensions = list(_EXTENSIONS)
    for prefix, extension in _OPTIONAL_EXTENSIONS.items():
        if any(name.startswith(prefix) for name in properties):
            extensions.append(extension)
    return {
        "type": "Feature",
        "stac_version": _STAC_VERSION,
        "stac_extensions": [_EXTENSION.format(name) for name in extensions],
        "id": acquisition.stem,
        "collection": _collection_id(satellite, region),
        "geometry": region.geometry,
        "bbox": _bbox(region),
        "properties": properties,
        "assets": _assets(product, layout, place),
        "links": [
            _link("root", place, layout.stac_catalog, "application/json"),
            _link("parent", place, layout.stac_collection(satellite, region.name), "application/json"),
            _link("collection", place, layout.stac_collection(satellite, region.name), "application/json"),
            *_sources(product),
        ],
    }


def make_collection(
    satellite: Satellite, region: Region, stems: Iterable[str], layout: Layout
) -> dict[str, Any]:
    """All products of one satellite over one region.

    Args:
        satellite: whose.
        region: which.
        stems: of all its products, at least one.
        layout: where things lie.
    """
    place = layout.stac_collection(satellite, region.name)
    ordered = sorted(stems, key=lambda stem: (sensing_time(stem), stem))
    title = f"{_TITLE[satellite]} images of {region.name}"
    pixel = PIXEL_SIZE_M[satellite]
    # stems tell whole seconds, items their fractions: the last one lies within the second that follows
    first, last = sensing_time(ordered[0]), sensing_time(ordered[-1]) + dt.timedelta(seconds=1)
    items = [layout.stac_item(satellite, region.name, stem) for stem in ordered]
    return {
        "type": "Collection",
        "stac_version": _STAC_VERSION,
        "id": _collection_id(satellite, region),
        "title": title,
        "description": f"{title}, clipped to its rectangle on a grid of {pixel} m in {CRS}.",
        "keywords": ["glacier", "Greenland", _TITLE[satellite]],
        "license": "other",
        "providers": [_PROVIDER[satellite]],
        "extent": {
            "spatial": {"bbox": [_bbox(region)]},
            "temporal": {"interval": [[_stamp(first), _stamp(last)]]},
        },
        "links": [
            _link("root", place, layout.stac_catalog, "application/json"),
            _link("parent", place, layout.stac_catalog, "application/json"),
            {"rel": "license", "href": _TERMS[satellite]},
            *(_link("item", place, item, "application/geo+json") for item in items),
        ],
    }


def make_catalog(collections: Mapping[str, str], layout: Layout) -> dict[str, Any]:
    """The root of all collections, given by key and title."""
    place = layout.stac_catalog
    links = [
        _link("child", place, key, "application/json") | {"title": collections[key]}
        for key in sorted(collections)
    ]
    return {
        "type": "Catalog",
        "stac_version": _STAC_VERSION,
        "id": "glacierflow",
        "title": "Clipped satellite images of glacier regions",
        "description": "One collection for each satellite and region.",
        "links": [_link("root", place, place, "application/json"), *links],
    }


def _properties(product: Product) -> dict[str, Any]:
    acquisition, region = product.acquisition, product.region
    first = acquisition.scenes[0]
    pixel = PIXEL_SIZE_M[first.satellite]
    differing = lineage.differing_offsets(acquisition)
    known = {
        "datetime": _stamp(acquisition.datetime),
        "platform": acquisition.platform.lower().replace("_", "-"),
        "gsd": pixel,
        "proj:code": CRS,
        "proj:bbox": list(region.bounds),
        "proj:shape": [
            round((region.ymax - region.ymin) / pixel),
            round((region.xmax - region.xmin) / pixel),
        ],
        "proj:transform": [pixel, 0, region.xmin, 0, -pixel, region.ymax],
        **items_module.view_of(acquisition),
        "processing:software": {"glacierflow": __version__},
        "processing:lineage": items_module.attribution(acquisition),
        "glacierflow:region": region.name,
        "glacierflow:acquisition": acquisition.key,
        "glacierflow:production": lineage.production_hash(acquisition, region, product.settings),
        "glacierflow:resampling": product.settings.resampling,
        "glacierflow:coverage": round(product.coverage, 6),
        "glacierflow:region_cloud": None if product.region_cloud is None else round(product.region_cloud, 6),
        "glacierflow:sources": [lineage.source_of(scene) for scene in acquisition.scenes],
        "glacierflow:differing_offsets": differing,
    }
    return {name: value for name, value in known.items() if value is not None}


def _assets(product: Product, layout: Layout, place: str) -> dict[str, Any]:
    acquisition = product.acquisition
    first = acquisition.scenes[0]
    image = {
        "href": _relative(place, product.key),
        "type": _COG,
        "title": f"{_TITLE[first.satellite]} DN as in the archive, on the region's grid",
        "roles": ["data"],
        "bands": [_BAND[first.asset_key] | {"data_type": "uint16", "nodata": 0}],
        "file:size": product.size,
        "file:checksum": f"{_SHA256_MULTIHASH}{product.sha256}",
    }
    if first.satellite == "landsat":
        return {"image": image}
    csv = layout.individual_csv(product.region.name, acquisition.stem)
    return {
        "image": image,
        "lineage": {"href": _relative(place, csv), "type": "text/csv", "roles": ["metadata"]},
    }


def _sources(product: Product) -> list[dict[str, Any]]:
    """Links to the items that the product was made from, in merge order."""
    settings = product.settings
    urls = {"sentinel2": settings.sentinel2_stac_url, "landsat": settings.landsat_stac_url}
    links = []
    for scene in product.acquisition.scenes:
        collection = f"{urls[scene.satellite].rstrip('/')}/collections/{scene.collection}"
        href = f"{collection}/items/{scene.item_id}"
        links.append({"rel": "derived_from", "href": href, "type": "application/geo+json"})
    return links


def _collection_id(satellite: Satellite, region: Region) -> str:
    return f"glacierflow-{satellite}-{region.name}"


def _bbox(region: Region) -> list[float]:
    longitudes, latitudes = zip(*region.outline, strict=True)
    return [min(longitudes), min(latitudes), max(longitudes), max(latitudes)]


def _link(rel: str, place: str, target: str, media_type: str) -> dict[str, Any]:
    return {"rel": rel, "href": _relative(place, target), "type": media_type}


def _relative(place: str, target: str) -> str:
    path = posixpath.relpath(target, posixpath.dirname(place))
    return path if path.startswith("../") else f"./{path}"


def _stamp(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
