"""Small trees of products, ours and the predecessor's, for tests that look at trees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from samples import make_region

from glacierflow.imagery.grid import geobox_of
from glacierflow.model.layout import Layout
from glacierflow.model.records import SATELLITES, Region, Satellite
from glacierflow.products.cog import write_cog
from glacierflow.products.lineage import combine_lines
from glacierflow.step.sidecars import rebuild_tree
from glacierflow.store import LocalStore

REGION = make_region("900_test", ("22WEB",), (-207000, -2298000, -206400, -2297100))
STEMS = ("S2A_MSIL2A_20240701T152911_N0511_R068", "S2B_MSIL2A_20240703T152911_N0511_R068")
LANDSAT_ID = "LC08_L1TP_009011_20240705_20240712_02_T1"
LANDSAT_STEM = f"20240705145911_LC80090112024187LGN00_{LANDSAT_ID}"
CATALOGUE = "region,mgrs_tiles,xmin,ymin,xmax,ymax\n900_test,22WEB,-207000,-2298000,-206400,-2297100\n"


def pixels(seed: int, satellite: Satellite = "sentinel2") -> NDArray[np.uint16]:
    image = np.random.default_rng(seed).integers(1, 9000, geobox_of(REGION, satellite).shape)
    return image.astype(np.uint16)


def our_tree(root: Path, region: Region = REGION) -> Path:
    """Two Sentinel-2 products and one Landsat product with all that belongs to them."""
    layout = Layout("1_download_merge_and_clip")
    for number, stem in enumerate(STEMS):
        write_product(root, layout, region, stem, pixels(number))
        put(root / layout.individual_csv(region.name, stem), line_of(stem))
        put(root / layout.stac_item("sentinel2", region.name, stem), "{}")
    put(root / layout.combined_csv(region.name), combine_lines(line_of(stem) for stem in STEMS))
    write_product(root, layout, region, LANDSAT_STEM, pixels(5, "landsat"), "landsat")
    put(root / layout.stac_item("landsat", region.name, LANDSAT_STEM), "{}")
    put(root / layout.query_results(region.name), f",id\n0,{LANDSAT_ID}\n")
    for satellite in SATELLITES:
        rebuild_tree(LocalStore(root), layout, satellite, region)
        path = root / layout.template(satellite, region.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cog(
            path, np.ones(geobox_of(region, satellite).shape, np.uint8), geobox_of(region, satellite), {}
        )
    return root


def their_tree(root: Path, structure: str = "old", region: Region = REGION) -> Path:
    """The predecessor's: plain GeoTIFFs without tags, and its CSVs."""
    layout = Layout(".", "old" if structure == "old" else "new")
    for number, stem in enumerate(STEMS):
        write_plain(root / layout.product("sentinel2", region.name, stem), pixels(number))
        put(root / layout.individual_csv(region.name, stem), line_of(stem))
    put(root / layout.combined_csv(region.name), combine_lines(line_of(stem) for stem in STEMS))
    write_plain(root / layout.template("sentinel2", region.name), pixels(0))
    return root


def line_of(stem: str) -> str:
    return f"{stem},{stem}_T22WEB_20240701T193020_B08.tif"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_product(
    root: Path,
    layout: Layout,
    region: Region,
    stem: str,
    image: NDArray[np.uint16],
    satellite: Satellite = "sentinel2",
) -> Path:
    path = root / layout.product(satellite, region.name, stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = {
        "GLACIERFLOW_PRODUCTION": "0" * 64,
        "GLACIERFLOW_ACQUISITION": stem,
        "GLACIERFLOW_SOURCES": json.dumps([{"item": "x"}]),
    }
    write_cog(path, image, geobox_of(region, satellite), tags)
    return path


def write_plain(path: Path, image: NDArray[Any], **other: Any) -> None:
    """A GeoTIFF as rioxarray writes it, or with another profile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "dtype": image.dtype,
        "count": 1,
        "height": image.shape[0],
        "width": image.shape[1],
        "crs": "EPSG:3413",
        "transform": geobox_of(REGION, "sentinel2").affine,
        "nodata": 0,
    } | other
    with rasterio.open(path, "w", **profile) as target:
        for band in range(profile["count"]):
            target.write(image.astype(profile["dtype"]), band + 1)
