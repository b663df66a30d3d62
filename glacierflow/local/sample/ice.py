"""The ground of the sample archive: ice that moves by a known field, rock that does not, and clouds.

Everything is a function of EPSG:3413 coordinates and time alone, so every tile, UTM zone and satellite sees
the same ground. Ice flows along straight lines at a speed that depends only on the distance across them; a
parcel therefore keeps its speed, and the displacement between two dates is exact. Each calendar year has its
own ice texture, renewed in the dark of winter: compare dates of one year.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["cloud_cover", "ice_displacement", "ice_speed", "is_rock", "rock_height", "season_day", "texture"]

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
