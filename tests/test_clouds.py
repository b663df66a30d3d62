from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from samples import make_unit, real_region
from test_lineage import scenes

from glacierflow.cloud import Cloud
from glacierflow.errors import DataError
from glacierflow.imagery.compute import Computer
from glacierflow.model.records import Acquisition, StepSettings
from glacierflow.search.acquisitions import Found, group_scenes
from glacierflow.step.cloud_cover import cloud_share
from glacierflow.step.images import UnitImages

EDGE_EAST = 344_000
"""Easting that parts cloud from clear land in the middle of the region."""


def classification(path: Path, west: int, east: int, left: int = 300_000, size: int = 5490) -> str:
    """A classification on the grid of tile 33UUU: one class west of an easting, another east of it."""
    eastings = left + 20 * np.arange(size) + 10
    row = np.where(eastings < EDGE_EAST, west, east).astype(np.uint8)
    grid = Affine(20, 0, left, 0, -20, 5_900_040)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 0, "crs": "EPSG:32633"}
    profile |= {"height": 5490, "width": size, "transform": grid, "compress": "deflate", "tiled": True}
    with rasterio.open(path, "w", **profile) as target:
        target.write(np.broadcast_to(row, (5490, size)), 1)
    return str(path)


def pass_over_berlin(*hrefs: str | None) -> Acquisition:
    scene = scenes("sentinel2")[0]
    # of equals the item whose id is later is taken first
    tiles = [
        scene.model_copy(update={"classification_href": href, "item_id": str(len(hrefs) - number)})
        for number, href in enumerate(hrefs)
    ]
    return group_scenes(tiles, "sentinel2", ("33UUU",))[0]


def share_east() -> float:
    """Share of the region's 20 m pixels whose centre lies east of the edge, by pyproj alone."""
    region = real_region("902_Berlin")
    x = np.arange(region.xmin + 10, region.xmax, 20)
    y = np.arange(region.ymin + 10, region.ymax, 20)
    east, _ = Transformer.from_crs(3413, 32633, always_xy=True).transform(*np.meshgrid(x, y))
    return float((east >= EDGE_EAST).mean())


def measure(acquisition: Acquisition) -> float | None:
    """As the step measures it, by dask."""
    found, region = Found((acquisition,), (), 1), real_region("902_Berlin")
    unit = make_unit(region.name, "sentinel2")
    images = UnitImages(unit, region, StepSettings(measure_cloud=True), Cloud(), found, Computer())
    try:
        return images.cloud(0)
    finally:
        images.close()


@pytest.mark.parametrize("cloudy", [8, 9, 10])
def test_cloud_is_measured_over_the_region_alone(tmp_path: Path, cloudy: int) -> None:
    share = measure(pass_over_berlin(classification(tmp_path / "scl.tif", west=11, east=cloudy)))
    assert 0.2 < share_east() < 0.8
    assert share == pytest.approx(share_east(), abs=0.003)


def test_what_is_not_classified_does_not_count(tmp_path: Path) -> None:
    assert measure(pass_over_berlin(classification(tmp_path / "scl.tif", west=0, east=9))) == 1.0
    assert measure(pass_over_berlin(classification(tmp_path / "none.tif", west=0, east=0))) is None


def test_the_first_tile_that_has_a_class_decides(tmp_path: Path) -> None:
    first = classification(tmp_path / "first.tif", west=0, east=9)
    second = classification(tmp_path / "second.tif", west=4, east=4)
    assert measure(pass_over_berlin(first, second)) == pytest.approx(share_east(), abs=0.003)
    assert measure(pass_over_berlin(second, first)) == 0.0
    assert measure(pass_over_berlin(None, second)) == 0.0


def test_without_any_classification_nothing_is_known() -> None:
    assert measure(pass_over_berlin(None)) is None
    assert cloud_share(np.zeros((3, 3), np.uint16)) is None


def test_shadow_and_snow_are_no_cloud() -> None:
    assert cloud_share(np.array([[3, 11, 6, 9]], np.uint16)) == 0.25


def test_a_broken_classification_says_so(tmp_path: Path) -> None:
    page = tmp_path / "scl.tif"
    page.write_text("<html>not an image</html>")
    with pytest.raises(DataError, match=r"scl\.tif"):
        measure(pass_over_berlin(str(page)))
