"""Shifts are found as precisely as can be, and a node without one says why. Truth: real texture, moved."""

from __future__ import annotations

import numpy as np
import pytest
from made_motion import Array, Field, Moved, margins, moved, smooth, uniform

from glacierflow.velocity.outliers import agreeing
from glacierflow.velocity.track import Flag, Posting, Shifts, Tracking, posting_of, prepare, track

SPACING = 10
ALONE = Tracking(larger=(), fill=False)
"""One size of chip, and nothing but what was measured."""
SHIFTS = (uniform(0.3, -0.4), uniform(1.25, 0.6), uniform(-2.5, 0.05))


def find(pair: Moved, settings: Tracking = ALONE, limit: float = 4) -> tuple[Shifts, Posting]:
    posting = posting_of(pair.first.shape, SPACING)
    images = prepare(pair.first, settings), prepare(pair.second, settings)
    return track(*images, posting, limit, settings), posting


def truth(field: Field, posting: Posting) -> tuple[Array, Array]:
    """The true shift at each node."""
    cols, rows = ((np.arange(n) + 0.5) * SPACING - 0.5 for n in (posting.cols, posting.rows))
    return field(*np.meshgrid(cols, rows))


def errors(pair: Moved, settings: Tracking = ALONE, limit: float = 4) -> tuple[Shifts, Array, Array]:
    """What was found, and by how much it errs along columns and rows; NaN where nothing was measured."""
    found, posting = find(pair, settings, limit)
    x, y = truth(pair.field, posting)
    measured = found.flag == Flag.MEASURED
    away_x, away_y = (np.where(measured, part, np.nan) for part in (found.x - x, found.y - y))
    return found, away_x, away_y


def rms(*parts: Array) -> float:
    values = np.concatenate([part[np.isfinite(part)] for part in parts])
    assert values.size > 200
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize(("chip", "most"), [(32, 0.03), (64, 0.015)])
def test_uniform_shifts_of_real_texture(chip: int, most: float) -> None:
    settings = ALONE.model_copy(update={"chip": chip})
    found = [errors(moved(field), settings) for field in SHIFTS]
    assert rms(*(part for _, *parts in found for part in parts)) <= most
    # every node is judged: next to none is left out
    assert min(_kept(one) for one, *_ in found) > 0.92


def _kept(found: Shifts) -> float:
    inside = found.flag != Flag.EDGE
    return float((found.flag == Flag.MEASURED).sum() / inside.sum())


def test_a_smooth_field() -> None:
    found, x, y = errors(moved(smooth))
    assert rms(x, y) <= 0.05
    assert _kept(found) > 0.95


def test_shear_margins_need_the_second_pass() -> None:
    pair = moved(margins)
    once = ALONE.model_copy(update={"second_pass": False})
    (_, *first), (_, *both) = errors(pair, once), errors(pair)
    posting = posting_of(pair.first.shape, SPACING)
    sheared = np.abs(np.gradient(truth(margins, posting)[1], SPACING, axis=1)) > 0.01
    assert sheared.sum() > 200
    one, two = (rms(*(part[sheared] for part in parts)) for parts in (first, both))
    assert two <= 0.07
    assert two <= 0.7 * one


def test_much_noise_leaves_nothing_wrong_and_most_of_what_is_right() -> None:
    pair = moved(smooth, noise=0.3)
    found, x, y = errors(pair)
    assert rms(x, y) <= 0.1
    away = np.hypot(x, y)[found.flag == Flag.MEASURED]
    assert (away > 1).mean() <= 0.005
    assert _kept(found) >= 0.9


def test_no_tenth_of_a_pixel_attracts() -> None:
    errors_x, phases = [], []
    for seed in (1, 2):
        pair = moved(smooth, seed=seed)
        _, *parts = errors(pair)
        for part, true in zip(parts, truth(smooth, posting_of(pair.first.shape, SPACING)), strict=True):
            known = np.isfinite(part)
            errors_x.append(part[known])
            phases.append(true[known] % 1)
    error, tenth = np.concatenate(errors_x), np.floor(10 * np.concatenate(phases))
    means = [float(error[tenth == number].mean()) for number in range(10)]
    assert max(map(abs, means)) <= 0.02


def test_a_far_shift_is_found_by_the_coarse_search() -> None:
    found, x, y = errors(moved(uniform(31.3, -22.6)), limit=60)
    assert rms(x, y) <= 0.05
    assert (found.flag == Flag.MEASURED).mean() > 0.5


def test_a_shift_beyond_the_limit_is_no_number() -> None:
    found, _ = find(moved(uniform(7.4, 0)), limit=4)
    assert not (found.flag == Flag.MEASURED).any()
    assert (found.flag == Flag.LIMIT).sum() > 0.5 * (found.flag != Flag.EDGE).sum()


def holed(pair: Moved) -> Moved:
    """With a flat square, and one without data in the second image alone."""
    first, second = pair.first.copy(), pair.second.copy()
    first[40:120, 40:120] = second[40:120, 40:120] = 700
    second[180:260, 180:260] = 0
    return Moved(first, second, pair.field)


@pytest.mark.parametrize("settings", [ALONE, Tracking()], ids=["one size", "all sizes"])
def test_flat_ground_nodata_and_edges_have_a_flag_and_no_number(settings: Tracking) -> None:
    found, _ = find(holed(moved(uniform(0.3, -0.4))), settings)
    # nodes whose chip of 32 pixels lies wholly in the square
    flat, empty = found.flag[6:10, 6:10], found.flag[20:24, 20:24]
    if settings is ALONE:
        assert set(flat.ravel()) == {Flag.UNTEXTURED}
        assert set(found.flag[0]) == {Flag.EDGE}
    assert set(empty.ravel()) == {Flag.NODATA}
    numbered = np.isin(found.flag, (Flag.MEASURED, Flag.FILLED))
    for values in (found.x, found.y):
        np.testing.assert_array_equal(np.isfinite(values), numbered)
    assert set(found.chip[~numbered]) <= {0}


def test_larger_chips_stand_in_where_the_smallest_failed() -> None:
    pair = moved(smooth, noise=1.0)
    (one, *_), (three, x, y) = errors(pair), errors(pair, Tracking(fill=False))
    # larger chips also take part where their own rim leaves the image: only more is measured
    assert (three.flag == Flag.MEASURED).sum() > 1.2 * (one.flag == Flag.MEASURED).sum()
    assert set(np.unique(three.chip)) > {32, 64}
    assert rms(x, y) < 0.5


def bytes_of(found: Shifts) -> list[bytes]:
    return [part.tobytes() for part in (found.x, found.y, found.flag, found.correlation, found.peak_ratio)]


def test_the_same_pair_gives_the_same_bytes() -> None:
    pair = moved(smooth, size=200)
    assert bytes_of(find(pair, Tracking())[0]) == bytes_of(find(pair, Tracking())[0])


def test_an_offset_of_1000_in_one_image_moves_nothing() -> None:
    pair = moved(smooth, size=200)
    raised = Moved(pair.first, pair.second + 1000, pair.field)
    one, other = find(pair)[0], find(raised)[0]
    np.testing.assert_array_equal(one.flag, other.flag)
    np.testing.assert_allclose(one.x, other.x, atol=2e-3)
    np.testing.assert_allclose(one.y, other.y, atol=2e-3)


def test_the_correlation_and_its_second_peak_are_kept() -> None:
    found, _ = find(moved(uniform(0.3, -0.4)))
    measured = found.flag == Flag.MEASURED
    assert (found.correlation[measured] > 0.5).mean() > 0.8
    assert (found.peak_ratio[measured] < 0.8).mean() > 0.8


def test_the_filter_drops_lone_nodes_and_keeps_a_gradient() -> None:
    x, y = np.meshgrid(np.arange(20.0) * 0.2, np.arange(20.0) * 0.1)
    x[5, 5] += 3
    y[12, 7] -= 0.9
    kept = agreeing(x, y, 1.2, 0.125)
    assert not kept[5, 5]
    assert not kept[12, 7]
    assert kept.sum() >= 396


@pytest.mark.rehearsal
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize(("field", "noise", "most"), [(smooth, 0.1, 0.05), (smooth, 0.3, 0.1)])
def test_the_bars_hold_for_every_seed(field: Field, noise: float, most: float, seed: int) -> None:
    _, x, y = errors(moved(field, noise=noise, seed=seed))
    assert rms(x, y) <= most
