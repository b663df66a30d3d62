"""Pairs of images whose motion is known: real texture, moved by a field on a finer grid.

The texture is sampled at half its resolution behind a Gaussian point spread, so that an interpolation of
order 5 on the finer grid errs by little beside the noise. The second image has gain 1.1 and offset 20; both
have white noise, as a share of the texture's median local standard deviation. Same seed, same bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window
from samples import shared
from scipy import ndimage

MIDDLE = (-3279300, 367500)
"""Of 901_Yahtse, EPSG:3413: glacier, rock and snow."""
LOCAL_PX = 24
"""Pixels on a side of what a local standard deviation is of. With it the median Cramer-Rao bound of a chip of
32 at noise 0.1 is 0.011 px, of 64 0.005, as where the bars were measured."""
SPREAD_FINE_PX = 1.0
"""Standard deviation of the point spread, in pixels of the finer grid."""
GAIN, OFFSET = 1.1, 20.0
Array = NDArray[np.float64]
Field = Callable[[Array, Array], tuple[Array, Array]]
"""Shift along columns and rows, pixels, at (columns, rows) of the first image."""


@dataclass(frozen=True)
class Moved:
    """A pair, and what moved in it."""

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    field: Field


@functools.cache
def texture(size: int) -> Array:
    """Pixels of the real glacier, (2 size, 2 size)."""
    (path,) = sorted(shared("data/real").glob("landsat-c2l1/*20160718*/*_B8.TIF"))
    with rasterio.open(path) as source:
        place = Transformer.from_crs(3413, source.crs, always_xy=True).transform(*MIDDLE)
        col, row = (int(value) - size for value in ~source.transform @ place)
        cut: Array = source.read(1, window=Window(col, row, 2 * size, 2 * size)).astype(float)
    assert cut.shape == (2 * size, 2 * size)
    assert (cut > 0).all()
    return cut


def moved(field: Field, *, size: int = 320, noise: float = 0.1, seed: int = 1) -> Moved:
    """A pair of size x size pixels."""
    fine = ndimage.gaussian_filter(texture(size), SPREAD_FINE_PX)
    at = np.arange(size, dtype=float)
    cols, rows = np.meshgrid(at, at)
    first = fine[::2, ::2]
    # a point x of the first image is at x + u(x) in the second: where the second looks from is found by steps
    from_x, from_y = cols, rows
    for _ in range(12):
        u, v = field(from_x, from_y)
        from_x, from_y = cols - u, rows - v
    second = ndimage.map_coordinates(fine, [2 * from_y, 2 * from_x], order=5, mode="mirror")
    mean, square = (ndimage.uniform_filter(part, LOCAL_PX) for part in (first, first**2))
    local = np.sqrt(np.maximum(square - mean**2, 0))
    strength = noise * float(np.median(local))
    random = np.random.default_rng(seed)
    first = first + random.normal(0, strength, first.shape)
    second = GAIN * (second + random.normal(0, strength, second.shape)) + OFFSET
    return Moved(first.astype(np.float32), second.astype(np.float32), field)


def uniform(x: float, y: float) -> Field:
    """The same shift everywhere."""
    return lambda cols, rows: (np.full_like(cols, x), np.full_like(rows, y))


def smooth(cols: Array, rows: Array) -> tuple[Array, Array]:
    """Through all phases of a pixel, strain 0.004 to 0.01 px/px."""
    return 2.0 * np.sin(cols / 200 + 0.3) + 0.004 * rows, 1.5 * np.cos(rows / 180) - 0.004 * cols


def margins(cols: Array, rows: Array) -> tuple[Array, Array]:
    """A glacier that flows along rows between two margins, whose shear reaches 0.05 px/px."""
    across = (cols - cols.max() / 2) / 60
    profile = 3.0 / (1 + np.exp(-4 * (1.5 - np.abs(across))))
    return 0.2 * np.sin(rows / 90), profile
