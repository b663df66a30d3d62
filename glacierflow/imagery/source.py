"""An image somewhere whose header has been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glacierflow.imagery.geotiff import GeoTiff
    from glacierflow.imagery.ranges import Version

__all__ = ["Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image is, and which version of it the header is of."""

    href: str
    requester_pays: bool
    tiff: GeoTiff
    version: Version
