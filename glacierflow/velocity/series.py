"""Granules of a region together: as a lazy Dataset, and as time series at places."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glacierflow.errors import DataError, UsageError
from glacierflow.model.records import CRS, SATELLITES

if TYPE_CHECKING:
    import xarray as xr
    from shapely.geometry.base import BaseGeometry

Day = str | dt.date
_TIMES = re.compile(r"_(\d{8}T\d{6})_(\d{8}T\d{6})_[^_]+_G\d{4}_V\d+\.nc$")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_STEP_M = 100.0
"""Between two places along a line, metres of EPSG:3413."""
COLUMNS = (
    *("place", "distance_m", "longitude", "latitude", "satellite", "first", "second", "midpoint", "days"),
    *("vx", "vy", "v", "v_error", "flag", "granule"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a time series is wanted."""

    name: str
    longitude: float
    latitude: float
    distance_m: float | None = None
    """Along the line it is on, metres of EPSG:3413."""


def find_granules(
    where: str | Path, region: str | None = None, dates: tuple[Day, Day] | None = None
) -> list[Path]:
    """The granules below a directory in order of their midpoints.

    Args:
        where: the directory that holds ``2_velocity``, or any below it.
        region: of this one alone.
        dates: first and last day, both included, that a midpoint may have.

    Raises:
        UsageError: it is no directory, holds no such granule, or a day is none.
    """
    folder = Path(where).expanduser()
    if str(where).startswith("s3://") or not folder.is_dir():
        raise UsageError(
            f"{where} is not a directory",
            next_step="copy 2_velocity of the bucket to one, e.g. by `aws s3 sync`",
        )
    first, last = (None, None) if dates is None else map(_day, dates)
    found = []
    for path in folder.rglob("*.nc"):
        times = _TIMES.search(path.name)
        if times is None or (region is not None and path.parent.name != region):
            continue
        one, two = (
            dt.datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC) for text in times.groups()
        )
        middle = one + (two - one) / 2
        if (first is None or first <= middle.date()) and (last is None or middle.date() <= last):
            found.append((middle, path))
    if not found:
        of_region = "" if region is None else f" of {region}"
        raise UsageError(
            f"{where} holds no velocity granule{of_region} in these days",
            next_step="make some with `glacierflow velocity run`",
        )
    return [path for _, path in sorted(found)]


def _day(day: Day) -> dt.date:
    if isinstance(day, dt.date):
        return day
    try:
        return dt.date.fromisoformat(day)
    except ValueError as error:
        raise UsageError(f"{day} is not a date", next_step="write it as YYYY-MM-DD") from error


def open_velocity(
    region: str, dates: tuple[Day, Day] | None = None, *, where: str | Path = "output"
) -> xr.Dataset:
    """The velocity granules of a region as one lazy Dataset (time, y, x), read when computed.

    Args:
        region: such as ``134_Arsuk``.
        dates: first and last day, both included, of the midpoints; all where it is left out.
        where: the directory that holds ``2_velocity``.

    Returns:
        ``vx``, ``vy``, ``v`` and ``v_error`` in m/yr, ``flag``, ``correlation``, ``peak_ratio``,
        ``chip_size`` and ``map_scale``, each as a granule has it; ``time`` is the midpoint, ``time_bnds`` are
        the two acquisitions, and ``granule`` names the file.

    Raises:
        UsageError: there is none, or a day is not accepted.
        DataError: granules of the region are on different grids.
    """
    import xarray as xr

    paths = find_granules(where, region, dates)
    parts = [xr.open_dataset(path, engine="netcdf4", chunks={}) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if not (part.x.equals(parts[0].x) and part.y.equals(parts[0].y)):
            raise DataError(f"{path.name} is on another grid than {paths[0].name}")
    fixed = parts[0][["map_scale", "crs"]]
    moving = [part.drop_vars(["map_scale", "crs"]) for part in parts]
    joined: xr.Dataset = xr.concat(
        moving,
        "time",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="drop_conflicts",
    )
    joined = joined.assign(map_scale=fixed.map_scale, crs=fixed.crs)
    return joined.assign_coords(granule=("time", [path.stem for path in paths]))


def read_places(words: Sequence[str]) -> list[Place]:
    """Places from ``LON,LAT`` or from files of points and lines; a line is a place every 100 m.

    Raises:
        UsageError: neither of both, or a file that cannot be used.
    """
    places: list[Place] = []
    for word in words:
        found = re.fullmatch(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)", word)
        if found:
            longitude, latitude = float(found[1]), float(found[2])
            if abs(longitude) > 360 or abs(latitude) > 90:
                raise UsageError(
                    f"{word} is not a longitude and a latitude", next_step="write e.g. -49.5,69.1"
                )
            places.append(Place(word, longitude, latitude))
        elif Path(word).is_file():
            places += _from_file(Path(word))
        else:
            raise UsageError(
                f"{word} is neither LON,LAT nor a file",
                next_step="write e.g. -- -49.5,69.1, or name a GeoPackage",
            )
    return places


def _from_file(path: Path) -> Iterator[Place]:
    import geopandas
    from pyogrio.errors import DataSourceError

    try:
        frame = geopandas.read_file(path)
    except DataSourceError as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if getattr(frame, "crs", None) is None:
        raise UsageError(
            f"{path} has no points or lines with a CRS", next_step="write a GeoPackage or GeoJSON"
        )
    plane, names = frame.to_crs(CRS), frame.get("name", frame.index)
    for name, geometry in zip(names, plane.geometry, strict=True):
        if geometry.geom_type not in {"Point", "LineString"}:
            raise UsageError(f"{path} holds a {geometry.geom_type}", next_step="give points and lines alone")
        yield from _along(str(name), geometry)


def _along(name: str, geometry: BaseGeometry) -> Iterator[Place]:
    from pyproj import Transformer

    to_degrees = Transformer.from_crs(CRS, 4326, always_xy=True).transform
    if geometry.geom_type == "Point":
        yield Place(name, *to_degrees(*geometry.coords[0][:2]))
        return
    for distance in np.arange(0, geometry.length + 1e-6, _STEP_M):
        point = geometry.interpolate(distance)
        yield Place(name, *to_degrees(point.x, point.y), distance_m=float(distance))


def time_series(paths: Iterable[Path], places: Sequence[Place]) -> Iterator[dict[str, str]]:
    """A row for each granule and place inside it: what the nearest node holds, by ``COLUMNS``.

    Raises:
        DataError: a granule cannot be read.
    """
    from netCDF4 import Dataset
    from pyproj import Transformer

    to_map = Transformer.from_crs(4326, CRS, always_xy=True).transform
    at = [to_map(place.longitude, place.latitude) for place in places]
    for path in paths:
        try:
            file = Dataset(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        with file:
            file.set_auto_mask(False)
            x, y = file["x"][:], file["y"][:]
            meanings = dict(
                zip(file["flag"].flag_values.tolist(), file["flag"].flag_meanings.split(), strict=True)
            )
            days = [_EPOCH + dt.timedelta(days=float(day)) for day in file["time_bnds"][0]]
            layers = {name: file[name][0] for name in ("vx", "vy", "v", "v_error")}
            flag = file["flag"][0]
            satellite = next((name for name in SATELLITES if name in path.parts), "")
            for place, (east, north) in zip(places, at, strict=True):
                col, row = int(np.abs(x - east).argmin()), int(np.abs(y - north).argmin())
                half = abs(x[1] - x[0]) / 2 if len(x) > 1 else _STEP_M / 2
                if abs(x[col] - east) > half or abs(y[row] - north) > half:
                    continue
                values = {name: float(layer[row, col]) for name, layer in layers.items()}
                yield {
                    "place": place.name,
                    "distance_m": "" if place.distance_m is None else f"{place.distance_m:.0f}",
                    "longitude": f"{place.longitude:.6f}",
                    "latitude": f"{place.latitude:.6f}",
                    "satellite": satellite,
                    "first": f"{days[0]:%Y-%m-%dT%H:%M:%SZ}",
                    "second": f"{days[1]:%Y-%m-%dT%H:%M:%SZ}",
                    "midpoint": f"{days[0] + (days[1] - days[0]) / 2:%Y-%m-%dT%H:%M:%SZ}",
                    "days": f"{(days[1] - days[0]) / dt.timedelta(days=1):.4f}",
                    **{name: "" if np.isnan(value) else f"{value:.1f}" for name, value in values.items()},
                    "flag": meanings[int(flag[row, col])],
                    "granule": path.stem,
                }
