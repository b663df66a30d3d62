"""Regions: the catalogue of glaciers, other catalogues, and choosing from them.

>>> from glacierflow.regions import load_catalogue
>>> [region.name for region in load_catalogue().select(None, "47:49").regions]
['048_ingia', '049_jakobshavn']

The package itself can be called, so that ``glacierflow.regions()`` gives people the catalogue as a
GeoDataFrame, whichever of its modules was imported before.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from glacierflow.regions.catalogue import Catalogue, load_catalogue

if TYPE_CHECKING:
    import geopandas

__all__ = ["Catalogue", "load_catalogue"]


class _Regions(ModuleType):
    """This package as a module that can be called."""

    def __call__(self, regions_file: str | Path | None = None) -> geopandas.GeoDataFrame:
        """The catalogue as a GeoDataFrame; see ``glacierflow.regions.map.regions``."""
        from glacierflow.regions.map import regions

        return regions(regions_file)


sys.modules[__name__].__class__ = _Regions
