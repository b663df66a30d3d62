"""One scene file of the sample archive: a full-size sparse GeoTIFF with pixels around its regions only."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glacierflow.local.sample import frames
from glacierflow.local.sample.frames import Grid, Pass, project, transformer
from glacierflow.model.records import CRS, Satellite

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


Floats32 = npt.NDArray[np.float32]

MARGIN_M = 300.0
"""Pixels reach this far beyond a region."""
_LATTICE = 8
"""Projection, rock and cloud are computed every 8 pixels and bilinear between: below 0.01 pixel off."""
_SWATH_NORMAL = (12 / 13, 5 / 13)
"""Unit vector in EPSG:3413."""
_SWATH_REACH = 0.3
"""Where the edge of the swath runs: the share of the way from the middle of a region to its far corner."""
_EDGE_GAIN = 50.0


@dataclass(frozen=True, slots=True)
class _Brightness:
    ice: float
    ice_contrast: float
    rock: float
    rock_contrast: float
    cloud: float
    ceiling: float


_BRIGHTNESS: dict[Satellite, _Brightness] = {
    "sentinel2": _Brightness(6900, 900, 1300, 300, 10_600, 16_000),
    "landsat": _Brightness(17_500, 3000, 9300, 500, 27_000, 40_000),
}


@dataclass(frozen=True, order=True, slots=True)
class Rectangle:
    """A region's name and extent in EPSG:3413, all that pixels depend on."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def filled(self) -> tuple[float, float, float, float]:
        """Extent with the margin: (xmin, ymin, xmax, ymax)."""
        return self.xmin - MARGIN_M, self.ymin - MARGIN_M, self.xmax + MARGIN_M, self.ymax + MARGIN_M

    @property
    def swath_edge(self) -> float:
        """Distance along the swath's normal at which a cut pass ends, metres."""
        nx, ny = _SWATH_NORMAL
        middle = (self.xmin + self.xmax) / 2 * nx + (self.ymin + self.ymax) / 2 * ny
        return middle + _SWATH_REACH * ((self.xmax - self.xmin) * nx + (self.ymax - self.ymin) * ny) / 2


@dataclass(frozen=True, slots=True)
class SceneStats:
    """What the pixels of a scene hold."""

    valid_share: float
    """Of all pixels of the grid, 0 to 1."""
    cloud_share: float
    """Of the valid pixels, 0 to 1."""


def footprint(grid: Grid, rectangles: Iterable[Rectangle], overflight: Pass) -> BaseGeometry:
    """Where the scene has pixels, in longitude and latitude; empty where it would have none."""
    import shapely

    parts = []
    for rectangle in rectangles:
        part: BaseGeometry = shapely.box(*rectangle.filled)
        if overflight.is_cut:
            part = part.intersection(_seen_side(rectangle))
        parts.append(part)
    area = shapely.segmentize(shapely.union_all(parts).intersection(grid.outline()), 5000.0)
    seen: BaseGeometry = project(area, CRS, 4326)
    return seen


def _seen_side(rectangle: Rectangle) -> BaseGeometry:
    """The half plane inside the swath, as a polygon far larger than any region."""
    import shapely

    (nx, ny), edge, far = _SWATH_NORMAL, rectangle.swath_edge, 5e6
    foot_along = (rectangle.xmin + rectangle.xmax) / 2 * -ny + (rectangle.ymin + rectangle.ymax) / 2 * nx
    x, y = edge * nx - foot_along * ny, edge * ny + foot_along * nx
    corners = [(0, far), (0, -far), (-far, -far), (-far, far)]
    return shapely.Polygon([(x + a * nx - b * ny, y + a * ny + b * nx) for a, b in corners])


def write_scene(path: Path, grid: Grid, rectangles: Iterable[Rectangle], overflight: Pass) -> SceneStats:
    """Write the scene's GeoTIFF whole or not at all: uint16, nodata 0, blocks without pixels left out."""
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    wanted = sorted(rectangles)
    chunks = sorted({chunk for rectangle in wanted for chunk in grid.chunks(_bounds_on(grid, rectangle))})
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".part-{path.name}")
    valid, clouded = 0, 0.0
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "nodata": 0,
        "height": grid.rows,
        "width": grid.columns,
        "crs": f"EPSG:{grid.epsg}",
        "transform": from_origin(grid.left, grid.top, grid.pixel, grid.pixel),
        "tiled": True,
        "blockxsize": grid.block,
        "blockysize": grid.block,
        "compress": "DEFLATE",
        "predictor": 2,
        "zlevel": 1,
        "SPARSE_OK": True,
    }
    with rasterio.open(aside, "w", **profile) as target:
        for chunk in chunks:
            part = _locate(grid, chunk, wanted)
            if part is None:
                continue
            pixels, cloud = _render(part, wanted, overflight)
            if pixels.any():
                target.write(pixels, 1, window=Window(part.column, part.row, part.width, part.height))
                valid += int(np.count_nonzero(pixels))
                clouded += cloud
    os.replace(aside, path)  # noqa: PTH105 - atomic
    return SceneStats(valid / (grid.rows * grid.columns), clouded / valid if valid else 0.0)


def _bounds_on(grid: Grid, rectangle: Rectangle) -> tuple[float, float, float, float]:
    import shapely

    ring = shapely.segmentize(shapely.box(*rectangle.filled), 2000.0)
    bounds: tuple[float, float, float, float] = project(ring, CRS, grid.epsg).bounds
    return bounds


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the grid, with the EPSG:3413 coordinates of every eighth pixel centre."""

    row: int
    column: int
    height: int
    width: int
    origin: tuple[float, float]
    """Near the part, and the same whichever regions there are, so that rounding is the same too."""
    x: frames.Floats
    y: frames.Floats


def _locate(grid: Grid, chunk: tuple[int, int, int, int], rectangles: list[Rectangle]) -> _Part | None:
    """The smallest part of a chunk that holds all its pixels around regions; None without any."""
    row, column, height, width = chunk
    rows = grid.top - (row + 0.5 + np.arange(0, height + _LATTICE, _LATTICE)) * grid.pixel
    columns = grid.left + (column + 0.5 + np.arange(0, width + _LATTICE, _LATTICE)) * grid.pixel
    x, y = transformer(grid.epsg, CRS).transform(*np.meshgrid(columns, rows))
    # a pixel lies within 1.5 steps of the next node, also where the grid is turned by 45 degrees
    near = _seen(x, y, (0.0, 0.0), rectangles, is_cut=False, reach=1.5 * _LATTICE * grid.pixel)
    if not near.any():
        return None
    # whole periods of the texture, taken off so that float32 holds millimetres
    period = frames.TEXTURE_PERIOD_M
    origin = math.floor(x.min() / period) * period, math.floor(y.min() / period) * period
    (top, bottom), (left, right) = (
        (int(hits[0]), min(int(hits[-1]) + 1, size - 1))
        for hits, size in ((np.flatnonzero(near.any(axis)), near.shape[1 - axis]) for axis in (1, 0))
    )
    if top == bottom or left == right:
        # only the last nodes are near: they are the first of the next chunk, and so are the pixels
        return None
    return _Part(
        row + top * _LATTICE,
        column + left * _LATTICE,
        min((bottom - top) * _LATTICE, height - top * _LATTICE),
        min((right - left) * _LATTICE, width - left * _LATTICE),
        origin,
        x[top : bottom + 1, left : right + 1],
        y[top : bottom + 1, left : right + 1],
    )


def _render(
    part: _Part, rectangles: list[Rectangle], overflight: Pass
) -> tuple[npt.NDArray[np.uint16], float]:
    """Pixels of a part of the grid, and the sum of their cloud opacity."""
    x, y, (x0, y0) = part.x, part.y, part.origin

    def spread(lattice: frames.Floats) -> Floats32:
        return _spread(lattice.astype(np.float32))[: part.height, : part.width]

    x_pixels, y_pixels = spread(x - x0), spread(y - y0)
    seen = _seen(x_pixels, y_pixels, (x0, y0), rectangles, is_cut=overflight.is_cut)
    if not seen.any():
        return np.zeros(seen.shape, np.uint16), 0.0
    rock = np.clip(spread(frames.rock_height(x, y)) * _EDGE_GAIN + 0.5, 0, 1)
    on_ice = rock < 0.5
    # ice that is here now was upstream at the start of the season; rock was here
    shift_x, shift_y = frames.ice_displacement(x, y, frames.season_day(overflight.start))
    ground = frames.texture(x_pixels - spread(shift_x) * on_ice, y_pixels - spread(shift_y) * on_ice)
    level = _BRIGHTNESS[overflight.satellite]
    pixels = level.ice + rock * np.float32(level.rock - level.ice)
    pixels += ground * (level.ice_contrast + rock * np.float32(level.rock_contrast - level.ice_contrast))
    pixels *= np.float32(1 + 0.02 * math.sin(overflight.number))  # the sun is never the same
    cloud = 0.0
    if overflight.is_cloudy:
        opacity = spread(frames.cloud_cover(x, y, overflight.number))
        pixels += opacity * (np.float32(level.cloud) - pixels)
        cloud = float(opacity[seen].sum(dtype=np.float64))
    np.clip(pixels, 1, level.ceiling, out=pixels)
    pixels[~seen] = 0
    return np.rint(pixels).astype(np.uint16), cloud


def _seen(
    x: frames.Floats,
    y: frames.Floats,
    origin: tuple[float, float],
    rectangles: list[Rectangle],
    *,
    is_cut: bool,
    reach: float = 0.0,
) -> npt.NDArray[np.bool_]:
    """Points around a region (and ``reach`` metres more), inside the swath; x and y count from the origin."""
    x0, y0 = origin
    seen = np.zeros(x.shape, bool)
    for rectangle in rectangles:
        xmin, ymin, xmax, ymax = rectangle.filled
        inside = (x >= xmin - x0 - reach) & (x <= xmax - x0 + reach)
        inside &= (y >= ymin - y0 - reach) & (y <= ymax - y0 + reach)
        if is_cut:
            nx, ny = _SWATH_NORMAL
            inside &= x * nx + y * ny <= rectangle.swath_edge - x0 * nx - y0 * ny
        seen |= inside
    return seen


def _spread(lattice: Floats32) -> Floats32:
    """Bilinear values between the nodes of a lattice, 8 to a step; the last node only ends the last step."""
    weight = (np.arange(_LATTICE, dtype=np.float32) / _LATTICE)[:, None]
    down = lattice[:-1, None, :] + weight * (lattice[1:] - lattice[:-1])[:, None, :]
    down = down.reshape(-1, lattice.shape[1])
    across = down[:, :-1, None] + weight[:, 0] * (down[:, 1:] - down[:, :-1])[:, :, None]
    return across.reshape(down.shape[0], -1)
