"""Resampling must not move anything: displacement between two real images, before and after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import rasterio
import rasterio.warp
from numpy.typing import NDArray
from pyproj import Transformer
from samples import real_region
from test_read import real_scenes

from glacierflow.aws import Cloud
from glacierflow.grid import geobox_of
from glacierflow.imagery.read import Imagery
from glacierflow.model import Resampling, StepSettings

PIXEL_M = 15
CHIP = 64
"""Pixels on a side of what is correlated."""
SLOW_PX = 0.6
GOOD = 0.5
"""Agreement of two chips above which their shift is believed."""
FINE = 200
"""Parts of a pixel to which the correlation's peak is found."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two images on one grid."""

    first: Array
    second: Array
    transform: rasterio.Affine

    def shift(self, x: float, y: float) -> tuple[Array, float]:
        """(column, row) by which the second is displaced around a place, and how well the two agree, 0..1."""
        column, row = (round(value) - CHIP // 2 for value in ~self.transform @ (x, y))
        window = slice(row, row + CHIP), slice(column, column + CHIP)
        return phase_shift(self.first[window], self.second[window])


def phase_shift(first: Array, second: Array) -> tuple[Array, float]:
    """Shift of ``second`` against ``first`` in pixels, by phase correlation with an upsampled peak.

    The peak is found in the whole cross-power spectrum below half the Nyquist frequency, where no kernel
    damps much, and refined by evaluating its transform on a fine grid (Guizar-Sicairos, Opt. Lett. 33, 2008).
    """
    taper = np.outer(np.hanning(CHIP), np.hanning(CHIP))
    spectrum = np.fft.fft2((second - second.mean()) * taper) * np.conj(
        np.fft.fft2((first - first.mean()) * taper)
    )
    frequency = np.fft.fftfreq(CHIP)
    low = np.hypot(*np.meshgrid(frequency, frequency)) < 0.25
    power = np.where(low & (np.abs(spectrum) > 0), spectrum / np.maximum(np.abs(spectrum), 1e-12), 0)
    coarse = np.fft.ifft2(power).real
    peak = np.array(np.unravel_index(coarse.argmax(), coarse.shape), float)
    peak[peak > CHIP / 2] -= CHIP
    for step in (0.1, 1 / FINE):
        offsets = np.arange(-12, 13) * step
        rows = np.exp(2j * np.pi * np.outer(peak[0] + offsets, frequency))
        columns = np.exp(2j * np.pi * np.outer(frequency, peak[1] + offsets))
        fine = (rows @ power @ columns).real
        at = np.unravel_index(fine.argmax(), fine.shape)
        peak = peak + offsets[np.array(at)]
    return peak[::-1], float(fine.max() / low.sum())


def native_pair() -> Pair:
    """The archive's own pixels, around the region."""
    images = []
    for scene in real_scenes("landsat"):
        with rasterio.open(scene.href) as source:
            bounds = rasterio.warp.transform_bounds(3413, source.crs, *real_region("901_Yahtse").bounds)
            window = rasterio.windows.from_bounds(*bounds, source.transform).round_offsets().round_lengths()
            images.append(source.read(1, window=window).astype(float))
            transform = source.window_transform(window)
    return Pair(images[0], images[1], transform)


def resampled_pair(resampling: Resampling) -> Pair:
    geobox = geobox_of(real_region("901_Yahtse"), "landsat")
    imagery = Imagery(Cloud(), StepSettings(resampling=resampling))
    images = [imagery.mosaic([scene], geobox).astype(float) for scene in real_scenes("landsat")]
    imagery.close()
    return Pair(images[0], images[1], geobox.affine)


def displacements(resampled: Pair) -> tuple[Array, Array]:
    """(n, 2) metres east and north on slow ground: from the native pixels, and from resampled ones."""
    native, region = native_pair(), real_region("901_Yahtse")
    to_utm = Transformer.from_crs(3413, 32607, always_xy=True).transform
    before, after = [], []
    for x in np.arange(region.xmin + 750, region.xmax - 700, 250):
        for y in np.arange(region.ymin + 750, region.ymax - 700, 250):
            east, north = to_utm(x, y)
            moved, agreement = native.shift(east, north)
            if agreement < GOOD or np.hypot(*moved) > SLOW_PX:
                continue
            # the polar grid is turned by about 96 degrees against UTM here, and stretched a little
            ends = np.array(to_utm([x + 1000, x], [y, y + 1000]))
            turn = (ends - [[east], [north]]) / 1000
            before.append(moved * [PIXEL_M, -PIXEL_M])
            after.append(turn @ (resampled.shift(x, y)[0] * [PIXEL_M, -PIXEL_M]))
    return np.array(before), np.array(after)


def test_phase_correlation_finds_a_known_shift() -> None:
    noise = np.random.default_rng(1).normal(size=(CHIP, CHIP))
    frequency = np.fft.fftfreq(CHIP)
    ramp = np.exp(-2j * np.pi * (0.37 * frequency[None, :] - 1.61 * frequency[:, None]))
    moved = np.fft.ifft2(np.fft.fft2(noise) * ramp).real
    shift, agreement = phase_shift(noise, moved)
    np.testing.assert_allclose(shift, [0.37, -1.61], atol=0.01)
    assert agreement > 0.5


@pytest.mark.parametrize("resampling", ["cubic", "lanczos", "bilinear"])
def test_slow_ground_moves_the_same_before_and_after_resampling(resampling: Resampling) -> None:
    before, after = displacements(resampled_pair(resampling))
    assert len(before) >= 20
    difference = (after - before) / PIXEL_M
    assert np.abs(np.median(difference, axis=0)).max() < 0.02
    assert np.abs(difference.mean(axis=0)).max() < 0.02


def test_nearest_scatters_more_and_is_not_the_default() -> None:
    before, after = displacements(resampled_pair("nearest"))
    spread = (after - before).std() / PIXEL_M
    before, after = displacements(resampled_pair("cubic"))
    assert spread > 1.25 * (after - before).std() / PIXEL_M
    assert StepSettings().resampling == "cubic"
