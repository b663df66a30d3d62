"""A small picture of a product, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["quicklook_png"]

_LONGEST_SIDE = 512


def quicklook_png(image: NDArray[Any]) -> bytes:
    """An 8-bit PNG with alpha, stretched between the 2nd and 98th percentile of the valid pixels.

    Args:
        image: (rows, cols), 0 is nodata and becomes transparent.
    """
    import rasterio
    from rasterio.io import MemoryFile

    step = max(1, -(-max(image.shape) // _LONGEST_SIDE))
    small = _block_means(image, step)
    valid = small > 0
    low, high = np.percentile(small[valid], [2, 98]) if valid.any() else (0.0, 1.0)
    grey = np.clip((small - low) / max(high - low, 1.0) * 255, 0, 255).astype(np.uint8)
    alpha = np.where(valid, 255, 0).astype(np.uint8)
    profile = {"driver": "PNG", "dtype": "uint8", "count": 2, "height": grey.shape[0], "width": grey.shape[1]}
    # images of snow compress no better at the usual level 6, which takes seven times as long
    profile["zlevel"] = 1
    # A PNG has no place for a grid, and rasterio warns of files without one.
    import warnings

    with rasterio.Env(), MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(**profile) as target:
            target.write(np.stack([grey, alpha]))
        memory.seek(0)
        data: bytes = memory.read()
    return data


def _block_means(image: NDArray[Any], step: int) -> NDArray[np.float64]:
    """Means of valid pixels over blocks of ``step`` pixels; 0 where a block has none.

    Strip by strip, so that it takes no memory to speak of.
    """
    starts = np.arange(0, image.shape[1], step)
    means = np.zeros((-(-image.shape[0] // step), starts.size))
    for row, mean in enumerate(means):
        strip = image[row * step : (row + 1) * step]
        total = np.add.reduceat(strip.sum(axis=0, dtype=np.uint32), starts)
        count = np.add.reduceat(np.count_nonzero(strip, axis=0), starts)
        mean[:] = total / np.maximum(count, 1)
    return means
