"""An independent truth for resampling: numpy in float64 at coordinates from pyproj for every single pixel."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from made_scenes import sentinel2_item
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from glacierflow.model.records import Scene
from glacierflow.search.items import parse_item


@dataclass(frozen=True)
class Tile:
    """A source image in memory, 0 where it has nothing."""

    data: NDArray[np.uint16]
    transform: Affine
    epsg: int

    def write(self, path: Path, block: int = 256) -> Scene:
        """As a file, and the scene that names it."""
        with rasterio.open(
            path, "w", driver="GTiff", dtype="uint16", count=1, height=self.data.shape[0],
            width=self.data.shape[1], crs=f"EPSG:{self.epsg}", transform=self.transform, nodata=0,
            compress="deflate", predictor=2, tiled=True, blockxsize=block, blockysize=block,
        ) as out:  # fmt: skip
            out.write(self.data, 1)
        scene = parse_item(sentinel2_item(), "sentinel2")
        assert isinstance(scene, Scene)
        return scene.model_copy(update={"href": str(path), "epsg": self.epsg, "item_id": path.stem})


@functools.cache
def to_utm(epsg: int) -> Transformer:
    """From EPSG:3413; slow to make."""
    return Transformer.from_crs(3413, epsg, always_xy=True)


def coordinates(geobox: GeoBox, tile: Tile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(row, column) of every pixel's centre on the tile."""
    rows, cols = geobox.shape
    u, v = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    a = geobox.affine
    east, north = to_utm(tile.epsg).transform(a.a * u + a.b * v + a.c, a.d * u + a.e * v + a.f)
    b = ~tile.transform
    return b.d * east + b.e * north + b.f, b.a * east + b.b * north + b.c


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel, a = -1/2, as a function of the distance."""
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0.0)))


def _hat(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(0.0, 1 - np.abs(distance)))


def exact(tile: Tile, geobox: GeoBox) -> NDArray[np.float64]:
    """Cubic convolution; bilinear over the valid ones where one of the 16 is missing; NaN for nothing."""
    r, c = coordinates(geobox, tile)
    reach = 2
    padded = np.pad(tile.data.astype(np.float64), reach + 1)
    height, width = tile.data.shape
    inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
    i, j = (
        np.floor(np.where(inside, r, 0) - 0.5).astype(int),
        np.floor(np.where(inside, c, 0) - 0.5).astype(int),
    )
    cubic, linear, weight = (np.zeros(r.shape) for _ in range(3))
    whole = np.ones(r.shape, bool)
    for di in range(-1, 3):
        for dj in range(-1, 3):
            value = padded[i + di + reach + 1, j + dj + reach + 1]
            y, x = r - 0.5 - (i + di), c - 0.5 - (j + dj)
            whole &= value > 0
            cubic += _keys(y) * _keys(x) * value
            w = _hat(y) * _hat(x) * (value > 0)
            linear += w * value
            weight += w
    with np.errstate(invalid="ignore", divide="ignore"):
        result = np.where(whole, cubic, linear / weight)
    nearest = padded[np.floor(np.where(inside, r, 0)).astype(int) + reach + 1,
                     np.floor(np.where(inside, c, 0)).astype(int) + reach + 1]  # fmt: skip
    return np.where(inside & (nearest > 0), np.clip(result, 1, 65535), np.nan)


def exact_mosaic(tiles: list[Tile], geobox: GeoBox) -> NDArray[np.float64]:
    """The first valid one, in order."""
    mosaic = np.full(geobox.shape, np.nan)
    for tile in tiles:
        mosaic = np.where(np.isnan(mosaic), exact(tile, geobox), mosaic)
    return mosaic


def assert_exact(ours: NDArray[Any], truth: NDArray[np.float64]) -> None:
    """The contract: valid at the same pixels, 99.9 % within 1 DN, none beyond 3."""
    np.testing.assert_array_equal(ours == 0, np.isnan(truth))
    difference = np.abs(ours.astype(np.float64) - np.nan_to_num(truth))
    assert difference.max() <= 3
    assert (difference <= 1).mean() >= 0.999
