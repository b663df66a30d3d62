"""From two images on one grid to a shift, or a reason why there is none, at every node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from glacierflow.model.records import Record
from glacierflow.velocity.match import decimate, high_pass, search, windows_valid
from glacierflow.velocity.outliers import agreeing, filled_everywhere, median_of_neighbours, smoothed
from glacierflow.velocity.subpixel import deform, refine, slopes, spline_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Flag(IntEnum):
    """Why a node has a number, or none; a CF flag meaning each."""

    MEASURED = 1
    FILLED = 2
    """The median of its neighbours stands in for it."""
    UNTEXTURED = 3
    """No size of chip holds anything to recognise."""
    OUTLIER = 4
    """It does not fit its neighbours, or the two images do not agree there."""
    EDGE = 5
    """The chip reaches beyond the image."""
    NODATA = 6
    """One of the images has no data in the chip."""
    LIMIT = 7
    """The best agreement lies at the limit of the search."""
    CLOUD = 8
    WATER = 9
    ROCK = 10
    """Measured, on what the mask says is rock."""


class Tracking(Record):
    """Every number that decides a shift."""

    chip: int = 32
    """Pixels on a side: 320 m for Sentinel-2, 480 m for Landsat."""
    larger: tuple[int, ...] = (64, 128)
    """Tried in this order where the smaller failed."""
    radius: int = 5
    """Pixels searched around what is expected."""
    high_pass: int = 5
    """Pixels on a side of the mean that is taken away."""
    coarse_every: int = 4
    """Nodes between those of the coarse search."""
    fewest_valid: float = 0.9
    """Share of a chip's pixels that must have data."""
    least_spread: float = 0.5
    """Standard deviation of a chip, DN after the high-pass, below which it has no texture. Rounding to whole
    DN alone gives 0.29."""
    least_correlation: float = 0.1
    second_pass: bool = True
    fill: bool = True
    """Put the median of at least five neighbours where a node failed."""


@dataclass(frozen=True, slots=True)
class Posting:
    """Where the nodes are, in pixels from the image's upper left corner."""

    rows: int
    cols: int
    spacing: float
    """Pixels between nodes."""

    def starts(self, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First rows and first columns of the nodes' chips, by node row and node column."""
        rows, cols = (
            np.floor((np.arange(n) + 0.5) * self.spacing - size / 2 + 0.5).astype(np.int64)
            for n in (self.rows, self.cols)
        )
        return rows, cols


def posting_of(shape: tuple[int, int], spacing: float) -> Posting:
    """Nodes at the centres of the cells that lie wholly inside an image, never snapped."""
    rows, cols = (max(0, math.floor(size / spacing + 1e-9)) for size in shape)
    return Posting(rows, cols, spacing)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is made of one image once, for all of its pairs."""

    valid: NDArray[np.bool_]
    high: NDArray[np.float32]
    spline: NDArray[np.float32]
    slope_x: NDArray[np.float32]
    slope_y: NDArray[np.float32]
    coarse: dict[int, tuple[NDArray[np.bool_], NDArray[np.float32]]]
    """Where it is valid, and the filtered image, at a whole part of the resolution."""


def prepare(image: NDArray[np.generic], settings: Tracking) -> Prepared:
    """Filter an image: what every pair it is part of needs.

    Args:
        image: (rows, columns) DN; 0 is nodata.
        settings: of the tracking.
    """
    raw = image.astype(np.float32)
    valid, high = high_pass(raw, raw != 0, settings.high_pass)
    spline = spline_of(high)
    slope_x, slope_y = slopes(spline)
    coarse = {1: (valid, high)}
    for factor in (2, 4):
        small, known = decimate(raw, factor)
        coarse[factor] = high_pass(small, known, settings.high_pass)
    return Prepared(valid, high, spline, slope_x, slope_y, coarse)


@dataclass(slots=True)
class Shifts:
    """What was found at every node; arrays of (node rows, node columns)."""

    x: NDArray[np.float64]
    """Pixels along columns; NaN where the flag says why."""
    y: NDArray[np.float64]
    """Pixels along rows, downwards."""
    flag: NDArray[np.uint8]
    correlation: NDArray[np.float32]
    """Of the two chips at the shift."""
    peak_ratio: NDArray[np.float32]
    """Second highest peak over the highest, 0..1: near 1 it might have been the other."""
    chip: NDArray[np.uint16]
    """Pixels on a side; 0 where there is no shift."""

    def put(self, where: NDArray[np.bool_], flag: Flag) -> None:
        """Say why some nodes have no shift."""
        self.flag[where] = flag
        for values in (self.x, self.y, self.correlation, self.peak_ratio):
            values[where] = np.nan
        self.chip[where] = 0


def track(first: Prepared, second: Prepared, posting: Posting, limit: float, settings: Tracking) -> Shifts:
    """Shifts of the second image against the first.

    Args:
        first: the earlier image.
        second: the later one, on the same grid.
        posting: the nodes.
        limit: the largest shift that is looked for, pixels.
        settings: every other number.
    """
    shape = posting.rows, posting.cols
    found = Shifts(
        x=np.full(shape, np.nan),
        y=np.full(shape, np.nan),
        flag=np.full(shape, Flag.OUTLIER, np.uint8),
        correlation=np.full(shape, np.nan, np.float32),
        peak_ratio=np.full(shape, np.nan, np.float32),
        chip=np.zeros(shape, np.uint16),
    )
    prior = expected(first, second, posting, limit, settings)
    open_nodes = np.ones(shape, np.bool_)
    for size in (settings.chip, *settings.larger):
        _measure(first, second, posting, prior, limit, size, open_nodes, found, settings)
        _drop_outliers(found, settings)
        if settings.second_pass:
            _measure_again(first, second, posting, size, found)
            _drop_outliers(found, settings)
        open_nodes = np.isin(found.flag, (Flag.OUTLIER, Flag.UNTEXTURED, Flag.LIMIT))
        if not open_nodes.any():
            break
    if settings.fill:
        _fill(found)
    return found


def expected(
    first: Prepared, second: Prepared, posting: Posting, limit: float, settings: Tracking
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whole pixels around which each node is searched, along columns and rows, by a coarse search."""
    zero = np.zeros((posting.rows, posting.cols), np.int64)
    if limit <= settings.radius - 1:
        return zero, zero
    factor = 1 if limit <= 12 else 2 if limit <= 48 else 4
    (valid, high), (other_valid, other) = first.coarse[factor], second.coarse[factor]
    every = settings.coarse_every
    sparse = Posting(
        math.ceil(posting.rows / every), math.ceil(posting.cols / every), posting.spacing * every / factor
    )
    radius = math.ceil(limit / factor) + 1
    size = settings.chip
    usable = windows_valid(valid, other_valid, sparse.starts(size), size) >= settings.fewest_valid / 2
    nothing = np.zeros((sparse.rows, sparse.cols), np.int64)
    peaks = search(high, other, sparse.starts(size), size, (nothing, nothing), radius, usable)
    good = usable & ~peaks.at_limit & (peaks.correlation > settings.least_correlation)
    x, y = np.where(good, peaks.x, np.nan), np.where(good, peaks.y, np.nan)
    kept = agreeing(x, y, max(0.2 * limit / factor, 1.5), 2.0)
    x, y = np.where(kept, x, np.nan), np.where(kept, y, np.nan)
    x, y = (filled_everywhere(part) for part in (x, y))
    x, y = median_of_neighbours(x, y, np.ones_like(kept), 1, 1)
    return tuple(  # type: ignore[return-value]
        np.rint(factor * _between(part, every, zero.shape)).astype(np.int64) for part in (x, y)
    )


def _between(sparse: NDArray[np.float64], every: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A coarse field at every node, bilinear."""
    places = [
        np.clip((np.arange(n) + 0.5) / every - 0.5, 0, m - 1)
        for n, m in zip(shape, sparse.shape, strict=True)
    ]
    rows = np.stack([np.interp(places[0], np.arange(sparse.shape[0]), line) for line in sparse.T], axis=1)
    return np.stack([np.interp(places[1], np.arange(sparse.shape[1]), line) for line in rows])


def _measure(
    first: Prepared,
    second: Prepared,
    posting: Posting,
    prior: tuple[NDArray[np.int64], NDArray[np.int64]],
    limit: float,
    size: int,
    wanted: NDArray[np.bool_],
    found: Shifts,
    settings: Tracking,
) -> None:
    """Search and refine the wanted nodes with chips of one size; put in what is found."""
    tops, lefts = posting.starts(size)
    rows, cols = first.high.shape
    row_in, col_in = ((at >= 0) & (at + size <= n) for at, n in ((tops, rows), (lefts, cols)))
    inside = row_in[:, None] & col_in[None, :]
    first_try = size == settings.chip
    if first_try:
        found.put(~inside, Flag.EDGE)
    # what is moved out of the second image is found by its correlation; here only holes count
    share = windows_valid(first.valid, second.valid, (tops, lefts), size)
    enough = share >= settings.fewest_valid
    if first_try:
        found.put(inside & ~enough, Flag.NODATA)
    usable = wanted & inside & enough
    spread = chip_spread(first.high, tops, lefts, size)
    flat = usable & (spread < settings.least_spread)
    if first_try:
        found.put(flat, Flag.UNTEXTURED)
    usable &= ~flat
    peaks = search(first.high, second.high, (tops, lefts), size, prior, settings.radius, usable)
    whole_x, whole_y = prior[0] + peaks.x, prior[1] + peaks.y
    beyond = usable & (peaks.at_limit | (np.hypot(whole_x, whole_y) > limit + 1))
    found.put(beyond & (found.flag != Flag.UNTEXTURED), Flag.LIMIT)
    good = usable & ~beyond & (peaks.correlation >= settings.least_correlation)
    _refine_into(first, second.spline, posting, size, good, (whole_x, whole_y), found)
    found.peak_ratio[good] = peaks.ratio[good]


def _refine_into(
    first: Prepared,
    spline: NDArray[np.float32],
    posting: Posting,
    size: int,
    good: NDArray[np.bool_],
    start: tuple[NDArray[np.generic], NDArray[np.generic]],
    found: Shifts,
    base: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> None:
    """Refine shifts and put them in; ``base`` is what the second image was drawn back by."""
    tops, lefts = posting.starts(size)
    i, j = np.nonzero(good)
    places = tops[i], lefts[j]
    starts = (np.asarray(part[i, j], np.float64) for part in start)
    fine = refine(first.high, first.slope_x, first.slope_y, spline, *places, size, *starts)
    done = np.isfinite(fine[:, 2])
    if base is None:
        lost = np.zeros_like(good)
        lost[i[~done], j[~done]] = True
        found.put(lost & (found.flag != Flag.UNTEXTURED), Flag.OUTLIER)
    i, j, fine = i[done], j[done], fine[done]
    found.x[i, j] = fine[:, 0] + (0 if base is None else base[0][i, j])
    found.y[i, j] = fine[:, 1] + (0 if base is None else base[1][i, j])
    found.correlation[i, j] = fine[:, 2]
    found.chip[i, j] = size
    found.flag[i, j] = Flag.MEASURED


def _drop_outliers(found: Shifts, settings: Tracking) -> None:
    measured = found.flag == Flag.MEASURED
    kept = agreeing(found.x, found.y, 0.2 * max(settings.radius, 6), 2 / 16)
    found.put(measured & ~kept, Flag.OUTLIER)


def _measure_again(first: Prepared, second: Prepared, posting: Posting, size: int, found: Shifts) -> None:
    """Refine every node of this size once more, on the second image drawn back by the smooth field."""
    if not (found.chip == size).any():
        return
    kept = found.flag == Flag.MEASURED
    x, y = median_of_neighbours(found.x, found.y, kept, 1, 3)
    smooth_x, smooth_y = (smoothed(filled_everywhere(part)) for part in (x, y))
    place = 0.5 * posting.spacing - 0.5
    drawn = deform(second.spline, smooth_x, smooth_y, place, place, posting.spacing, posting.spacing)
    zero = np.zeros_like(smooth_x)
    again = kept & (found.chip == size)
    _refine_into(first, spline_of(drawn), posting, size, again, (zero, zero), found, (smooth_x, smooth_y))


def chip_spread(
    image: NDArray[np.float32], tops: NDArray[np.int64], lefts: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Standard deviation of each chip, (node rows, node columns); chips are cut at the image's edges."""
    import cv2

    sums, squares = cv2.integral2(image, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
    rows, cols = image.shape
    r0, r1 = (np.clip(at, 0, rows) for at in (tops, tops + size))
    c0, c1 = (np.clip(at, 0, cols) for at in (lefts, lefts + size))

    def total(table: NDArray[np.float64]) -> NDArray[np.float64]:
        inner: NDArray[np.float64] = (
            table[np.ix_(r1, c1)] - table[np.ix_(r0, c1)] - table[np.ix_(r1, c0)] + table[np.ix_(r0, c0)]
        )
        return inner

    count = np.maximum((r1 - r0)[:, None] * (c1 - c0)[None, :], 1)
    mean = total(sums) / count
    spread: NDArray[np.float64] = np.sqrt(np.maximum(total(squares) / count - mean * mean, 0))
    return spread


def _fill(found: Shifts) -> None:
    """Give a failed node among good ones the median of these."""
    x, y = median_of_neighbours(found.x, found.y, found.flag == Flag.MEASURED, 1, 5)
    hole = np.isin(found.flag, (Flag.OUTLIER, Flag.LIMIT)) & np.isfinite(x)
    found.x[hole], found.y[hole] = x[hole], y[hole]
    found.flag[hole] = Flag.FILLED
