"""Rows of a catalogue file become checked regions, sorted by name."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

from glacierflow.errors import RegionError
from glacierflow.model import CRS, Region
from glacierflow.regions.files import Row

__all__ = ["make_regions", "outline"]

POINTS_PER_EDGE = 21
"""A straight edge in EPSG:3413 is a curve in longitude and latitude; so many points follow it."""

GRID_M = 30
"""Sizes are multiples of this, so that 10 m and 15 m pixels both fit exactly."""

_EXTENT = ("xmin", "ymin", "xmax", "ymax")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_TILE = re.compile(r"(0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]", re.ASCII)


def make_regions(rows: list[Row], source: str) -> tuple[Region, ...]:
    """Check each row and sort by name.

    Raises:
        RegionError: a row is not usable; file, place, value and what is accepted are named.
    """
    parsed: dict[str, tuple[Row, tuple[str, ...], tuple[float, float, float, float]]] = {}
    taken: set[str] = set()
    for row in rows:
        where = f"{source}, {row.place}"
        name = _name(row.values["region"], where)
        if name.lower() in taken:
            raise RegionError(
                f"{where}: the region {name} is there a second time",
                next_step="give each region a name of its own; upper and lower case do not tell them apart",
            )
        taken.add(name.lower())
        parsed[name] = row, _tiles(row.values["mgrs_tiles"], where), _extent(row.values, where)
    regions = []
    for index, name in enumerate(sorted(parsed)):
        row, tiles, (xmin, ymin, xmax, ymax) = parsed[name]
        ring = outline(xmin, ymin, xmax, ymax)
        _in_the_north(ring, f"{source}, {row.place}")
        regions.append(
            Region(
                name=name,
                index=index,
                mgrs_tiles=tiles,
                xmin=xmin,
                ymin=ymin,
                xmax=xmax,
                ymax=ymax,
                outline=ring,
            )
        )
    return tuple(regions)


def outline(xmin: float, ymin: float, xmax: float, ymax: float) -> tuple[tuple[float, float], ...]:
    """The rectangle in EPSG:3413 (metres) as a closed, counter-clockwise ring of (longitude, latitude).

    Degrees are rounded to seven decimals, a centimetre.
    """
    steps = [number / (POINTS_PER_EDGE - 1) for number in range(POINTS_PER_EDGE - 1)]
    corners = [(xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax), (xmin, ymin)]
    points = [
        (x0 + (x1 - x0) * step, y0 + (y1 - y0) * step)
        for (x0, y0), (x1, y1) in pairwise(corners)
        for step in steps
    ]
    points.append(corners[0])
    longitudes, latitudes = _to_lonlat().transform([x for x, _ in points], [y for _, y in points])
    return tuple((round(x, 7), round(y, 7)) for x, y in zip(longitudes, latitudes, strict=True))


def _to_lonlat() -> Any:  # noqa: ANN401 - pyproj is imported when first needed
    from pyproj import Transformer

    return Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)


def _name(value: Any, where: str) -> str:  # noqa: ANN401
    name = str(value or "").strip()
    if not _NAME.fullmatch(name) or ".." in name:
        raise RegionError(
            f"{where}: {name!r} cannot be a region's name, because it becomes a folder and part of an S3 key",
            next_step="use letters, digits, _ - . (no ..), a letter or digit first, 100 characters at most",
        )
    return name


def _tiles(value: Any, where: str) -> tuple[str, ...]:  # noqa: ANN401
    text = value if isinstance(value, str) else ""
    tiles = tuple(dict.fromkeys(tile for tile in re.split(r"[,\s]+", text) if tile))
    if not tiles:
        raise RegionError(
            f"{where}: mgrs_tiles is empty",
            next_step="write Sentinel-2 tiles in merge order, e.g. 22WEB 22WEC",
        )
    for tile in tiles:
        if not _TILE.fullmatch(tile):
            raise RegionError(
                f"{where}: {tile} is not a Sentinel-2 tile",
                next_step="write two digits of the UTM zone and three capital letters, e.g. 22WEB or 07VDJ",
            )
    return tiles


def _extent(values: dict[str, Any], where: str) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = (_metres(values[name], name, where) for name in _EXTENT)
    for low, high, axis in ((xmin, xmax, "x"), (ymin, ymax, "y")):
        if high <= low:
            raise RegionError(
                f"{where}: {axis}max = {high:g} is not larger than {axis}min = {low:g}",
                next_step="write the smaller coordinate as the minimum, in metres of EPSG:3413",
            )
        if abs((high - low) / GRID_M - round((high - low) / GRID_M)) > 1e-6:
            raise RegionError(
                f"{where}: {axis}max - {axis}min = {high - low:g} m is not a multiple of {GRID_M} m",
                next_step="choose a size into which both 10 m and 15 m pixels fit",
            )
    return xmin, ymin, xmax, ymax


def _metres(value: Any, name: str, where: str) -> float:  # noqa: ANN401
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RegionError(
            f"{where}: {name} = {value} is not a number", next_step="write metres in EPSG:3413, e.g. -337040"
        )
    return number


def _in_the_north(ring: tuple[tuple[float, float], ...], where: str) -> None:
    if not all(math.isfinite(longitude) and latitude > 0 for longitude, latitude in ring):
        raise RegionError(
            f"{where}: the extent does not lie in the northern hemisphere",
            next_step="write metres in EPSG:3413, counted from the North Pole",
        )
    if any(abs(b[0] - a[0]) > 180 for a, b in pairwise(ring)):
        raise RegionError(
            f"{where}: the extent crosses longitude 180 or holds the pole, which a search cannot say",
            next_step="split the region in two at longitude 180",
        )
