"""Clips of the real Landsat pair over the whole Yahtse glacier, made as the step does, and small ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from made_motion import moved, smooth
from samples import ARCHIVES, make_region, shared
from test_read import scenes_of

from glacierflow.cloud import Cloud
from glacierflow.imagery.grid import geobox_of
from glacierflow.imagery.mosaic import Imagery
from glacierflow.model.layout import Layout
from glacierflow.model.records import Region, Resampling, StepSettings
from glacierflow.products.cog import write_cog
from glacierflow.products.lineage import product_tags
from glacierflow.search.acquisitions import group_scenes


def yahtse() -> Region:
    """The largest rectangle inside both scenes."""
    with shared("data/velocity/regions.csv").open() as lines:
        (row,) = csv.DictReader(lines)
    xmin, ymin, xmax, ymax = (float(row[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
    return make_region(row["region"], (row["mgrs_tiles"],), (xmin, ymin, xmax, ymax))


def write_clips(root: Path, resampling: Resampling = "cubic") -> Path:
    """Both clips below a directory, with their tags."""
    region, settings = yahtse(), StepSettings(resampling=resampling)
    box, layout = geobox_of(region, "landsat"), Layout("1_download_merge_and_clip")
    imagery = Imagery(Cloud(), settings)
    for scene in scenes_of(ARCHIVES["real"](), "landsat"):
        image = imagery.mosaic([scene], box)
        (acquisition,) = group_scenes([scene], "landsat", ())
        coverage = float(np.count_nonzero(image) / image.size)
        path = root / layout.product("landsat", region.name, acquisition.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cog(path, image, box, product_tags(acquisition, region, settings, coverage=coverage))
    imagery.close()
    return root


SMALL = make_region("905_small", ("07VDJ",), (-3280500, 366000, -3277500, 369000))
SMALL_STEMS = (
    "20160718203706_LC80630182016200LGN00_LC08_L1TP_063018_20160718_20200906_02_T1",
    "20160803203709_LC80630182016216LGN00_LC08_L1TP_063018_20160803_20200906_02_T1",
)


def write_small_clips(root: Path) -> Path:
    """Two clips of 200 x 200 pixels, real texture moved by a smooth field, below a directory."""
    pair, layout, box = (
        moved(smooth, size=200),
        Layout("1_download_merge_and_clip"),
        geobox_of(SMALL, "landsat"),
    )
    for stem, image in zip(SMALL_STEMS, (pair.first, pair.second), strict=True):
        path = root / layout.product("landsat", SMALL.name, stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        tags = {
            "GLACIERFLOW_PRODUCTION": stem.ljust(64, "0")[:64],
            "GLACIERFLOW_COVERAGE": "1.0000",
            "GLACIERFLOW_RESAMPLING": "cubic",
            "GLACIERFLOW_SOURCES": json.dumps([{"item": stem[37:]}]),
        }
        write_cog(path, image.round().clip(1, 65535).astype(np.uint16), box, tags)
    return root
