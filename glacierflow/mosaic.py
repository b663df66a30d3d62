"""Several scenes of one acquisition into one image. Pure: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["first_valid", "valid_share"]


def first_valid(images: Sequence[xr.DataArray]) -> xr.DataArray:
    """Pixel by pixel the first image that is not 0, in the order given.

    Args:
        images: one or more (y, x) arrays on one grid, 0 is nodata; dask-backed ones stay lazy.
    """
    mosaic, *rest = images
    for image in rest:
        mosaic = mosaic.where(mosaic != 0, image)
    return mosaic


def valid_share(image: NDArray[np.uint16]) -> float:
    """Share of pixels that are not nodata, 0..1."""
    return float(np.count_nonzero(image)) / image.size if image.size else 0.0
