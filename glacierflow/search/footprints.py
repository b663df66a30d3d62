"""Footprints of scenes on the grid of the regions: EPSG:3413, where areas are compared.

A footprint comes as GeoJSON, whose edges are straight in longitude and latitude. On the grid they bend, by
kilometres for a Landsat scene at 80 N, so points are put along them before they are projected. An archive's
footprint may also count longitudes beyond 180, jump from 180 to -180 within a ring, or cross itself.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from glacierflow.model.records import CRS, Region

if TYPE_CHECKING:
    import numpy.typing as npt
    from shapely.geometry import LinearRing
    from shapely.geometry.base import BaseGeometry


_CORNERS = 4
"""Of a ring, its first counted twice."""
_FARTHEST_LON, _FARTHEST_LAT = 720, 90
_STEP_DEGREES = 0.05
"""Between points along an edge; their chords are off by less than half a metre, wherever they are."""


def is_polygonal(geometry: dict[str, Any]) -> bool:
    """Whether a GeoJSON geometry is made of rings on the globe, each of some extent."""
    coordinates = geometry.get("coordinates")
    polygons: Any = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(geometry.get("type")))
    try:
        rings = [ring for polygon in polygons or () for ring in polygon]
        return bool(rings) and all(map(_is_ring, rings))
    except TypeError:
        return False


def _is_ring(ring: Any) -> bool:  # noqa: ANN401 - whatever stands in an item
    if len(ring) < _CORNERS or not all(map(_is_on_globe, ring)):
        return False
    # shapely takes no ring whose corners differ in their dimensions, and GEOS none that is one point
    return len(set(map(len, ring))) == 1 and len({tuple(corner[:2]) for corner in ring}) > 1


def _is_on_globe(corner: Any) -> bool:  # noqa: ANN401 - whatever stands in an item
    if not isinstance(corner, list | tuple) or not 2 <= len(corner) <= 3:
        return False
    are_numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in corner)
    return are_numbers and abs(corner[0]) <= _FARTHEST_LON and abs(corner[1]) <= _FARTHEST_LAT


def overlap_share(footprint: dict[str, Any], region: Region) -> float:
    """Share of a region's rectangle that lies inside a footprint, 0..1, of areas in EPSG:3413.

    Args:
        footprint: GeoJSON geometry, longitude and latitude.
        region: whose rectangle.
    """
    import shapely

    rectangle = shapely.box(*region.bounds)
    return float(footprint_on_grid(footprint).intersection(rectangle).area / rectangle.area)


def distance_m(footprint: dict[str, Any], region: Region) -> float:
    """Metres of EPSG:3413 between a footprint and a region's rectangle; NaN for a footprint without area."""
    import shapely

    return float(footprint_on_grid(footprint).distance(shapely.box(*region.bounds)))


def footprint_on_grid(footprint: dict[str, Any]) -> BaseGeometry:
    """A footprint in EPSG:3413, metres, its edges curved as they are there; valid.

    A ring that crosses itself keeps what it encloses, as ``shapely.make_valid`` does. An edge over more than
    180 degrees of longitude is taken to go the other way around the globe.

    Args:
        footprint: GeoJSON polygon or polygons, longitude and latitude; what else is in it has no area.
    """
    import shapely
    from shapely.geometry import Polygon, shape

    polygons = [part for part in shapely.get_parts(shape(footprint)) if part.geom_type == "Polygon"]
    moved = [
        # a ring of one point, as where a bounding box is all zeros, cannot be densified, and has no area
        Polygon(_ring_on_grid(one.exterior), [_ring_on_grid(hole) for hole in one.interiors if hole.length])
        for one in polygons
        if one.exterior.length
    ]
    whole: BaseGeometry = shapely.union_all([shapely.make_valid(polygon) for polygon in moved])
    return whole


def _ring_on_grid(ring: LinearRing) -> npt.NDArray[Any]:
    import numpy as np
    import shapely

    points = shapely.get_coordinates(ring)
    points[:, 0] = np.unwrap(points[:, 0], period=360)
    # a line, because a ring around the pole ends 360 degrees from where it began
    dense = shapely.segmentize(shapely.LineString(points), _STEP_DEGREES)
    return shapely.get_coordinates(project(dense, 4326, CRS))  # type: ignore[no-any-return]


def project(geometry: BaseGeometry, source: int | str, target: int | str) -> BaseGeometry:
    """A geometry in another projection, point by point; x and longitude come first in both.

    Args:
        geometry: in ``source``.
        source: EPSG code, as a number or ``EPSG:3413``.
        target: the same.
    """
    import numpy as np
    import shapely

    transform = transformer(source, target).transform

    def move(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.column_stack(transform(points[:, 0], points[:, 1]))

    moved: BaseGeometry = shapely.transform(geometry, move)
    return moved


@functools.cache
def transformer(source: int | str, target: int | str) -> Any:  # noqa: ANN401 - pyproj is imported when needed
    """Pyproj's transformer between two projections, x and longitude first."""
    import pyproj

    return pyproj.Transformer.from_crs(source, target, always_xy=True)
