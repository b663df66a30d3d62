"""Sentinel-2's tiles: where each lies, and which a region would need beyond those of its list. Pure.

A tile is a 100 km square of the military grid, moved out to whole multiples of 60 m and grown to 109.8 km to
the south and east. The rule reproduces the corners of every recorded STAC item.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from glacierflow.errors import RegionError
from glacierflow.model.records import CRS, Region
from glacierflow.search.footprints import project, transformer

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


TILE_M = 109_800
"""Length of a tile's side."""

_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMN_LETTERS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
"""By zone number modulo 3."""
_ROW_LETTERS = "ABCDEFGHJKLMNPQRSTUV"
_SQUARE_M, _ROW_CYCLE_M = 100_000, 2_000_000
_FALSE_NORTHING_M = 10_000_000
_SNAP_M = 60
_NOT_THERE = ("32X", "34X", "36X")
"""Around Svalbard these zones are shared out among their neighbours."""
_EDGE_POINTS = 24
"""Straight pieces of a tile's side; between them it bends by less than a metre."""
_NEGLIGIBLE = 1e-4
"""Share of a region: less is no gap."""


def mgrs_corner(tile: str) -> tuple[int, float, float]:
    """(EPSG code, easting, northing) of the upper left corner of a Sentinel-2 tile such as ``22WEB``.

    Raises:
        RegionError: not the name of an MGRS square.
    """
    try:
        zone, band, column, row = int(tile[:-3]), tile[-3], tile[-2], tile[-1]
        easting = (_COLUMN_LETTERS[zone % 3].index(column) + 1) * _SQUARE_M
        # in even zones the letters begin five rows further north
        northing = (_ROW_LETTERS.index(row) - (0 if zone % 2 else 5)) % 20 * _SQUARE_M
        south = _BANDS.index(band) * 8 - 80
    except (ValueError, IndexError) as error:
        raise RegionError(f"{tile} is not the name of a Sentinel-2 tile, such as 22WEB") from error
    north = 84 if band == "X" else south + 8
    middle = _northing((south + north) / 2)
    # the letters repeat every 2000 km: the band tells which repetition is meant
    northing += round((middle - _SQUARE_M / 2 - northing) / _ROW_CYCLE_M) * _ROW_CYCLE_M
    top = math.ceil((northing + _SQUARE_M) / _SNAP_M) * _SNAP_M
    southern = south < 0
    epsg = (32700 if southern else 32600) + zone
    return epsg, math.floor(easting / _SNAP_M) * _SNAP_M, top + (_FALSE_NORTHING_M if southern else 0)


def same_place(one: str, other: str) -> bool:
    """Whether two names mean one tile: a square that two latitude bands share has a name in each."""
    try:
        return one == other or mgrs_corner(one) == mgrs_corner(other)
    except RegionError:
        return False


def tile_outline(tile: str) -> BaseGeometry:
    """A tile's square in EPSG:3413, its edges curved as they are there.

    Raises:
        RegionError: not the name of an MGRS square.
    """
    import shapely

    epsg, left, top = mgrs_corner(tile)
    square = shapely.segmentize(shapely.box(left, top - TILE_M, left + TILE_M, top), TILE_M / _EDGE_POINTS)
    return project(square, epsg, CRS)


def uncovered_share(region: Region) -> float:
    """Share of a region's rectangle that lies in none of its tiles, 0..1; 0 below one in ten thousand."""
    import shapely

    share = float(_gap(region).area / shapely.box(*region.bounds).area)
    return share if share >= _NEGLIGIBLE else 0.0


@functools.lru_cache(maxsize=256)
def missing_tiles(region: Region) -> tuple[str, ...]:
    """Tiles that cover what a region's own do not; of several, first the one that covers most."""
    import shapely

    area = shapely.box(*region.bounds).area
    gap = _gap(region)
    outlines = {tile: tile_outline(tile) for tile in _tiles_near(gap)} if not gap.is_empty else {}
    chosen: list[str] = []
    while outlines and gap.area >= _NEGLIGIBLE * area:
        best = max(sorted(outlines), key=lambda tile: round(gap.intersection(outlines[tile]).area))
        rest = gap.difference(outlines.pop(best))
        if gap.area - rest.area < _NEGLIGIBLE * area:
            break
        chosen.append(best)
        gap = rest
    return tuple(chosen)


def _gap(region: Region) -> BaseGeometry:
    import shapely

    tiles = shapely.union_all([tile_outline(tile) for tile in region.mgrs_tiles])
    gap: BaseGeometry = shapely.box(*region.bounds).difference(tiles)
    return gap


def _tiles_near(gap: BaseGeometry) -> Iterator[str]:
    """Names of all tiles that may touch a geometry in EPSG:3413, in its UTM zones and their neighbours."""
    west, _, east, _ = project(gap, CRS, 4326).bounds
    for number in range(_zone(west) - 1, _zone(east) + 2):
        zone = (number - 1) % 60 + 1
        left, bottom, right, top = project(gap, CRS, 32600 + zone).bounds
        for column in range(max(1, int((left - TILE_M) // _SQUARE_M)), min(8, int(right // _SQUARE_M)) + 1):
            for row in range(int((bottom - TILE_M) // _SQUARE_M), int(top // _SQUARE_M) + 1):
                name = _name(zone, column, row)
                if name is not None:
                    yield name


def _name(zone: int, column: int, row: int) -> str | None:
    """The name of a northern square by its place in units of 100 km; None where there is no such tile."""
    centre = ((column + 0.5) * _SQUARE_M, (row + 0.5) * _SQUARE_M)
    longitude, latitude = transformer(32600 + zone, 4326).transform(*centre)
    if not 0 <= latitude < 84:
        return None
    # Only squares that reach into their own zone are tiles; half a square's width in degrees tells.
    reach = math.degrees(_SQUARE_M / 2 / (6_378_137 * math.cos(math.radians(latitude))))
    if abs(longitude - (zone * 6 - 183)) > 3 + reach:
        return None
    band = _BANDS[min(19, int((latitude + 80) // 8))]
    if f"{zone}{band}" in _NOT_THERE:
        return None
    letter = _ROW_LETTERS[(row + (0 if zone % 2 else 5)) % 20]
    return f"{zone:02d}{band}{_COLUMN_LETTERS[zone % 3][column - 1]}{letter}"


def _zone(longitude: float) -> int:
    return int((longitude + 180) // 6) + 1


@functools.cache
def _northing(latitude: float) -> float:
    """UTM northing on the central meridian, negative in the south."""
    return float(transformer(4326, 32631).transform(3.0, latitude)[1])
