"""A catalogue as a GeoDataFrame: for notebooks, for the map, and for a GIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.model import CRS, Region
from glacierflow.regions.catalogue import load_catalogue

if TYPE_CHECKING:
    import geopandas

__all__ = ["regions", "to_frame"]


def regions(regions_file: str | Path | None = None) -> geopandas.GeoDataFrame:
    """All regions of a catalogue, as ``glacierflow.regions()`` gives them.

    >>> import glacierflow
    >>> glacierflow.regions().loc[48, "region"]
    '049_jakobshavn'

    Args:
        regions_file: another catalogue, of any kind that ``--regions-file`` takes; None is the packaged one.

    Returns:
        One row a region. The index, ``index``, is the catalogue's: the number that ``--start-end-index``
        counts by. ``region`` is the name, ``mgrs_tiles`` the Sentinel-2 tiles in merge order and
        ``utm_zones`` their zones, both separated by spaces, ``area_km2`` the area in square kilometres, and
        ``geometry`` the outline, a rectangle in EPSG:3413 (metres). ``to_file`` makes a file that
        ``--regions-file`` takes.

    Raises:
        RegionError: the file is missing or unreadable, or a region in it is not usable.
    """
    return to_frame(load_catalogue(None if regions_file is None else Path(regions_file)).regions)


def to_frame(of: Sequence[Region]) -> geopandas.GeoDataFrame:
    """Some regions as ``regions`` gives all."""
    import geopandas
    import shapely

    columns = {
        "region": [region.name for region in of],
        "mgrs_tiles": [" ".join(region.mgrs_tiles) for region in of],
        "utm_zones": [" ".join(f"{zone:02d}" for zone in region.utm_zones) for region in of],
        "area_km2": [region.area_km2 for region in of],
    }
    outlines = [shapely.box(*region.bounds) for region in of]
    frame = geopandas.GeoDataFrame(columns, geometry=outlines, crs=CRS, index=[one.index for one in of])
    return frame.rename_axis("index")
