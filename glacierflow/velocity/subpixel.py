"""Subpixel shifts by inverse-compositional Gauss-Newton on cubic B-splines, compiled by numba. Pure.

Nothing here is ``fastmath``: sums run lane by lane in one order, so the same pair gives the same bytes.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"
# ruff: noqa: ANN001, ANN201, ANN202, C901 - numba infers types; calls between kernels cost more than loops

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config, njit
from numpy.typing import NDArray

from glacierflow.host import compiled_cache
from glacierflow.imagery import kernels as _processor  # noqa: F401 - sets the processor to compile for

_POLE = math.sqrt(3.0) - 2.0
"""Of the recursive filter that gives a cubic B-spline's coefficients (Unser 1999, IEEE SPM 16)."""
_REACH = 12
"""Pixels after which a start of that filter counts nothing in float32."""
_ROUNDS = 8
_STILL = 0.004
"""Pixels; a smaller step ends the iteration."""
_ASTRAY = 1.5
"""Pixels from the peak of the correlation beyond which a shift is none."""
_f4 = np.float32


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel, and keep it where the kernels of the clips are kept."""
    before = config.CACHE_DIR
    folder = before or compiled_cache()
    config.CACHE_DIR = str(folder or "")
    try:
        kernel: Callable[..., Any] = njit(nogil=True, cache=folder is not None, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = before
    return kernel


@compiled
def _filter_rows(image):
    """Cubic B-spline coefficients along the first axis, in place; edges are mirrored."""
    rows, cols = image.shape
    pole, gain = _f4(_POLE), _f4(6.0)
    first = np.zeros(cols, np.float32)
    power = _f4(1.0)
    for y in range(min(_REACH, rows)):
        for x in range(cols):
            first[x] += power * image[y, x]
        power *= pole
    for x in range(cols):
        image[0, x] = first[x]
    for y in range(1, rows):
        for x in range(cols):
            image[y, x] += pole * image[y - 1, x]
    factor = pole / (pole * pole - _f4(1.0))
    for x in range(cols):
        image[rows - 1, x] = factor * (image[rows - 1, x] + pole * image[rows - 2, x])
    for y in range(rows - 2, -1, -1):
        for x in range(cols):
            image[y, x] = pole * (image[y + 1, x] - image[y, x])
    for y in range(rows):
        for x in range(cols):
            image[y, x] *= gain


def spline_of(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Coefficients of the cubic B-spline through an image, (rows, columns)."""
    along = image.copy()
    _filter_rows(along)
    turned = np.ascontiguousarray(along.T)
    _filter_rows(turned)
    return np.ascontiguousarray(turned.T)


@compiled
def slopes(spline):
    """Derivatives of a spline at its pixels, along columns and along rows, (rows, columns) float32."""
    rows, cols = spline.shape
    by_x, by_y = np.zeros((rows, cols), np.float32), np.zeros((rows, cols), np.float32)
    side, middle, half = _f4(1 / 6), _f4(4 / 6), _f4(0.5)
    for y in range(1, rows - 1):
        for x in range(1, cols - 1):
            right = side * (spline[y - 1, x + 1] + spline[y + 1, x + 1]) + middle * spline[y, x + 1]
            left = side * (spline[y - 1, x - 1] + spline[y + 1, x - 1]) + middle * spline[y, x - 1]
            by_x[y, x] = half * (right - left)
            below = side * (spline[y + 1, x - 1] + spline[y + 1, x + 1]) + middle * spline[y + 1, x]
            above = side * (spline[y - 1, x - 1] + spline[y - 1, x + 1]) + middle * spline[y - 1, x]
            by_y[y, x] = half * (below - above)
    return by_x, by_y


@compiled
def _weights(fraction, out):
    rest = 1.0 - fraction
    out[0] = _f4(rest * rest * rest / 6.0)
    out[1] = _f4((4.0 - 6.0 * fraction * fraction + 3.0 * fraction**3) / 6.0)
    out[2] = _f4((4.0 - 6.0 * rest * rest + 3.0 * rest**3) / 6.0)
    out[3] = _f4(fraction * fraction * fraction / 6.0)


@compiled
def refine(image, by_x, by_y, spline, tops, lefts, size, start_x, start_y):
    """Shifts of chips of one image in another, by minimising the zero-mean normalised squared difference.

    Args:
        image: (rows, columns) float32, the first image.
        by_x: its derivative along columns.
        by_y: along rows.
        spline: coefficients of the second image, on the same grid.
        tops: (n,) first rows of the chips.
        lefts: (n,) first columns.
        size: pixels on a side of a chip.
        start_x: (n,) shifts to begin with along columns, pixels; NaN leaves a node out.
        start_y: along rows.

    Returns:
        (n, 3) float64: shift along columns and along rows, and the correlation there; NaN where the
        iteration leaves the neighbourhood of its start or the images.
    """
    rows, cols = image.shape
    out = np.full((tops.size, 3), np.nan)
    across = np.empty((size + 3, size), np.float32)
    a, gx, gy = np.empty((3, size, size), np.float32)
    sums = np.empty((5, size))
    wx, wy = np.empty(4, np.float32), np.empty(4, np.float32)
    count = size * size
    for n in range(tops.size):
        top, left = tops[n], lefts[n]
        inside = top >= 0 and left >= 0 and top + size <= rows and left + size <= cols
        if not inside or not math.isfinite(start_x[n] + start_y[n]):
            continue
        _center(image, top, left, a)
        _center(by_x, top, left, gx)
        _center(by_y, top, left, gy)
        sums[:] = 0.0
        ax, ay = np.zeros(size), np.zeros(size)
        for i in range(size):
            for j in range(size):
                sums[0, j] += gx[i, j] * gx[i, j]
                sums[1, j] += gx[i, j] * gy[i, j]
                sums[2, j] += gy[i, j] * gy[i, j]
                sums[3, j] += a[i, j] * a[i, j]
                ax[j] += gx[i, j] * a[i, j]
                ay[j] += gy[i, j] * a[i, j]
        hxx, hxy, hyy, power = sums[0].sum(), sums[1].sum(), sums[2].sum(), sums[3].sum()
        own_x, own_y = ax.sum(), ay.sum()
        determinant = hxx * hyy - hxy * hxy
        if determinant <= 0.0 or power <= 0.0:
            continue
        u, v, agreement = start_x[n], start_y[n], np.nan
        for _ in range(_ROUNDS):
            col, row = math.floor(u), math.floor(v)
            r0, c0 = top + row - 1, left + col - 1
            if r0 < 0 or c0 < 0 or r0 + size + 3 > rows or c0 + size + 3 > cols:
                agreement = np.nan
                break
            _weights(u - col, wx)
            _weights(v - row, wy)
            _across(spline, r0, c0, wx, across)
            _down(across, wy, a, gx, gy, sums)
            total, square = sums[0].sum(), sums[1].sum()
            spread = square - total * total / count
            if spread <= 0.0:
                agreement = np.nan
                break
            scale = math.sqrt(power / spread)
            ex, ey = scale * sums[2].sum() - own_x, scale * sums[3].sum() - own_y
            agreement = sums[4].sum() / math.sqrt(power * spread)
            step_x = (hyy * ex - hxy * ey) / determinant
            step_y = (hxx * ey - hxy * ex) / determinant
            u -= step_x
            v -= step_y
            if abs(u - start_x[n]) > _ASTRAY or abs(v - start_y[n]) > _ASTRAY:
                agreement = np.nan
                break
            if abs(step_x) < _STILL and abs(step_y) < _STILL:
                break
        if math.isfinite(agreement):
            out[n, 0], out[n, 1], out[n, 2] = u, v, agreement
    return out


@compiled
def _center(image, top, left, out):
    """A chip less its mean."""
    size = out.shape[0]
    lanes = np.zeros(size)
    for i in range(size):
        for j in range(size):
            lanes[j] += image[top + i, left + j]
    mean = _f4(lanes.sum() / (size * size))
    for i in range(size):
        for j in range(size):
            out[i, j] = image[top + i, left + j] - mean


@compiled
def _across(spline, top, left, weights, out):
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for i in range(out.shape[0]):
        line = spline[top + i]
        for j in range(out.shape[1]):
            x = left + j
            out[i, j] = w0 * line[x] + w1 * line[x + 1] + w2 * line[x + 2] + w3 * line[x + 3]


@compiled
def _down(across, weights, a, gx, gy, sums):
    """Samples of the second image, and by column the sums that a step needs."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    size = a.shape[0]
    sums[:] = 0.0
    for i in range(size):
        for j in range(size):
            sample = w0 * across[i, j] + w1 * across[i + 1, j] + w2 * across[i + 2, j] + w3 * across[i + 3, j]
            sums[0, j] += sample
            sums[1, j] += sample * sample
            sums[2, j] += gx[i, j] * sample
            sums[3, j] += gy[i, j] * sample
            sums[4, j] += a[i, j] * sample


@compiled
def deform(spline, field_x, field_y, first_row, first_col, spacing_row, spacing_col):
    """The second image drawn back by a smooth field: its value at each pixel plus the field there.

    Args:
        spline: (rows, columns) coefficients of the image.
        field_x: (node rows, node columns) shift along columns, pixels; no NaN.
        field_y: along rows.
        first_row: place of the first node in pixels, where the centre of the first pixel is 0.
        first_col: the same for columns.
        spacing_row: pixels between nodes.
        spacing_col: the same for columns.

    Returns:
        (rows, columns) float32; 0 where the field points outside.
    """
    rows, cols = spline.shape
    node_rows, node_cols = field_x.shape
    out = np.zeros((rows, cols), np.float32)
    wx, wy = np.empty(4, np.float32), np.empty(4, np.float32)
    for y in range(rows):
        at = min(max((y - first_row) / spacing_row, 0.0), node_rows - 1.0)
        i = min(int(at), max(node_rows - 2, 0))
        i2, p = min(i + 1, node_rows - 1), at - i
        for x in range(cols):
            on = min(max((x - first_col) / spacing_col, 0.0), node_cols - 1.0)
            j = min(int(on), max(node_cols - 2, 0))
            j2, q = min(j + 1, node_cols - 1), on - j
            k00, k01, k10, k11 = (1 - p) * (1 - q), (1 - p) * q, p * (1 - q), p * q
            u = k00 * field_x[i, j] + k01 * field_x[i, j2] + k10 * field_x[i2, j] + k11 * field_x[i2, j2]
            v = k00 * field_y[i, j] + k01 * field_y[i, j2] + k10 * field_y[i2, j] + k11 * field_y[i2, j2]
            row, col = math.floor(y + v), math.floor(x + u)
            if row < 1 or col < 1 or row + 2 >= rows or col + 2 >= cols:
                continue
            _weights(x + u - col, wx)
            _weights(y + v - row, wy)
            value = _f4(0.0)
            for k in range(4):
                line = spline[row - 1 + k]
                value += wy[k] * (
                    wx[0] * line[col - 1] + wx[1] * line[col] + wx[2] * line[col + 1] + wx[3] * line[col + 2]
                )
            out[y, x] = value
    return out
