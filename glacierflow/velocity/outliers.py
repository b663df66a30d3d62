"""Which shifts do not fit their neighbours, compiled by numba. Pure.

First normalised displacement coherence: a node stays where enough of its neighbours moved nearly as it did.
Then a median test. Both as autoRIFT does (Lei, Gardner, Agram 2021, doi 10.3390/rs13040749).
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
# ruff: noqa: ANN001, ANN201, ANN202 - numba infers types; the docstrings name them

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from glacierflow.velocity.subpixel import compiled

_WINDOW = 2
"""Nodes on each side that count as neighbours."""
_ENOUGH = 8
"""Nodes of the 25, itself included, that have to agree."""
_ROUNDS_COHERENCE, _ROUNDS_MEDIAN = 3, 2
_MADS = 4.0


def agreeing(
    shift_x: NDArray[np.float64], shift_y: NDArray[np.float64], tolerance: float, least: float
) -> NDArray[np.bool_]:
    """Which nodes fit their neighbours.

    Args:
        shift_x: (node rows, node columns) in any unit; NaN is none.
        shift_y: the same along the other axis.
        tolerance: largest difference, in each component, of two nodes that agree; in the same unit.
        least: a difference from the median that is always allowed.

    Returns:
        (node rows, node columns); False where there was no shift.
    """
    kept = np.isfinite(shift_x) & np.isfinite(shift_y)
    for _ in range(_ROUNDS_COHERENCE):
        kept = _coherent(shift_x, shift_y, kept, tolerance)
    for _ in range(_ROUNDS_MEDIAN):
        kept = _near_median(shift_x, shift_y, kept, least)
    return kept


@compiled
def _coherent(shift_x, shift_y, kept, tolerance):
    rows, cols = kept.shape
    out = np.zeros_like(kept)
    for i in range(rows):
        for j in range(cols):
            if not kept[i, j]:
                continue
            found, places = 0, 0
            for p in range(max(0, i - _WINDOW), min(rows, i + _WINDOW + 1)):
                for q in range(max(0, j - _WINDOW), min(cols, j + _WINDOW + 1)):
                    places += 1
                    if (
                        kept[p, q]
                        and abs(shift_x[p, q] - shift_x[i, j]) <= tolerance
                        and abs(shift_y[p, q] - shift_y[i, j]) <= tolerance
                    ):
                        found += 1
            # at an edge the window is smaller, and so is what is asked of it
            out[i, j] = found * (2 * _WINDOW + 1) ** 2 >= _ENOUGH * places
    return out


@compiled
def _neighbours(shift_x, shift_y, kept, i, j, reach, near_x, near_y):
    """Put the shifts of the kept nodes around a node and its own into two buffers; how many they are."""
    rows, cols = kept.shape
    n = 0
    for p in range(max(0, i - reach), min(rows, i + reach + 1)):
        for q in range(max(0, j - reach), min(cols, j + reach + 1)):
            if kept[p, q]:
                near_x[n], near_y[n] = shift_x[p, q], shift_y[p, q]
                n += 1
    return n


@compiled
def _near_median(shift_x, shift_y, kept, least):
    rows, cols = kept.shape
    out = np.zeros_like(kept)
    near_x, near_y = np.empty(25), np.empty(25)
    for i in range(rows):
        for j in range(cols):
            if not kept[i, j]:
                continue
            n = _neighbours(shift_x, shift_y, kept, i, j, _WINDOW, near_x, near_y)
            good = True
            for here, near in ((shift_x[i, j], near_x[:n]), (shift_y[i, j], near_y[:n])):
                middle = np.median(near)
                spread = np.median(np.abs(near - middle))
                good &= abs(here - middle) <= max(_MADS * spread, least)
            out[i, j] = good
    return out


@compiled
def median_of_neighbours(shift_x, shift_y, kept, reach, fewest):
    """Medians of the kept nodes around each node; NaN where fewer than ``fewest`` are within ``reach``.

    Args:
        shift_x: (node rows, node columns).
        shift_y: the same.
        kept: which of them count.
        reach: nodes on each side.
        fewest: kept nodes a median needs.
    """
    rows, cols = kept.shape
    out_x, out_y = np.full((rows, cols), np.nan), np.full((rows, cols), np.nan)
    near_x, near_y = np.empty((2 * reach + 1) ** 2), np.empty((2 * reach + 1) ** 2)
    for i in range(rows):
        for j in range(cols):
            n = _neighbours(shift_x, shift_y, kept, i, j, reach, near_x, near_y)
            if n >= max(fewest, 1):
                out_x[i, j], out_y[i, j] = np.median(near_x[:n]), np.median(near_y[:n])
    return out_x, out_y


@compiled
def _spread_once(field, out):
    """Fill each empty node from its filled neighbours; returns how many are still empty."""
    rows, cols = field.shape
    empty = 0
    for i in range(rows):
        for j in range(cols):
            if not math.isnan(field[i, j]):
                out[i, j] = field[i, j]
                continue
            total, n = 0.0, 0
            for p in range(max(0, i - 1), min(rows, i + 2)):
                for q in range(max(0, j - 1), min(cols, j + 2)):
                    if not math.isnan(field[p, q]):
                        total += field[p, q]
                        n += 1
            out[i, j] = total / n if n else np.nan
            empty += n == 0
    return empty


def filled_everywhere(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """A field without holes, each filled from what lies nearest; zeros where there is nothing at all."""
    if not np.isfinite(field).any():
        return np.zeros_like(field)
    empty = 1
    while empty:
        out = np.empty_like(field)
        empty = _spread_once(field, out)
        field = out
    return field


@compiled
def smoothed(field):
    """Means of 3 x 3 nodes weighted 1 2 1, twice; edges by what is there."""
    rows, cols = field.shape
    for _ in range(2):
        out = np.empty_like(field)
        for i in range(rows):
            for j in range(cols):
                total, weights = 0.0, 0.0
                for p in range(max(0, i - 1), min(rows, i + 2)):
                    for q in range(max(0, j - 1), min(cols, j + 2)):
                        weight = (2.0 - abs(p - i)) * (2.0 - abs(q - j))
                        total += weight * field[p, q]
                        weights += weight
                out[i, j] = total / weights
        field = out
    return field
