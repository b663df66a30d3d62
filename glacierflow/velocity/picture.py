"""A picture of speed, with its scale, for a first look."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STOPS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_COLOURS = np.array([[49, 18, 88], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], float)
_NOTHING = (224, 224, 224)
_LONGEST, _SHORTEST = 768, 256
_BAR, _MARGIN = 14, 34
_DECADES = (1.0, 4.0)
"""Powers of ten of the slowest and the fastest colour, m/yr."""


def colours_of(speed: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(rows, columns, 3) colours of speeds, m/yr, by their logarithm from 10 to 10,000; grey where NaN."""
    low, high = _DECADES
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.clip((np.log10(np.maximum(speed, 1e-3)) - low) / (high - low), 0, 1)
    bands = [np.interp(np.nan_to_num(place), _STOPS, _COLOURS[:, band]) for band in range(3)]
    picture = np.stack(bands, axis=-1).round().astype(np.uint8)
    picture[~np.isfinite(speed)] = _NOTHING
    return picture


def draw_speed(speed: NDArray[np.float64], title: str) -> bytes:
    """A PNG of speeds with a title and a scale below.

    Args:
        speed: (rows, columns), m/yr; NaN is none.
        title: one line.
    """
    from PIL import Image, ImageDraw

    rows, cols = speed.shape
    factor = max(1, _LONGEST // max(*speed.shape, 1))
    picture = Image.fromarray(colours_of(speed)).resize(
        (cols * factor, rows * factor), Image.Resampling.NEAREST
    )
    picture.thumbnail((_LONGEST, _LONGEST))
    width = max(picture.width, _SHORTEST)
    sheet = Image.new("RGB", (width, picture.height + _BAR + 2 * _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((4, 10), title, fill="black")
    sheet.paste(picture, ((width - picture.width) // 2, _MARGIN))
    top = _MARGIN + picture.height + 4
    ramp = np.logspace(*_DECADES, width - 40)[None, :].repeat(_BAR, axis=0)
    sheet.paste(Image.fromarray(colours_of(ramp)), (20, top))
    for power in range(int(_DECADES[0]), int(_DECADES[1]) + 1):
        at = 20 + (width - 40) * (power - _DECADES[0]) / (_DECADES[1] - _DECADES[0])
        words = f"{10**power:,}" + (" m/yr" if power == _DECADES[1] else "")
        pen.text((min(max(at - 8, 2), width - 60), top + _BAR + 2), words, fill="black")
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()
