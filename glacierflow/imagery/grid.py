"""The grid of a region, and where on a source it comes from. Never derived from a scene."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.model.records import CRS, PIXEL_SIZE_M, Region, Satellite

if TYPE_CHECKING:
    from affine import Affine
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox


_EDGE_POINTS = 33
"""Points on each side of a rectangle; its image in UTM bends by far less than a pixel between them."""


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of a source image, half-open."""

    row: int
    col: int
    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class Pixels:
    """A window of a source image in memory."""

    data: NDArray[Any]
    """(rows, cols), uint8 or uint16, 0 is nodata."""
    transform: Affine
    epsg: int


@dataclass(frozen=True, slots=True)
class Chunks:
    """The parts of a grid that are made one by one."""

    geobox: GeoBox
    rows: tuple[int, ...]
    """Sizes along y, pixels."""
    cols: tuple[int, ...]
    """Sizes along x, pixels."""

    @property
    def number(self) -> int:
        """How many they are."""
        return len(self.rows) * len(self.cols)

    @property
    def tops(self) -> tuple[int, ...]:
        """The first row of each, by its place along y."""
        return tuple(sum(self.rows[:i]) for i in range(len(self.rows)))

    def part(self, i: int, j: int) -> GeoBox:
        """The grid of one of them."""
        top, left = sum(self.rows[:i]), sum(self.cols[:j])
        return self.geobox[top : top + self.rows[i], left : left + self.cols[j]]


def geobox_of(region: Region, satellite: Satellite) -> GeoBox:
    """The region's exact rectangle in EPSG:3413 at the product's pixel size.

    Origins are not multiples of 15 m, so nothing is snapped.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    size = PIXEL_SIZE_M[satellite]
    rows = round((region.ymax - region.ymin) / size)
    cols = round((region.xmax - region.xmin) / size)
    return GeoBox((rows, cols), Affine(size, 0, region.xmin, 0, -size, region.ymax), CRS)


def source_window(
    geobox: GeoBox, transform: Affine, shape: tuple[int, int], epsg: int, margin: int
) -> Window | None:
    """The source pixels that a geobox is made from, or None where it lies outside the source.

    Args:
        geobox: destination grid, EPSG:3413.
        transform: the source's own affine transform, metres.
        shape: (rows, columns) of the source.
        epsg: the source's CRS.
        margin: source pixels to add on each side, at least half the resampling kernel.
    """
    from pyproj import Transformer

    rows, cols = geobox.shape
    u, v = np.meshgrid(np.linspace(0, cols, _EDGE_POINTS), np.linspace(0, rows, _EDGE_POINTS))
    inner = np.zeros(u.shape, bool)
    inner[1:-1, 1:-1] = True
    x, y = _apply(geobox.affine, u[~inner], v[~inner])
    east, north = Transformer.from_crs(CRS, f"EPSG:{epsg}", always_xy=True).transform(x, y)
    if not (np.isfinite(east).all() and np.isfinite(north).all()):
        return None
    col, row = _apply(~transform, east, north)
    top, left = max(0, math.floor(row.min()) - margin), max(0, math.floor(col.min()) - margin)
    bottom = min(shape[0], math.ceil(row.max()) + margin)
    right = min(shape[1], math.ceil(col.max()) + margin)
    if bottom <= top or right <= left:
        return None
    return Window(top, left, bottom - top, right - left)


def _apply(
    affine: Affine, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def valid_share(image: NDArray[np.uint16]) -> float:
    """Share of pixels that are not nodata, 0..1."""
    return float(np.count_nonzero(image)) / image.size if image.size else 0.0
