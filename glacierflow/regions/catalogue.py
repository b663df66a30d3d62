"""The catalogue: rows become checked regions, sorted by name, and some of them are chosen."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from glacierflow.errors import RegionError
from glacierflow.host import resource_path
from glacierflow.model.records import CRS, Region
from glacierflow.regions.files import Row, packaged_regions, read_rows

_PACKAGED = "ancillary/glacier_regions.gpkg"
_RANGE = re.compile(r"\s*(?P<first>-?\d+)?\s*:\s*(?P<stop>-?\d+)?\s*", re.ASCII)

POINTS_PER_EDGE = 21
"""A straight edge in EPSG:3413 is a curve in longitude and latitude; so many points follow it."""

GRID_M = 30
"""Sizes are multiples of this, so that 10 m and 15 m pixels both fit exactly."""

_EXTENT = ("xmin", "ymin", "xmax", "ymax")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_TILE = re.compile(r"(0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Selection:
    """Chosen regions in catalogue order, and what the user should be told about the choice."""

    regions: tuple[Region, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All regions, sorted by name; a region's index is its place here."""

    regions: tuple[Region, ...]
    sha256: str
    """Hash of names, tiles and extents: the same from a CSV as from a GeoPackage of the same regions."""
    source: str
    """Path of the file it was read from."""

    def select(self, names: Sequence[str] | None, index_range: str | None) -> Selection:
        """Choose by names, or by a Python slice ``A:B``; an index range wins over names; neither is all.

        Raises:
            RegionError: an unknown name, something that is no slice, or nothing chosen.
        """
        if index_range is not None:
            selection = self._slice(index_range)
            if names is None:
                return selection
            ignored = f"--start-end-index {index_range} wins; the names {', '.join(names)} are not used"
            return Selection(selection.regions, (ignored, *selection.warnings))
        if names is not None:
            return self._named(names)
        return Selection(self.regions, ())

    def _slice(self, text: str) -> Selection:
        match = _RANGE.fullmatch(text)
        if match is None:
            raise RegionError(
                f"{text!r} is not an index range",
                next_step="write A:B, 65: or :10, counted from 0 with B not included, e.g. 0:23",
            )
        first, stop = (None if part is None else int(part) for part in match.groups())
        chosen, count = self.regions[first:stop], len(self.regions)
        if not chosen:
            raise RegionError(
                f"the index range {text} holds no region; the catalogue has {count}, 0 to {count - 1}",
                next_step="write A:B with A smaller than B, e.g. 0:23",
            )
        beyond = any(part is not None and not -count <= part <= count for part in (first, stop))
        warning = (
            f"the index range {text} reaches beyond the catalogue's {count} regions; "
            f"{len(chosen)} are taken, {chosen[0].index} to {chosen[-1].index}"
        )
        return Selection(chosen, (warning,) if beyond else ())

    def _named(self, names: Sequence[str]) -> Selection:
        if not names:
            raise RegionError(
                "no region is named",
                next_step="write names separated by commas; see `glacierflow regions list`",
            )
        known = {region.name: region for region in self.regions}
        for name in names:
            if name not in known:
                raise RegionError(
                    f"there is no region {name}{self._hint(name)}", next_step="see `glacierflow regions list`"
                )
        return Selection(tuple(region for region in self.regions if region.name in set(names)), ())

    def _hint(self, name: str) -> str:
        """The nearest names: those that contain the word, then those spelled alike."""
        by_lower = {region.name.lower(): region.name for region in self.regions}
        word = name.lower()
        containing = [known for known in by_lower if word and word in known]
        # Without its number, jakobshaven is as near to 049_jakobshavn as it looks.
        bare = {known.partition("_")[2] or known: known for known in by_lower}
        alike = difflib.get_close_matches(word, by_lower, n=3) + [
            bare[close] for close in difflib.get_close_matches(word, bare, n=3)
        ]
        near = list(dict.fromkeys(by_lower[known] for known in (*containing, *alike)))[:3]
        return f"; did you mean {' or '.join(near)}?" if near else ""


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read and check a catalogue.

    Args:
        path: CSV with the columns region, mgrs_tiles, xmin, ymin, xmax, ymax (metres, EPSG:3413), or a
            GeoPackage, GeoJSON, Shapefile or FlatGeobuf of such regions; None is the packaged catalogue of
            192 glaciers.

    Raises:
        RegionError: the file is missing or unreadable, or a region in it is not usable.
    """
    file = resource_path(_PACKAGED) if path is None else path
    regions = packaged_regions(file) if path is None else make_regions(read_rows(file), str(file))
    content = [[region.name, region.mgrs_tiles, region.bounds] for region in regions]
    return Catalogue(regions, hashlib.sha256(json.dumps(content).encode()).hexdigest(), str(file))


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
