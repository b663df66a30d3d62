"""The arithmetic of resampling and of TIFF's predictor, compiled by numba. Pure: arrays in, arrays out.

Nothing here is ``fastmath``: a pixel's value must not depend on which lane, chunk or thread computed it.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined, assignment"
# ruff: noqa: ANN001, ANN201, ANN202 - numba infers types; the docstrings name them

from __future__ import annotations

import math
import os
import platform

import numpy as np
from numba import config, njit

from glacierflow.host import compiled_cache
from glacierflow.imagery.lattice import CELL

_PROCESSORS = {"x86_64": ("x86-64-v3", ""), "aarch64": ("generic", "+neon")}
if os.environ.get("GLACIERFLOW_COMPILED") and platform.machine() in _PROCESSORS:
    # An image's compiled kernels must suit whatever instance it is started on: AVX2, which all of them have.
    config.CPU_NAME, config.CPU_FEATURES = _PROCESSORS[platform.machine()]

_numbas_own = config.CACHE_DIR
_folder = _numbas_own or compiled_cache()
config.CACHE_DIR = str(_folder or "")

KINDS = {"nearest": 0, "bilinear": 1, "cubic": 2, "lanczos": 3}
"""Each kind's number is also the source pixels it reaches on each side."""

_NEAREST, _BILINEAR, _CUBIC = 0, 1, 2
_f4 = np.float32
_HALF, _ONE, _TWO, _THREE, _FOUR, _FIVE = (_f4(value) for value in (0.5, 1.0, 2.0, 3.0, 4.0, 5.0))
_TOP = _f4(65535.0)
_EMPTY = _f4(-1e30)
_TINY = 1e-6
"""A weight below this is none (GDAL's number)."""
_NONE, _SOME, _ALL = 0, 1, 2
_COS3 = tuple(math.cos(math.pi * n / 3) for n in range(-3, 3))
_SIN3 = tuple(math.sin(math.pi * n / 3) for n in range(-3, 3))

_compiled = njit(nogil=True, cache=_folder is not None, error_model="numpy")
_inlined = njit(nogil=True, error_model="numpy")


@_compiled
def paste(block, window, top, left, predicted):
    """Put a decoded block into a window, undoing the horizontal predictor on the way.

    Args:
        block: (rows, columns) as inflated, uint8 or uint16.
        window: (rows, columns) uint16; what lies outside is dropped.
        top: row of the window where the block's first row belongs; may be negative.
        left: the same for columns.
        predicted: whether the rows hold differences.
    """
    first, end = max(0, -left), min(block.shape[1], window.shape[1] - left)
    for y in range(max(0, -top), min(block.shape[0], window.shape[0] - top)):
        line, target = block[y], window[y + top]
        if not predicted:
            for x in range(first, end):
                target[x + left] = line[x]
            continue
        total = line.dtype.type(0)
        for x in range(first):
            total = line.dtype.type(total + line[x])
        for x in range(first, end):
            total = line.dtype.type(total + line[x])
            target[x + left] = total


@_compiled
def free_cells(out, top, left, cell_rows, cell_cols):
    """Which cells of a lattice still have a pixel that is 0: (cell rows, cell columns)."""
    free = np.zeros((cell_rows, cell_cols), np.bool_)
    for i in range(cell_rows):
        y0, y1 = max(0, i * CELL - top), min(out.shape[0], (i + 1) * CELL - top)
        for j in range(cell_cols):
            x0, x1 = max(0, j * CELL - left), min(out.shape[1], (j + 1) * CELL - left)
            free[i, j] = _valid(out, y0, y1, x0, x1) != _ALL
    return free


@_inlined
def _valid(image, y0, y1, x0, x1):
    """Whether none, some or all pixels of a part are not 0."""
    count = 0
    for y in range(y0, y1):
        line = image[y, x0:x1]
        found = np.int64(0)
        for x in range(line.size):
            found += line[x] != 0
        count += found
    if count == 0:
        return _NONE
    return _ALL if count == (y1 - y0) * (x1 - x0) else _SOME


@_compiled
def resample(source, out, rows, cols, top, left, begin, end, kind):  # noqa: C901 - one loop nest, compiled
    """Fill the pixels of ``out`` that are still 0 from a source, cell by cell.

    Like GDAL: a pixel is valid where the source pixel it lies in is valid (not 0), so that gaps neither grow
    nor shrink; only valid source pixels weigh; where one of cubic's 16 is missing, the valid ones of the
    nearest four decide; a valid result is never 0, and overshoot stops at 65535.

    Args:
        source: (rows, columns) uint16, C order.
        out: (rows, columns) uint16.
        rows: the lattice's source rows, counted from this source's first row.
        cols: the same for columns.
        top: the lattice's.
        left: the lattice's.
        begin: first cell row to fill.
        end: the cell row after the last.
        kind: from ``KINDS``.
    """
    flat, stride = source.reshape(-1), source.shape[1]
    r, c = np.empty(CELL), np.empty(CELL)
    at = np.empty(CELL, np.int64)
    weights, values = np.empty((8, CELL), np.float32), np.empty(CELL, np.float32)
    taps = np.empty((2, 6))
    for i in range(begin, end):
        y0, y1 = max(0, i * CELL - top), min(out.shape[0], (i + 1) * CELL - top)
        for j in range(cols.shape[1] - 3):
            x0, x1 = max(0, j * CELL - left), min(out.shape[1], (j + 1) * CELL - left)
            filled = _valid(out, y0, y1, x0, x1)
            if filled == _ALL:
                continue
            r0, r1 = _reach(rows, i, j, kind)
            c0, c1 = _reach(cols, i, j, kind)
            inside = r0 >= 0 and c0 >= 0 and r1 <= source.shape[0] and c1 <= source.shape[1]
            r0, r1 = max(r0, 0), min(r1, source.shape[0])
            c0, c1 = max(c0, 0), min(c1, source.shape[1])
            if r0 >= r1 or c0 >= c1:
                continue
            there = _valid(source, r0, r1, c0, c1)
            if there == _NONE:
                continue
            quick = kind == _CUBIC and inside and there == _ALL and filled == _NONE
            for y in range(y0, y1):
                u = (y + top - i * CELL) / CELL
                _interpolate(rows, i, j, u, x0 + left - j * CELL, r)
                _interpolate(cols, i, j, u, x0 + left - j * CELL, c)
                line = out[y, x0:x1]
                if quick:
                    _cubic_line(flat, stride, r, c, at, weights, values, line)
                    continue
                for x in range(line.size):
                    if line[x] == 0:
                        value = _sample(source, r[x], c[x], kind, taps)
                        if value > _EMPTY:
                            line[x] = _to_pixel(value)


@_inlined
def _reach(nodes, i, j, kind):
    """The source pixels, half-open, that a cell is made from along one axis."""
    a, b, c, d = nodes[i + 1, j + 1], nodes[i + 1, j + 2], nodes[i + 2, j + 1], nodes[i + 2, j + 2]
    first = math.floor(min(min(a, b), min(c, d))) - kind - 1
    last = math.ceil(max(max(a, b), max(c, d))) + kind + 1
    return int(first), int(last) + 1


@_inlined
def _interpolate(nodes, i, j, u, first, line):
    """Coordinates along one line of a cell: Lagrange's cubic through 4 x 4 nodes.

    Args:
        nodes: (node rows, node columns).
        i: the cell's row.
        j: the cell's column.
        u: the line's place in the cell, 0..1.
        first: the first pixel's number in the cell.
        line: (64,) to fill; values past the cell's end are not used.
    """
    w0 = -u * (u - 1) * (u - 2) / 6
    w1 = (u + 1) * (u - 1) * (u - 2) / 2
    w2 = -(u + 1) * u * (u - 2) / 2
    w3 = (u + 1) * u * (u - 1) / 6
    f0 = w0 * nodes[i, j] + w1 * nodes[i + 1, j] + w2 * nodes[i + 2, j] + w3 * nodes[i + 3, j]
    j += 1
    f1 = w0 * nodes[i, j] + w1 * nodes[i + 1, j] + w2 * nodes[i + 2, j] + w3 * nodes[i + 3, j]
    j += 1
    f2 = w0 * nodes[i, j] + w1 * nodes[i + 1, j] + w2 * nodes[i + 2, j] + w3 * nodes[i + 3, j]
    j += 1
    f3 = w0 * nodes[i, j] + w1 * nodes[i + 1, j] + w2 * nodes[i + 2, j] + w3 * nodes[i + 3, j]
    a1 = f2 - f0 / 3 - f1 / 2 - f3 / 6
    a2 = (f0 + f2) / 2 - f1
    a3 = (f3 - f0) / 6 + (f1 - f2) / 2
    for k in range(CELL):
        v = (first + k) / CELL
        line[k] = f1 + v * (a1 + v * (a2 + v * a3))


@_inlined
def _to_pixel(value):
    """Rounded; never 0, which means no data; never above what 16 bits hold."""
    return np.uint16(min(max(value, _ONE), _TOP) + _HALF)


@_inlined
def _cubic_weights(t):
    """Keys' cubic convolution with a = -1/2 for the pixels -1, 0, 1 and 2 (Keys 1981, eq. 15)."""
    t2 = t * t
    t3 = t2 * t
    return (
        _HALF * (_TWO * t2 - t3 - t),
        _HALF * (_THREE * t3 - _FIVE * t2 + _TWO),
        _HALF * (_FOUR * t2 - _THREE * t3 + t),
        _HALF * (t3 - t2),
    )


@_inlined
def _column(flat, p, stride, v0, v1, v2, v3):
    q = p + stride
    s = q + stride
    e = s + stride
    return (v0 * _f4(flat[p]) + v1 * _f4(flat[q])) + (v2 * _f4(flat[s]) + v3 * _f4(flat[e]))


@_inlined
def _cubic_line(flat, stride, r, c, at, weights, values, line):
    """Cubic where all source pixels are inside and valid; in passes, so that each of them vectorises."""
    for k in range(CELL):
        y, x = r[k] - 0.5, c[k] - 0.5
        row, col = np.int64(y), np.int64(x)
        at[k] = (row - 1) * stride + col - 1
        weights[0, k], weights[1, k], weights[2, k], weights[3, k] = _cubic_weights(_f4(y - row))
        weights[4, k], weights[5, k], weights[6, k], weights[7, k] = _cubic_weights(_f4(x - col))
    for k in range(line.size):
        p = at[k]
        v0, v1, v2, v3 = weights[0, k], weights[1, k], weights[2, k], weights[3, k]
        left = weights[4, k] * _column(flat, p, stride, v0, v1, v2, v3)
        left += weights[5, k] * _column(flat, p + 1, stride, v0, v1, v2, v3)
        right = weights[6, k] * _column(flat, p + 2, stride, v0, v1, v2, v3)
        right += weights[7, k] * _column(flat, p + 3, stride, v0, v1, v2, v3)
        values[k] = left + right
    for k in range(line.size):
        line[k] = _to_pixel(values[k])


@_compiled
def _sample(source, r, c, kind, taps):
    """One pixel of any kind, with missing neighbours; ``_EMPTY`` where there is nothing."""
    if not (0 <= r < source.shape[0] and 0 <= c < source.shape[1]):
        return _EMPTY
    nearest = source[int(r), int(c)]
    if nearest == 0:
        return _EMPTY
    if kind == _NEAREST:
        return _f4(nearest)
    y, x = math.floor(r - 0.5), math.floor(c - 0.5)
    row, col = int(y), int(x)
    t, u = (r - 0.5) - y, (c - 0.5) - x
    if kind == _BILINEAR:
        return _bilinear(source, row, col, t, u)
    if kind == _CUBIC:
        return _cubic(source, row, col, t, u)
    return _lanczos(source, row, col, t, u, taps)


@_inlined
def _bilinear(source, row, col, t, u):
    total, weight = 0.0, 0.0
    for i in range(2):
        for j in range(2):
            if 0 <= row + i < source.shape[0] and 0 <= col + j < source.shape[1]:
                value = source[row + i, col + j]
                if value:
                    w = (t if i else 1 - t) * (u if j else 1 - u)
                    total += w * value
                    weight += w
    return _f4(total / weight) if weight > _TINY else _EMPTY


@_inlined
def _cubic(source, row, col, t, u):
    if row < 1 or col < 1 or row + 2 >= source.shape[0] or col + 2 >= source.shape[1]:
        return _bilinear(source, row, col, t, u)
    if _valid(source, row - 1, row + 3, col - 1, col + 3) != _ALL:
        return _bilinear(source, row, col, t, u)
    v0, v1, v2, v3 = _cubic_weights(_f4(t))
    w0, w1, w2, w3 = _cubic_weights(_f4(u))
    flat, stride = source.reshape(-1), source.shape[1]
    p = (row - 1) * stride + col - 1
    left = w0 * _column(flat, p, stride, v0, v1, v2, v3)
    left += w1 * _column(flat, p + 1, stride, v0, v1, v2, v3)
    right = w2 * _column(flat, p + 2, stride, v0, v1, v2, v3)
    right += w3 * _column(flat, p + 3, stride, v0, v1, v2, v3)
    return left + right


@_inlined
def _lanczos_weights(t, taps):
    """Lanczos with three lobes for the pixels -2 to 3, not normalised."""
    if t == 0:
        taps[:] = 0.0
        taps[2] = 1.0
        return
    # sin(pi (t + n)) and sin(pi (t + n) / 3) from one sine and cosine each, by the addition theorem
    whole, sine, cosine = math.sin(math.pi * t), math.sin(math.pi * t / 3), math.cos(math.pi * t / 3)
    for k in range(6):
        n = 2 - k
        d = math.pi * (t + n)
        third = sine * _COS3[n + 3] + cosine * _SIN3[n + 3]
        taps[k] = 3 * (-whole if n % 2 else whole) * third / (d * d)


@_inlined
def _lanczos(source, row, col, t, u, taps):
    _lanczos_weights(t, taps[0])
    _lanczos_weights(u, taps[1])
    total, weight = 0.0, 0.0
    for i in range(6):
        if 0 <= row - 2 + i < source.shape[0]:
            for j in range(6):
                if 0 <= col - 2 + j < source.shape[1]:
                    value = source[row - 2 + i, col - 2 + j]
                    if value:
                        w = taps[0, i] * taps[1, j]
                        total += w * value
                        weight += w
    return _f4(total / weight) if weight > _TINY else _EMPTY


def compile_all() -> None:
    """Compile everything now, or load it from the cache; for the build of an image, and to be early."""
    window = np.zeros((4, 4), np.uint16)
    for dtype in (np.uint8, np.uint16):
        # a view of inflated bytes is read-only, which to numba is a type of its own
        paste(np.frombuffer(bytes(32), dtype, 16).reshape(4, 4), window, 0, 0, True)
    free_cells(window, 0, 0, 1, 1)
    nodes = np.zeros((4, 4))
    resample(window, window.copy(), nodes, nodes, 0, 0, 0, 1, _CUBIC)


# numba looks at it when a function is decorated; other code in the process keeps its own place
config.CACHE_DIR = _numbas_own
