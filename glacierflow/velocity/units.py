"""From pixels to metres on the ground and years: the one place that knows the scale of EPSG:3413.

The projection is true at 70 N alone: one of its metres is 0.962 m on the ground at 60 N and 1.026 m at 82 N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from glacierflow.model.records import CRS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metres = Literal["ground", "map"]
DAYS_PER_YEAR = 365.2422
"""UDUNITS' year, so that a reader that converts ``m yr-1`` by it gets what was measured."""


def map_scale(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres of EPSG:3413 a metre on the ground, as PROJ has it; the same in every direction.

    Args:
        x: metres in EPSG:3413, of any shape.
        y: the same shape.
    """
    from pyproj import Proj

    projection = Proj(CRS)
    longitude, latitude = projection(x, y, inverse=True)
    scale: NDArray[np.float64] = np.asarray(projection.get_factors(longitude, latitude).meridional_scale)
    return scale


@dataclass(frozen=True, slots=True)
class Converter:
    """Turns shifts in pixels into velocities at the nodes of a grid."""

    pixel_m: float
    """Of the clips, metres of EPSG:3413."""
    days: float
    """Between the two images."""
    scale: NDArray[np.float64]
    """(node rows, node columns); ``map_scale`` there."""
    metres: Metres = "ground"

    def velocity(
        self, shift_x: NDArray[np.float64], shift_y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Along x and along y of the map, metres a year.

        Args:
            shift_x: pixels along columns.
            shift_y: pixels along rows, downwards.
        """
        factor = self.pixel_m * DAYS_PER_YEAR / self.days / self.divisor
        return shift_x * factor, -shift_y * factor

    @property
    def divisor(self) -> NDArray[np.float64]:
        """What map metres are divided by."""
        return self.scale if self.metres == "ground" else np.ones_like(self.scale)
