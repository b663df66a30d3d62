"""Grids of the sample archive: true Sentinel-2 tiles, and Landsat frames of full size."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glacierflow.model import CRS, Region
from glacierflow.tiles import mgrs_corner

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["Grid", "landsat_grid", "project", "sentinel2_grid", "transformer"]

_TILE_PIXELS, _TILE_BLOCK = 10_980, 1024
_FRAME_STEP_M = 60_000
_FRAME_PIXELS_30M, _FRAME_BLOCK = 7501, 256
_CHUNK_PIXELS = 1024
_EDGE_POINTS = 24


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up UTM grid."""

    name: str
    """MGRS tile, or WRS path and row with a dash between."""
    epsg: int
    left: float
    """Western edge, metres."""
    top: float
    pixel: int
    """Metres."""
    rows: int
    columns: int
    block: int
    """Pixels along one side of a TIFF block."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in metres."""
        return self.left, self.top - self.rows * self.pixel, self.left + self.columns * self.pixel, self.top

    def chunks(self, bounds: tuple[float, float, float, float]) -> Iterator[tuple[int, int, int, int]]:
        """(row, column, height, width) of the parts, made of whole blocks, that the bounds touch."""
        west, south, east, north = bounds
        step = max(self.block, _CHUNK_PIXELS)
        first_row = max(0, math.floor((self.top - north) / self.pixel) // step * step)
        first_column = max(0, math.floor((west - self.left) / self.pixel) // step * step)
        end_row = min(self.rows, math.ceil((self.top - south) / self.pixel))
        end_column = min(self.columns, math.ceil((east - self.left) / self.pixel))
        for row in range(first_row, end_row, step):
            for column in range(first_column, end_column, step):
                yield row, column, min(step, self.rows - row), min(step, self.columns - column)

    def outline(self) -> BaseGeometry:
        """The grid's rectangle in EPSG:3413, its edges curved as they are there."""
        import shapely

        west, south, east, north = self.bounds
        ring = shapely.segmentize(shapely.box(west, south, east, north), (east - west) / _EDGE_POINTS)
        outline: BaseGeometry = project(ring, self.epsg, CRS)
        return outline


def sentinel2_grid(tile: str) -> Grid:
    """The 10 m grid of a Sentinel-2 tile.

    Raises:
        RegionError: not the name of an MGRS square.
    """
    epsg, left, top = mgrs_corner(tile)
    return Grid(tile, epsg, left, top, 10, _TILE_PIXELS, _TILE_PIXELS, _TILE_BLOCK)


def landsat_grid(region: Region) -> Grid:
    """The 15 m panchromatic grid of the frame that holds the region; frames stand every 60 km.

    Frames are not those of WRS-2, but path and row name one frame only.
    """
    import shapely

    centre = shapely.Point((region.xmin + region.xmax) / 2, (region.ymin + region.ymax) / 2)
    place = project(centre, CRS, 4326)
    zone = int((place.x + 180) // 6) + 1
    in_zone = project(centre, CRS, 32600 + zone)
    column, row = round(in_zone.x / _FRAME_STEP_M), round(in_zone.y / _FRAME_STEP_M)
    half = _FRAME_PIXELS_30M * 15
    # USGS puts pixel corners of the 30 m bands at odd multiples of 15 m; the pan band starts 7.5 m further in
    left = (column * _FRAME_STEP_M - half) // 30 * 30 + 15
    top = (row * _FRAME_STEP_M + half) // 30 * 30 + 15
    pixels = 2 * _FRAME_PIXELS_30M - 1
    name = f"{(zone * 16 + column) % 233 + 1:03d}-{row % 248 + 1:03d}"
    return Grid(name, 32600 + zone, left + 7.5, top - 7.5, 15, pixels, pixels, _FRAME_BLOCK)


def project(geometry: Any, source: int | str, target: int | str) -> Any:  # noqa: ANN401 - any shapely geometry
    """A geometry from one CRS in another, corner by corner; x is east or longitude."""
    import shapely

    transform = transformer(source, target).transform

    def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transform(points[:, 0], points[:, 1]))

    return shapely.transform(geometry, move)


@functools.cache
def transformer(source: int | str, target: int | str) -> Any:  # noqa: ANN401 - a pyproj.Transformer
    """A cached pyproj transformer, x first."""
    import pyproj

    return pyproj.Transformer.from_crs(source, target, always_xy=True)
