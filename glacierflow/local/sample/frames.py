"""What the sample's satellites see: true tiles and full-size frames, a fixed calendar, and moving ice.

Everything is a function of EPSG:3413 coordinates and time alone, so every tile, UTM zone and satellite sees
the same ground. Ice flows along straight lines at a speed that depends only on the distance across them; a
parcel therefore keeps its speed, and the displacement between two dates is exact. Each calendar year has its
own ice texture, renewed in the dark of winter: compare dates of one year.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glacierflow.model.records import CRS, Region, Satellite
from glacierflow.search.mgrs import mgrs_corner

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


_TILE_PIXELS, _TILE_BLOCK = 10_980, 1024
_FRAME_STEP_M = 60_000
_FRAME_PIXELS_30M, _FRAME_BLOCK = 7501, 256
_CHUNK_PIXELS = 1024
_EDGE_POINTS = 24

_EVERY_DAYS = 7
_PHASE: dict[Satellite, int] = {"sentinel2": 2, "landsat": 5}
_FIRST_DAY: dict[Satellite, dt.date] = {"sentinel2": dt.date(2015, 7, 1), "landsat": dt.date(1999, 7, 1)}

Floats = npt.NDArray[np.floating[Any]]

_FLOW = (0.8, -0.6)
"""Unit vector of the flow in EPSG:3413."""
_MEAN_SPEED, _SPEED_RANGE, _SPEED_PERIOD = 3.0, 1.5, 23_000.0
"""Metres a day, and metres across the flow."""
_ROCK_WAVES = (  # wavelength (m), direction (degrees), phase (degrees)
    (4300.0, 12.0, 40.0),
    (4900.0, 78.0, 310.0),
    (5900.0, 137.0, 95.0),
    (7300.0, 163.0, 200.0),
    (8900.0, 51.0, 15.0),
)
_CLOUD_WAVES = ((5100.0, 33.0, 0.0), (6700.0, 121.0, 70.0), (9700.0, 84.0, 190.0), (14300.0, 8.0, 250.0))

TEXTURE_SIZE = 2048
TEXTURE_PIXEL_M = 10.0
"""The texture repeats every 20.48 km."""
TEXTURE_PERIOD_M = TEXTURE_SIZE * TEXTURE_PIXEL_M
_SHORTEST_WAVE_M = 60.0


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up UTM grid."""

    name: str
    """MGRS tile, or WRS path and row with a dash between."""
    epsg: int
    left: float
    """Western edge, metres."""
    top: float
    pixel: int
    """Metres."""
    rows: int
    columns: int
    block: int
    """Pixels along one side of a TIFF block."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in metres."""
        return self.left, self.top - self.rows * self.pixel, self.left + self.columns * self.pixel, self.top

    def chunks(self, bounds: tuple[float, float, float, float]) -> Iterator[tuple[int, int, int, int]]:
        """(row, column, height, width) of the parts, made of whole blocks, that the bounds touch."""
        west, south, east, north = bounds
        step = max(self.block, _CHUNK_PIXELS)
        first_row = max(0, math.floor((self.top - north) / self.pixel) // step * step)
        first_column = max(0, math.floor((west - self.left) / self.pixel) // step * step)
        end_row = min(self.rows, math.ceil((self.top - south) / self.pixel))
        end_column = min(self.columns, math.ceil((east - self.left) / self.pixel))
        for row in range(first_row, end_row, step):
            for column in range(first_column, end_column, step):
                yield row, column, min(step, self.rows - row), min(step, self.columns - column)

    def outline(self) -> BaseGeometry:
        """The grid's rectangle in EPSG:3413, its edges curved as they are there."""
        import shapely

        west, south, east, north = self.bounds
        ring = shapely.segmentize(shapely.box(west, south, east, north), (east - west) / _EDGE_POINTS)
        outline: BaseGeometry = project(ring, self.epsg, CRS)
        return outline


def sentinel2_grid(tile: str) -> Grid:
    """The 10 m grid of a Sentinel-2 tile.

    Raises:
        RegionError: not the name of an MGRS square.
    """
    epsg, left, top = mgrs_corner(tile)
    return Grid(tile, epsg, left, top, 10, _TILE_PIXELS, _TILE_PIXELS, _TILE_BLOCK)


def landsat_grid(region: Region) -> Grid:
    """The 15 m panchromatic grid of the frame that holds the region; frames stand every 60 km.

    Frames are not those of WRS-2, but path and row name one frame only.
    """
    import shapely

    centre = shapely.Point((region.xmin + region.xmax) / 2, (region.ymin + region.ymax) / 2)
    place = project(centre, CRS, 4326)
    zone = int((place.x + 180) // 6) + 1
    in_zone = project(centre, CRS, 32600 + zone)
    column, row = round(in_zone.x / _FRAME_STEP_M), round(in_zone.y / _FRAME_STEP_M)
    half = _FRAME_PIXELS_30M * 15
    # USGS puts pixel corners of the 30 m bands at odd multiples of 15 m; the pan band starts 7.5 m further in
    left = (column * _FRAME_STEP_M - half) // 30 * 30 + 15
    top = (row * _FRAME_STEP_M + half) // 30 * 30 + 15
    pixels = 2 * _FRAME_PIXELS_30M - 1
    name = f"{(zone * 16 + column) % 233 + 1:03d}-{row % 248 + 1:03d}"
    return Grid(name, 32600 + zone, left + 7.5, top - 7.5, 15, pixels, pixels, _FRAME_BLOCK)


def project(geometry: Any, source: int | str, target: int | str) -> Any:  # noqa: ANN401 - any shapely geometry
    """A geometry from one CRS in another, corner by corner; x is east or longitude."""
    import shapely

    transform = transformer(source, target).transform

    def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transform(points[:, 0], points[:, 1]))

    return shapely.transform(geometry, move)


@functools.cache
def transformer(source: int | str, target: int | str) -> Any:  # noqa: ANN401 - a pyproj.Transformer
    """A cached pyproj transformer, x first."""
    import pyproj

    return pyproj.Transformer.from_crs(source, target, always_xy=True)


@dataclass(frozen=True, slots=True)
class Pass:
    """One overflight; all Sentinel-2 tiles of it share its start."""

    satellite: Satellite
    platform: str
    """``S2A``, ``S2B``, ``LE07``, ``LC08`` or ``LC09``."""
    start: dt.datetime
    """Start of the datatake (Sentinel-2), sensing time (Landsat); UTC."""
    orbit: int
    """Absolute orbit number, of six digits at most."""
    is_cloudy: bool
    is_cut: bool
    """The edge of the swath runs through every region."""
    is_reprocessed: bool
    """The archive holds every tile twice, the second with a newer processing baseline."""

    @property
    def number(self) -> int:
        """Tells passes apart."""
        return self.start.toordinal()

    @property
    def relative_orbit(self) -> int:
        """1 to 143, as Sentinel-2 counts."""
        return self.orbit % 143 + 1


def pass_days(satellite: Satellite, date1: dt.date, date2: dt.date) -> list[dt.date]:
    """Days with a pass between two dates, both included, ascending.

    Every seventh day has one: three in three weeks. A range without any gets one on its first day. Before the
    satellites flew there is none.
    """
    first = max(date1, _FIRST_DAY[satellite])
    days = [first + dt.timedelta(n) for n in range((date2 - first).days + 1)]
    return [day for day in days if _is_regular(satellite, day)] or days[:1]


def make_pass(satellite: Satellite, day: dt.date) -> Pass:
    """The pass of a day: of four regular ones one is clouded, one cut and one reprocessed."""
    ordinal = day.toordinal()
    turn = ordinal // _EVERY_DAYS
    kind = turn % 4 if _is_regular(satellite, day) else 0
    hour = 14 if satellite == "landsat" else 15
    start = dt.datetime(
        day.year, day.month, day.day, hour, ordinal * 7 % 50, ordinal * 13 % 60, tzinfo=dt.UTC
    )
    return Pass(
        satellite=satellite,
        platform=_platform(satellite, day, is_second=turn % 2 == 1),
        start=start,
        orbit=(ordinal - 735_000) * 143 // 10,
        is_cloudy=kind == 1,
        is_cut=kind == 2,
        is_reprocessed=kind == 3 and satellite == "sentinel2",
    )


def _is_regular(satellite: Satellite, day: dt.date) -> bool:
    return day.toordinal() % _EVERY_DAYS == _PHASE[satellite]


def _platform(satellite: Satellite, day: dt.date, *, is_second: bool) -> str:
    if satellite == "sentinel2":
        return "S2B" if is_second and day >= dt.date(2017, 7, 1) else "S2A"
    if day < dt.date(2013, 4, 11):
        return "LE07"
    return "LC09" if is_second and day >= dt.date(2021, 11, 1) else "LC08"


def season_day(when: dt.datetime | dt.date) -> float:
    """Days since the 1st of July of that year (negative before), with fractions for a time."""
    start = dt.datetime(when.year, 7, 1, tzinfo=dt.UTC)
    if not isinstance(when, dt.datetime):
        when = dt.datetime(when.year, when.month, when.day, tzinfo=dt.UTC)
    return (when - start).total_seconds() / 86_400


def ice_speed(x: Floats, y: Floats) -> Floats:
    """Speed of the ice in metres a day; rock stands still whatever this says."""
    across = x * _FLOW[1] - y * _FLOW[0]
    return _MEAN_SPEED + _SPEED_RANGE * np.sin(across * (2 * np.pi / _SPEED_PERIOD))


def ice_displacement(x: Floats, y: Floats, days: float) -> tuple[Floats, Floats]:
    """How far ice at (x, y) moves in some days: metres along x and along y of EPSG:3413."""
    distance = ice_speed(x, y) * days
    return distance * _FLOW[0], distance * _FLOW[1]


def rock_height(x: Floats, y: Floats) -> Floats:
    """A smooth surface that is positive on rock, with a slope of about 1/1000 a metre at the edge."""
    return _waves(x, y, _ROCK_WAVES) - 0.9


def is_rock(x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    """Where rock sticks out of the ice."""
    return np.asarray(rock_height(x, y) > 0)


def cloud_cover(x: Floats, y: Floats, pass_number: int) -> Floats:
    """Opacity of the clouds of one pass, 0 to 1, with soft edges."""
    drift = pass_number * 1931.0
    return np.asarray(np.clip((_waves(x + drift, y - 0.7 * drift, _CLOUD_WAVES) - 0.8) * 1.5, 0, 0.95))


def _waves(x: Floats, y: Floats, waves: tuple[tuple[float, float, float], ...]) -> Floats:
    total = np.zeros(np.broadcast(x, y).shape)
    for length, direction, phase in waves:
        angle, number = np.radians(direction), 2 * np.pi / length
        total += np.sin(number * (x * np.cos(angle) + y * np.sin(angle)) + np.radians(phase))
    return total


def texture(u: Floats, v: Floats) -> Floats:
    """Multi-scale noise of mean 0 and deviation 1 at material coordinates, bilinear between 10 m nodes.

    Args:
        u: metres; keep it small (a few periods of 20.48 km), for it may be float32.
        v: metres, likewise.
    """
    table = _texture_table()
    column, row = u * np.float32(1 / TEXTURE_PIXEL_M), v * np.float32(1 / TEXTURE_PIXEL_M)
    left, top = np.floor(column), np.floor(row)
    column -= left
    row -= top
    stride = TEXTURE_SIZE + 1
    at = (top.astype(np.int32) & (TEXTURE_SIZE - 1)) * stride + (left.astype(np.int32) & (TEXTURE_SIZE - 1))
    upper = table.take(at)
    upper += (table.take(at + 1) - upper) * column
    at += stride
    lower = table.take(at)
    lower += (table.take(at + 1) - lower) * column
    lower -= upper
    lower *= row
    upper += lower
    return np.asarray(upper)


@functools.cache
def _texture_table() -> npt.NDArray[np.float32]:
    """Noise whose amplitude falls with frequency, periodic, without waves shorter than 60 m; flattened."""
    generator = np.random.default_rng(20240701)
    spectrum = np.fft.rfft2(generator.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)))
    frequency = np.hypot(
        np.fft.fftfreq(TEXTURE_SIZE, TEXTURE_PIXEL_M)[:, None],
        np.fft.rfftfreq(TEXTURE_SIZE, TEXTURE_PIXEL_M)[None, :],
    )
    frequency[0, 0] = np.inf
    # flat up to 2 km, then falling, then cut off
    spectrum *= (frequency < 1 / _SHORTEST_WAVE_M) / np.maximum(frequency, 1 / 2000)
    noise = np.fft.irfft2(spectrum, (TEXTURE_SIZE, TEXTURE_SIZE))
    noise /= noise.std()
    # one more row and column, so that the neighbour of the last is the first
    return np.ascontiguousarray(np.pad(noise, ((0, 1), (0, 1)), mode="wrap").astype(np.float32)).ravel()
