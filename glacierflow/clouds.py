"""How much of a region is under cloud, from Sentinel-2's own scene classification (SCL, 20 m)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glacierflow.grid import geobox_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glacierflow.imagery.read import Imagery
    from glacierflow.model import Acquisition, Region

__all__ = ["cloud_share", "measure_cloud"]

_CLOUDS = (8, 9, 10)
"""Classes of Sen2Cor: cloud of medium and of high probability, thin cirrus."""
_PIXEL_M = 20


def cloud_share(classes: NDArray[np.uint16]) -> float | None:
    """Share of cloud among the classified pixels, 0..1; None where none is (class 0)."""
    classified = int(np.count_nonzero(classes))
    return float(np.isin(classes, _CLOUDS).sum() / classified) if classified else None


def measure_cloud(acquisition: Acquisition, region: Region, maps: Imagery) -> float | None:
    """Share of cloud over a region's own rectangle, 0..1, first valid tile by tile like the image itself.

    Args:
        acquisition: whose classification.
        region: where.
        maps: reads them; resampling must be nearest, because classes have no mean.

    Returns:
        None where no tile has a classification, or none of it lies in the region.

    Raises:
        DataError, UnavailableError, CredentialsError: a classification could not be read.
    """
    classified = [
        scene.model_copy(update={"href": scene.classification_href, "asset_key": "scl", "nodata": 0})
        for scene in acquisition.scenes
        if scene.classification_href
    ]
    if not classified:
        return None
    geobox = geobox_of(region, "sentinel2").zoom_to(resolution=_PIXEL_M)
    return cloud_share(maps.mosaic(classified, geobox))
