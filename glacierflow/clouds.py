"""How much of a region is under cloud, from Sentinel-2's own scene classification (SCL, 20 m)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glacierflow.grid import geobox_of
from glacierflow.read import Imagery

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glacierflow.aws import Cloud
    from glacierflow.model import Acquisition, Region, StepSettings

__all__ = ["cloud_share", "measure_cloud"]

_CLOUDS = (8, 9, 10)
"""Classes of Sen2Cor: cloud of medium and of high probability, thin cirrus."""
_PIXEL_M = 20


def cloud_share(classes: NDArray[np.uint16]) -> float | None:
    """Share of cloud among the classified pixels, 0..1; None where none is (class 0)."""
    classified = int(np.count_nonzero(classes))
    return float(np.isin(classes, _CLOUDS).sum() / classified) if classified else None


def measure_cloud(
    acquisition: Acquisition, region: Region, settings: StepSettings, cloud: Cloud
) -> float | None:
    """Share of cloud over a region's own rectangle, 0..1, first valid tile by tile like the image itself.

    Returns:
        None where no tile has a classification, or none of it lies in the region.

    Raises:
        DataError, UnavailableError, CredentialsError: a classification could not be read.
    """
    maps = [
        scene.model_copy(update={"href": scene.classification_href, "asset_key": "scl", "nodata": 0})
        for scene in acquisition.scenes
        if scene.classification_href
    ]
    if not maps:
        return None
    geobox = geobox_of(region, "sentinel2").zoom_to(resolution=_PIXEL_M)
    imagery = Imagery(cloud, settings.model_copy(update={"resampling": "nearest"}))
    try:
        return cloud_share(imagery.mosaic(maps, geobox))
    finally:
        imagery.close()
