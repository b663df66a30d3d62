"""A small picture of a product, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Overview", "quicklook_png", "square_sums"]

_LONGEST_SIDE = 512


class Overview:
    """An image made small: means of valid pixels over squares, from bands that come one by one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Begin with nothing.

        Args:
            shape: (rows, cols) of the image.
        """
        self.step = max(1, -(-max(shape) // _LONGEST_SIDE))
        rows, cols = (-(-size // self.step) for size in shape)
        self._totals, self._counts = np.zeros((rows, cols), np.uint64), np.zeros((rows, cols), np.uint64)

    def add(self, part: Sums) -> None:
        """What ``square_sums`` said of a band; squares on the borders of bands get their parts."""
        first, totals, counts = part
        rows = slice(first, first + len(totals))
        self._totals[rows] += totals
        self._counts[rows] += counts

    def png(self) -> bytes:
        """An 8-bit PNG with alpha, stretched between the 2nd and 98th percentile of the valid squares."""
        return _png(self._totals / np.maximum(self._counts, 1))


Sums = tuple[int, "NDArray[np.uint64]", "NDArray[np.uint64]"]
"""Number of the first row of squares, sums of pixels, and how many are valid."""


def square_sums(rows: NDArray[Any], top: int, step: int) -> Sums:
    """Sums over squares of ``step`` pixels of an image, of which some rows are given.

    Strip by strip, so that it takes no memory to speak of.

    Args:
        rows: over the whole width, 0 is nodata.
        top: number of the first in the image.
        step: pixels on a side of a square.
    """
    starts = np.arange(0, rows.shape[1], step)
    first, end = top // step, -(-(top + rows.shape[0]) // step)
    totals, counts = (np.zeros((end - first, starts.size), np.uint64) for _ in range(2))
    for row in range(first, end):
        strip = rows[max(0, row * step - top) : (row + 1) * step - top]
        totals[row - first] = np.add.reduceat(strip.sum(axis=0, dtype=np.uint32), starts)
        counts[row - first] = np.add.reduceat(np.count_nonzero(strip, axis=0), starts)
    return first, totals, counts


def quicklook_png(image: NDArray[Any]) -> bytes:
    """The same of a whole image.

    Args:
        image: (rows, cols), 0 is nodata and becomes transparent.
    """
    small = Overview(image.shape)
    small.add(square_sums(image, 0, small.step))
    return small.png()


def _png(small: NDArray[np.float64]) -> bytes:
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.session import DummySession

    valid = small > 0
    low, high = np.percentile(small[valid], [2, 98]) if valid.any() else (0.0, 1.0)
    grey = np.clip((small - low) / max(high - low, 1.0) * 255, 0, 255).astype(np.uint8)
    alpha = np.where(valid, 255, 0).astype(np.uint8)
    profile = {"driver": "PNG", "dtype": "uint8", "count": 2, "height": grey.shape[0], "width": grey.shape[1]}
    # images of snow compress no better at the usual level 6, which takes seven times as long
    profile["zlevel"] = 1
    # A PNG has no place for a grid, and rasterio warns of files without one.
    import warnings

    with rasterio.Env(session=DummySession()), MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(**profile) as target:
            target.write(np.stack([grey, alpha]))
        memory.seek(0)
        data: bytes = memory.read()
    return data
