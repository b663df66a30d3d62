"""How much of a region is under cloud, from Sentinel-2's own scene classification (SCL, 20 m)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from glacierflow.imagery.grid import geobox_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.model.records import Acquisition, Region, Scene


_CLOUDS = (8, 9, 10)
"""Classes of Sen2Cor: cloud of medium and of high probability, thin cirrus."""
_PIXEL_M = 20


def cloud_share(classes: NDArray[np.uint16]) -> float | None:
    """Share of cloud among the classified pixels, 0..1; None where none is (class 0)."""
    return share_of([count_classes(classes)])


def count_classes(classes: NDArray[np.uint16]) -> tuple[int, int]:
    """Classified pixels, and those of them under cloud."""
    return int(np.count_nonzero(classes)), int(np.isin(classes, _CLOUDS).sum())


def share_of(counts: Iterable[tuple[int, int]]) -> float | None:
    """The share of cloud, from the counts of an image's parts."""
    classified, cloudy = (sum(column) for column in zip(*counts, strict=True))
    return cloudy / classified if classified else None


def classified_scenes(acquisition: Acquisition) -> list[Scene]:
    """The classifications of an acquisition's tiles, in merge order, as images to read."""
    return [
        scene.model_copy(update={"href": scene.classification_href, "asset_key": "scl", "nodata": 0})
        for scene in acquisition.scenes
        if scene.classification_href
    ]


def class_grid(region: Region) -> GeoBox:
    """The region's own rectangle in pixels of a classification."""
    return geobox_of(region, "sentinel2").zoom_to(resolution=_PIXEL_M)
