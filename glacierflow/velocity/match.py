"""Filters and normalised cross-correlation, by OpenCV. No file is read or written here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from glacierflow.velocity.subpixel import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_APART = 2
"""Pixels around the highest peak in which no second one is looked for."""
Places = tuple["NDArray[np.int64]", "NDArray[np.int64]"]


def high_pass(
    raw: NDArray[np.float32], valid: NDArray[np.bool_], width: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """An image less the mean around each pixel, and where that is known.

    Args:
        raw: (rows, columns).
        valid: where it has data.
        width: pixels on a side of the mean.

    Returns:
        Where all pixels of the mean have data, and the filtered image, 0 elsewhere.
    """
    known = valid.astype(np.float32)
    count = cv2.boxFilter(known, -1, (width, width), normalize=False, borderType=cv2.BORDER_REPLICATE)
    # a mean near zero keeps float32's digits for what is above it
    level = np.float32(raw[valid].mean(dtype=np.float64)) if valid.any() else np.float32(0)
    plain = np.where(valid, raw - level, np.float32(0))
    total = cv2.boxFilter(plain, -1, (width, width), normalize=False, borderType=cv2.BORDER_REPLICATE)
    whole: NDArray[np.bool_] = count > width * width - 0.5
    high = np.where(whole, plain - total / np.maximum(count, 1), np.float32(0))
    return whole, np.ascontiguousarray(high, dtype=np.float32)


def decimate(raw: NDArray[np.float32], factor: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means of factor x factor pixels, and where all of them have data."""
    if factor == 1:
        return raw, raw != 0
    rows, cols = (size // factor for size in raw.shape)
    parts = raw[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor)
    valid: NDArray[np.bool_] = (parts != 0).all(axis=(1, 3))
    return np.where(valid, parts.mean(axis=(1, 3)), np.float32(0)), valid


def windows_valid(
    first: NDArray[np.bool_], second: NDArray[np.bool_], starts: Places, size: int
) -> NDArray[np.float64]:
    """The smaller of both images' shares of valid pixels in each chip, (node rows, node columns).

    A chip is cut at the image's edges, and what lies beyond counts as without data.
    """
    shares = []
    for valid in (first, second):
        table = cv2.integral(valid.astype(np.uint8))
        (r0, r1), (c0, c1) = (
            (np.clip(at, 0, n), np.clip(at + size, 0, n)) for at, n in zip(starts, valid.shape, strict=True)
        )
        inner = table[np.ix_(r1, c1)] - table[np.ix_(r0, c1)] - table[np.ix_(r1, c0)] + table[np.ix_(r0, c0)]
        shares.append(inner / (size * size))
    smaller: NDArray[np.float64] = np.minimum(*shares)
    return smaller


@dataclass(frozen=True, slots=True)
class Peaks:
    """Where the two images agree best, by node; what was not searched is NaN, or False."""

    x: NDArray[Any]
    """Whole pixels along columns from where the search began."""
    y: NDArray[Any]
    correlation: NDArray[np.float32]
    ratio: NDArray[np.float32]
    """Second highest peak over the highest, 0..1."""
    at_limit: NDArray[np.bool_]
    """The highest lies on the rim of the search."""


def search(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    starts: Places,
    size: int,
    prior: tuple[NDArray[np.int64], NDArray[np.int64]],
    radius: int,
    usable: NDArray[np.bool_],
) -> Peaks:
    """Zero-mean normalised correlation of each usable chip of the first image in the second.

    Args:
        first: (rows, columns), filtered.
        second: the same grid.
        starts: first rows and first columns of the chips.
        size: pixels on a side of a chip.
        prior: (node rows, node columns) whole pixels, along columns and rows, to begin from.
        radius: pixels searched around it.
        usable: which nodes to search; their chips lie inside the first image.
    """
    tops, lefts = starts
    rows, cols = np.nonzero(usable)
    around = int(max(np.abs(part).max(initial=0) for part in prior)) + radius + size
    padded = cv2.copyMakeBorder(second, *[around] * 4, cv2.BORDER_CONSTANT, value=0)
    chips = cv2.copyMakeBorder(first, *[size] * 4, cv2.BORDER_CONSTANT, value=0)
    side, wide = 2 * radius + 1, size + 2 * radius
    highest = np.zeros((len(rows), 5), np.float32)
    surface = np.empty((side, side), np.float32)
    top, left = tops[rows] + size, lefts[cols] + size
    other_top = tops[rows] + prior[1][rows, cols] - radius + around
    other_left = lefts[cols] + prior[0][rows, cols] - radius + around
    match, method = cv2.matchTemplate, cv2.TM_CCOEFF_NORMED
    places = zip(top.tolist(), left.tolist(), other_top.tolist(), other_left.tolist(), strict=True)
    for n, (y, x, v, u) in enumerate(places):
        match(padded[v : v + wide, u : u + wide], chips[y : y + size, x : x + size], method, surface)
        _peak(surface, highest[n])
    fields = [np.full(usable.shape, np.nan, np.float32) for _ in range(4)]
    for number, field in enumerate(fields):
        field[rows, cols] = highest[:, number]
    at_limit = np.zeros(usable.shape, np.bool_)
    at_limit[rows, cols] = highest[:, 4] > 0
    x, y, correlation, ratio = fields
    whole_x, whole_y = (np.nan_to_num(part).astype(np.int64) for part in (x, y))
    return Peaks(whole_x, whole_y, correlation, ratio, at_limit)


@compiled
def _peak(surface, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - numba infers types
    """Column, row, height, ratio to the second peak, and 1 at the rim, of the highest peak."""
    side = surface.shape[0]
    best, at_y, at_x = -2.0, 0, 0
    for y in range(side):
        for x in range(side):
            if best < surface[y, x] <= 1.001:
                best, at_y, at_x = surface[y, x], y, x
    second = 0.0
    for y in range(side):
        for x in range(side):
            if max(abs(y - at_y), abs(x - at_x)) > _APART and second < surface[y, x] <= 1.001:
                second = surface[y, x]
    out[0], out[1], out[2] = at_x - side // 2, at_y - side // 2, best
    out[3] = second / best if best > 0.0 else 1.0
    out[4] = 1.0 if at_y in (0, side - 1) or at_x in (0, side - 1) else 0.0
