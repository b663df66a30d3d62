"""Regions: the catalogue of glaciers, other catalogues, and choosing from them.

>>> from glacierflow.regions import load_catalogue
>>> [region.name for region in load_catalogue().select(None, "47:49").regions]
['048_ingia', '049_jakobshavn']
"""

from __future__ import annotations

from glacierflow.regions.catalogue import Catalogue, Selection, load_catalogue

__all__ = ["Catalogue", "Selection", "load_catalogue"]
