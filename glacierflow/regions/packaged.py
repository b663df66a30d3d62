"""The packaged catalogue, read without a geospatial library: a GeoPackage is an SQLite file.

Its columns hold all that a region is, outline included, so that a scheduler or a child need not install
geopandas to know the regions; ``ancillary/build_catalogue.py`` writes them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from glacierflow.errors import RegionError
from glacierflow.model import Region

__all__ = ["packaged_regions"]

_QUERY = (
    'SELECT region, "index", mgrs_tiles, xmin, ymin, xmax, ymax, outline_lonlat FROM glacier_regions '
    'ORDER BY "index"'
)


def packaged_regions(path: Path) -> tuple[Region, ...]:
    """All regions, sorted by name.

    Raises:
        RegionError: the file is damaged.
    """
    try:
        # immutable: it may lie where nothing can be written, a lock file included
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as file:
            return tuple(_region(*row) for row in file.execute(_QUERY))
    except (sqlite3.Error, ValueError) as error:
        raise RegionError(
            f"{path} is damaged: {error}", next_step="install glacierflow again, or name a --regions-file"
        ) from error


def _region(
    name: str, index: int, tiles: str, xmin: float, ymin: float, xmax: float, ymax: float, outline: str
) -> Region:
    return Region(
        name=name,
        index=index,
        mgrs_tiles=tuple(tiles.split()),
        xmin=xmin,
        ymin=ymin,
        xmax=xmax,
        ymax=ymax,
        outline=_ring(outline),
    )


def _ring(polygon: str) -> tuple[tuple[float, float], ...]:
    """The outer ring of ``POLYGON ((x y, x y, ...))``."""
    points = (point.split() for point in polygon.removeprefix("POLYGON ((").removesuffix("))").split(","))
    return tuple((float(x), float(y)) for x, y in points)
