"""Catalogue files of four formats become plain rows; nothing is judged here but form.

Its columns hold all that a region is, outline included, so that a scheduler or a child need not install
geopandas to know the regions; ``ancillary/build_catalogue.py`` writes them.
"""

from __future__ import annotations

import contextlib
import csv
import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from glacierflow.errors import RegionError
from glacierflow.model.records import CRS, Region

COLUMNS = ("region", "mgrs_tiles", "xmin", "ymin", "xmax", "ymax")
_EXTENT = COLUMNS[2:]
_VECTOR = (".gpkg", ".geojson", ".json", ".shp", ".fgb")
"""Endings of the vector files that are read with geopandas."""
_AGREEMENT_M = 0.5
"""A rectangle and its xmin..ymax columns may differ by rounding, not by an edit of one of them."""

_QUERY = (
    'SELECT region, "index", mgrs_tiles, xmin, ymin, xmax, ymax, outline_lonlat FROM glacier_regions '
    'ORDER BY "index"'
)


@dataclass(frozen=True, slots=True)
class Row:
    """One region as the file has it."""

    place: str
    """Where in the file, for messages: ``line 3``, ``feature 2``."""
    values: dict[str, Any]
    """By the names in ``COLUMNS``."""


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV file, or by geopandas of a GeoPackage, GeoJSON, Shapefile or FlatGeobuf.

    Raises:
        RegionError: the file is missing, of another kind, unreadable, or lacks a column.
    """
    if not path.exists():
        raise RegionError(f"there is no file {path}", next_step="check the path given with --regions-file")
    suffix = path.suffix.lower()
    if suffix not in (".csv", *_VECTOR):
        raise RegionError(
            f"{path} is no region file that is known here",
            next_step=f"name a file that ends with .csv, {', '.join(_VECTOR[:-1])} or {_VECTOR[-1]}",
        )
    rows = _read_csv(path) if suffix == ".csv" else _read_vector(path)
    if not rows:
        raise RegionError(f"{path} has no regions in it", next_step="add one row a region")
    return rows


def _read_csv(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True, skipinitialspace=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            _need_columns(path, reader.fieldnames, COLUMNS)
            return [Row(f"line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RegionError(
            f"{path} cannot be read as CSV: {error}", next_step="save it as comma-separated text in UTF-8"
        ) from error


def _read_vector(path: Path) -> list[Row]:
    import geopandas
    import pyogrio

    try:
        # Naming the layer keeps GDAL from guessing, with a warning, where there are several.
        layer = pyogrio.list_layers(path)[0][0]
        frame = geopandas.read_file(path, layer=layer)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, IndexError, ValueError) as error:
        raise RegionError(
            f"{path} cannot be read: {error}",
            next_step="name a GeoPackage, GeoJSON, Shapefile or FlatGeobuf with one layer of regions",
        ) from error
    frame = frame.rename(columns={name: name.lower() for name in frame.columns if name != "geometry"})
    _need_columns(path, list(frame.columns), COLUMNS[:2])
    records = frame.drop(columns="geometry", errors="ignore").to_dict("records")
    has_columns = set(_EXTENT) <= set(frame.columns)
    boxes = _boxes(path, frame, needed=not has_columns)
    rows = []
    for number, record in enumerate(records, start=1):
        row = Row(f"feature {number}", record)
        if boxes is not None:
            _agree(path, row, boxes[number - 1], has_columns=has_columns)
        rows.append(row)
    return rows


def _boxes(path: Path, frame: Any, *, needed: bool) -> list[tuple[float, ...]] | None:  # noqa: ANN401 - lazy geopandas
    """Bounding boxes of the geometries in EPSG:3413; None where the columns must do.

    Extents are never reprojected: a rectangle of another projection is none in this one.
    """
    geometry = frame["geometry"] if "geometry" in frame.columns else None
    whole = geometry is not None and not (geometry.isna() | geometry.is_empty).any()
    if whole and frame.crs == CRS:
        return [tuple(box) for box in frame.bounds.to_numpy().tolist()]
    if not needed or not len(frame):
        return None
    if not whole:
        raise RegionError(
            f"{path} has neither a geometry for each region nor the columns {', '.join(_EXTENT)}",
            next_step="add the columns, in metres of EPSG:3413, or draw the missing rectangles",
        )
    found = frame.crs.to_string() if frame.crs else "no projection"
    raise RegionError(
        f"{path} is in {found}, and extents are needed in {CRS}",
        next_step=f"save it in {CRS}, or add the columns {', '.join(_EXTENT)} in metres of {CRS}",
    )


def _agree(path: Path, row: Row, box: tuple[float, ...], *, has_columns: bool) -> None:
    """Give the row its rectangle; where it has columns too, they must say the same."""
    if not has_columns:
        row.values.update(zip(_EXTENT, box, strict=True))
        return
    for name, edge in zip(_EXTENT, box, strict=True):
        value = row.values[name]
        if isinstance(value, int | float) and abs(value - edge) > _AGREEMENT_M:
            raise RegionError(
                f"{path}, {row.place}: {name} = {value} but the rectangle's {name} is {edge}",
                next_step="correct one of the two, or remove the columns xmin, ymin, xmax, ymax",
            )


def _need_columns(path: Path, found: list[str], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise RegionError(
            f"{path} has no column {', '.join(missing)}",
            next_step=f"the columns are {', '.join(COLUMNS)}",
        )


def packaged_regions(path: Path) -> tuple[Region, ...]:
    """All regions, sorted by name.

    Raises:
        RegionError: the file is damaged.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise _damaged(path, error) from error
    return _packaged(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=1)
def _packaged(path: Path, _changed_ns: int, _size: int) -> tuple[Region, ...]:
    """Read once, for as long as the file is as it was."""
    try:
        # immutable: it may lie where nothing can be written, a lock file included
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as file:
            return tuple(_region(*row) for row in file.execute(_QUERY))
    except (sqlite3.Error, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RegionError:
    return RegionError(
        f"{path} is damaged: {error}", next_step="install glacierflow again, or name a --regions-file"
    )


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
