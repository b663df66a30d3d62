"""Stable ground: what the two images are shifted against each other by, and how far a velocity errs.

Words and order are those of ITS_LIVE: rock first, else the slowest quarter, else nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glacierflow.errors import UsageError
from glacierflow.model.records import CRS, Record
from glacierflow.velocity.units import DAYS_PER_YEAR

if TYPE_CHECKING:
    from affine import Affine
    from numpy.typing import NDArray

    from glacierflow.velocity.track import Posting

NO_SHIFT, ROCK_SHIFT, SLOW_SHIFT = 0, 1, 2
FEWEST_NODES = 30
"""Below that a median over stable ground is no correction."""
_SLOW_SHARE = 0.25
MODELLED_M = 25.5
"""One standard deviation of an optical pair's displacement, metres (ITS_LIVE)."""
_ROCK, _WATER = 1, 2
_SHRINK_PX = 8
"""Pixels by which rock is made smaller, so that a chip on it holds little else."""
_CLASSES = {"rock": _ROCK, "water": _WATER, "ice": 0}


@dataclass(frozen=True, slots=True)
class Surface:
    """What a mask says of the nodes, (node rows, node columns)."""

    rock: NDArray[np.bool_]
    water: NDArray[np.bool_]


class ComponentError(Record):
    """Of one component, metres a year; ITS_LIVE's names. None where there is nothing to say it from."""

    error: float
    error_stationary: float | None
    """Standard deviation over rock, after the shift."""
    error_slow: float | None
    """The same over the slowest quarter."""
    error_modeled: float
    stable_shift: float
    """What was taken away."""
    stable_shift_stationary: float | None
    stable_shift_slow: float | None


class Ground(Record):
    """What stable ground says of one pair."""

    stable_shift_flag: int
    """0: no shift; 1: by rock of the mask; 2: by the slowest quarter, which may be ice."""
    stable_count_stationary: int
    stable_count_slow: int
    x: ComponentError
    y: ComponentError


def settle(
    vx: NDArray[np.float64],
    vy: NDArray[np.float64],
    measured: NDArray[np.bool_],
    rock: NDArray[np.bool_] | None,
    days: float,
) -> Ground:
    """The shift of a pair by stable ground, and its errors after it.

    Args:
        vx: (node rows, node columns) m/yr, as measured.
        vy: the same.
        measured: which nodes hold a measurement of their own.
        rock: which of them lie on rock; None without a mask.
        days: between the images.
    """
    on_rock = measured & rock if rock is not None else np.zeros_like(measured)
    speed = np.hypot(vx, vy)
    slow = np.zeros_like(measured)
    if measured.any():
        slow = measured & (speed <= np.quantile(speed[measured], _SLOW_SHARE))
    counts = int(on_rock.sum()), int(slow.sum())
    flag = NO_SHIFT
    if counts[0] >= FEWEST_NODES:
        flag = ROCK_SHIFT
    elif counts[1] >= FEWEST_NODES:
        flag = SLOW_SHIFT
    return Ground(
        stable_shift_flag=flag,
        stable_count_stationary=counts[0],
        stable_count_slow=counts[1],
        x=_component(vx, on_rock, slow, flag, days),
        y=_component(vy, on_rock, slow, flag, days),
    )


def _component(
    values: NDArray[np.float64], on_rock: NDArray[np.bool_], slow: NDArray[np.bool_], flag: int, days: float
) -> ComponentError:
    shifts = [
        float(np.median(values[where])) if where.sum() >= FEWEST_NODES else None for where in (on_rock, slow)
    ]
    spreads = [
        float(np.std(values[where])) if where.sum() >= FEWEST_NODES else None for where in (on_rock, slow)
    ]
    modelled = MODELLED_M * DAYS_PER_YEAR / days
    return ComponentError(
        error={NO_SHIFT: modelled, ROCK_SHIFT: spreads[0], SLOW_SHIFT: spreads[1]}[flag] or modelled,
        error_stationary=spreads[0],
        error_slow=spreads[1],
        error_modeled=modelled,
        stable_shift={NO_SHIFT: 0.0, ROCK_SHIFT: shifts[0], SLOW_SHIFT: shifts[1]}[flag] or 0.0,
        stable_shift_stationary=shifts[0],
        stable_shift_slow=shifts[1],
    )


def read_surface(path: Path, shape: tuple[int, int], transform: Affine, posting: Posting) -> Surface:
    """What a mask says of the nodes of a clip.

    Args:
        path: polygons of rock, or of what their column ``class`` names (rock, water, ice); or a raster with
            1 for rock, 2 for water.
        shape: (rows, columns) of the clip.
        transform: of the clip, EPSG:3413.
        posting: the nodes.

    Raises:
        UsageError: the file cannot be read, has no CRS, or names another class.
    """
    import cv2

    if not path.is_file():
        raise UsageError(
            f"--mask = {path} is not a file", next_step="name polygons or a raster of rock and water"
        )
    reader = _raster if path.suffix.lower() in {".tif", ".tiff", ".vrt"} else _polygons
    classes = reader(path, shape, transform)
    size = 2 * _SHRINK_PX + 1
    rock = cv2.erode((classes == _ROCK).astype(np.uint8), np.ones((size, size), np.uint8))
    rows, cols = (
        np.clip(((np.arange(n) + 0.5) * posting.spacing).astype(int), 0, m - 1)
        for n, m in zip((posting.rows, posting.cols), shape, strict=True)
    )
    at = np.ix_(rows, cols)
    return Surface(rock[at] > 0, classes[at] == _WATER)


def _polygons(path: Path, shape: tuple[int, int], transform: Affine) -> NDArray[np.uint8]:
    import geopandas
    from pyogrio.errors import DataSourceError
    from rasterio.features import rasterize

    try:
        frame = geopandas.read_file(path)
    except DataSourceError as error:
        raise UsageError(f"--mask = {path} cannot be read: {error}") from error
    if frame.crs is None:
        raise UsageError(f"--mask = {path} has no CRS", next_step="write it with one, e.g. as GeoPackage")
    names = frame["class"] if "class" in frame else ["rock"] * len(frame)
    unknown = sorted({str(name) for name in names} - _CLASSES.keys())
    if unknown:
        raise UsageError(
            f"--mask = {path}: its column class has {', '.join(unknown)}",
            next_step=f"name {', '.join(_CLASSES)}, or leave the column out where all is rock",
        )
    shapes = [
        (geometry, _CLASSES[str(name)])
        for geometry, name in zip(frame.to_crs(CRS).geometry, names, strict=True)
    ]
    if not shapes:
        return np.zeros(shape, np.uint8)
    burnt: NDArray[np.uint8] = rasterize(shapes, out_shape=shape, transform=transform, fill=0, dtype="uint8")
    return burnt


def _raster(path: Path, shape: tuple[int, int], transform: Affine) -> NDArray[np.uint8]:
    import rasterio
    from rasterio.errors import RasterioIOError
    from rasterio.vrt import WarpedVRT

    rows, cols = shape
    try:
        with (
            rasterio.open(path) as source,
            WarpedVRT(source, crs=CRS, transform=transform, height=rows, width=cols) as warped,
        ):
            classes: NDArray[np.uint8] = warped.read(1).astype(np.uint8)
    except RasterioIOError as error:
        raise UsageError(f"--mask = {path} cannot be read: {error}") from error
    return classes
