"""Nothing may move on the way: displacement between two images, in their sources and in their products."""

from __future__ import annotations

import datetime as dt
import functools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from http_servers import Api
from made_scenes import MOVED_PX
from numpy.typing import NDArray
from pyproj import Transformer
from samples import ARCHIVES, make_region, real_region
from test_read import scenes_of

from glacierflow.cloud import Cloud
from glacierflow.imagery.grid import geobox_of
from glacierflow.imagery.mosaic import Imagery
from glacierflow.local.sample import frames, write_sample
from glacierflow.local.sample.frames import make_pass, pass_days
from glacierflow.model.records import PIXEL_SIZE_M, Resampling, Satellite, StepSettings
from glacierflow.runs.plan import build_manifest, plan_slots
from glacierflow.store import LocalStore
from glacierflow.task import process_slot

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

    def shift(self, x: float, y: float, chip: int = CHIP, highest: float = 0.25) -> tuple[Array, float]:
        """(column, row) by which the second is displaced around a place, and how well the two agree, 0..1."""
        column, row = (round(value) - chip // 2 for value in ~self.transform @ (x, y))
        window = slice(row, row + chip), slice(column, column + chip)
        return phase_shift(self.first[window], self.second[window], highest)


def phase_shift(first: Array, second: Array, highest: float = 0.25) -> tuple[Array, float]:
    """Shift of ``second`` against ``first`` in pixels, by phase correlation with an upsampled peak.

    The peak is found in the whole cross-power spectrum up to a frequency, in cycles a pixel (no kernel damps
    much below half the Nyquist frequency), and refined by evaluating its transform on a fine grid
    (Guizar-Sicairos, Opt. Lett. 33, 2008).
    """
    size = len(first)
    taper = np.outer(np.hanning(size), np.hanning(size))
    spectrum = np.fft.fft2((second - second.mean()) * taper) * np.conj(
        np.fft.fft2((first - first.mean()) * taper)
    )
    frequency = np.fft.fftfreq(size)
    low = np.hypot(*np.meshgrid(frequency, frequency)) < highest
    power = np.where(low & (np.abs(spectrum) > 0), spectrum / np.maximum(np.abs(spectrum), 1e-12), 0)
    coarse = np.fft.ifft2(power).real
    peak = np.array(np.unravel_index(coarse.argmax(), coarse.shape), float)
    peak[peak > size / 2] -= size
    for step in (0.1, 1 / FINE):
        offsets = np.arange(-12, 13) * step
        rows = np.exp(2j * np.pi * np.outer(peak[0] + offsets, frequency))
        columns = np.exp(2j * np.pi * np.outer(frequency, peak[1] + offsets))
        fine = (rows @ power @ columns).real
        at = np.unravel_index(fine.argmax(), fine.shape)
        peak = peak + offsets[np.array(at)]
    return peak[::-1], float(fine.max() / low.sum())


def native_pair(archive: str) -> Pair:
    """The archive's own pixels, around the region."""
    images = []
    for scene in scenes_of(ARCHIVES[archive](), "landsat"):
        with rasterio.open(scene.href) as source:
            bounds = rasterio.warp.transform_bounds(3413, source.crs, *real_region("901_Yahtse").bounds)
            window = rasterio.windows.from_bounds(*bounds, source.transform).round_offsets().round_lengths()
            images.append(source.read(1, window=window).astype(float))
            transform = source.window_transform(window)
    return Pair(images[0], images[1], transform)


def resampled_pair(archive: str, resampling: Resampling) -> Pair:
    geobox = geobox_of(real_region("901_Yahtse"), "landsat")
    imagery = Imagery(Cloud(), StepSettings(resampling=resampling))
    scenes = scenes_of(ARCHIVES[archive](), "landsat")
    images = [imagery.mosaic([scene], geobox).astype(float) for scene in scenes]
    imagery.close()
    return Pair(images[0], images[1], geobox.affine)


TO_UTM = Transformer.from_crs(3413, 32607, always_xy=True).transform


@functools.cache
def slow_places(archive: str) -> dict[tuple[float, float], Array]:
    """Places on slow ground, x and y in EPSG:3413, with their native shift in metres east and north."""
    native, region = native_pair(archive), real_region("901_Yahtse")
    places = {}
    for x in np.arange(region.xmin + 750, region.xmax - 700, 250):
        for y in np.arange(region.ymin + 750, region.ymax - 700, 250):
            moved, agreement = native.shift(*TO_UTM(x, y))
            if agreement >= GOOD and np.hypot(*moved) <= SLOW_PX:
                places[x, y] = moved * [PIXEL_M, -PIXEL_M]
    return places


def displacements(archive: str, resampled: Pair) -> tuple[Array, Array]:
    """(n, 2) metres east and north on slow ground: from the native pixels, and from resampled ones."""
    after = []
    for x, y in slow_places(archive):
        # the polar grid is turned by about 96 degrees against UTM here, and stretched a little
        ends = np.array(TO_UTM([x + 1000, x], [y, y + 1000]))
        turn = (ends - np.array(TO_UTM(x, y))[:, None]) / 1000
        after.append(turn @ (resampled.shift(x, y)[0] * [PIXEL_M, -PIXEL_M]))
    return np.array(list(slow_places(archive).values())), np.array(after)


def test_phase_correlation_finds_a_known_shift() -> None:
    noise = np.random.default_rng(1).normal(size=(CHIP, CHIP))
    frequency = np.fft.fftfreq(CHIP)
    ramp = np.exp(-2j * np.pi * (0.37 * frequency[None, :] - 1.61 * frequency[:, None]))
    moved = np.fft.ifft2(np.fft.fft2(noise) * ramp).real
    shift, agreement = phase_shift(noise, moved)
    np.testing.assert_allclose(shift, [0.37, -1.61], atol=0.01)
    assert agreement > 0.5


@pytest.mark.parametrize("resampling", ["cubic", "lanczos", "bilinear"])
@pytest.mark.parametrize("archive", ARCHIVES)
def test_slow_ground_moves_the_same_before_and_after_resampling(archive: str, resampling: Resampling) -> None:
    before, after = displacements(archive, resampled_pair(archive, resampling))
    assert len(before) >= 20
    difference = (after - before) / PIXEL_M
    assert np.abs(np.median(difference, axis=0)).max() < 0.02
    assert np.abs(difference.mean(axis=0)).max() < 0.02
    if archive == "made-up":
        # all of it moved alike, and by how much is known
        known = np.array(MOVED_PX["landsat"]) * [1, -1]
        assert np.abs(after.mean(axis=0) / PIXEL_M - known).max() < 0.02


@pytest.mark.parametrize("archive", ARCHIVES)
def test_nearest_scatters_more_and_is_not_the_default(archive: str) -> None:
    before, after = displacements(archive, resampled_pair(archive, "nearest"))
    spread = (after - before).std() / PIXEL_M
    before, after = displacements(archive, resampled_pair(archive, "cubic"))
    assert spread > 1.25 * (after - before).std() / PIXEL_M
    assert StepSettings().resampling == "cubic"


# -- the sample archive's known field, in products of the step ---------------------------------------------

SAMPLE_HIGHEST = 0.15
"""Cycles a pixel: the sample's ground has no shorter waves."""
ARSUK = make_region("134_Arsuk", ("22VFP",), (-159850, -3173900, -150850, -3164300))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()


def clear_days(satellite: Satellite) -> list[dt.date]:
    """Two days on which the whole region is seen without clouds."""
    days = pass_days(satellite, dt.date(2024, 7, 1), dt.date(2024, 7, 31))
    passes = {day: make_pass(satellite, day) for day in days}
    return [day for day, one in passes.items() if not (one.is_cut or one.is_cloudy)][:2]


def product_pair(api: Api, satellite: Satellite, folder: Path) -> tuple[Pair, float]:
    """The two products that the step makes of the sample archive, and the days between them."""
    days = clear_days(satellite)
    for day in days:
        write_sample(folder / "archive", [ARSUK], day, day, satellites=[satellite])
    for path in sorted((folder / "archive").rglob("*.json")):
        item = json.loads(path.read_text())
        (asset,) = item["assets"].values()
        asset["href"] = str(path.parent / asset["href"])
        asset.pop("alternate", None)
        api.items.append(item)
    slots = plan_slots(satellite, [ARSUK], days[0], days[1])
    settings = StepSettings(sentinel2_stac_url=api.url, landsat_stac_url=api.url, request_attempts=1)
    store = LocalStore(folder / "out")
    manifest = build_manifest(slots, [ARSUK], settings, catalogue_sha256="0" * 64, store=str(folder / "out"))
    receipt = process_slot(manifest, 0, store, Cloud(), stop=threading.Event())
    assert (receipt.outcome, receipt.counts.written) == ("done", 2), receipt.error
    first, second = sorted(receipt.products, key=lambda product: product.datetime)
    images = []
    for product in (first, second):
        with rasterio.open(folder / "out" / product.key) as image:
            images.append(image.read(1).astype(float))
            assert (images[-1] > 0).all()
            transform = image.transform
    return Pair(images[0], images[1], transform), (second.datetime - first.datetime).total_seconds() / 86_400


@pytest.mark.parametrize("satellite", ["sentinel2", "landsat"])
def test_products_of_the_step_hold_the_known_field_of_the_sample(
    api: Api, satellite: Satellite, tmp_path: Path
) -> None:
    """Ice moves as the sample's field says, rock stays."""
    pair, days = product_pair(api, satellite, tmp_path)
    pixel = PIXEL_SIZE_M[satellite]
    errors: dict[str, list[float]] = {"ice": [], "rock": []}
    moved = 0.0
    chip = {"sentinel2": 100, "landsat": 80}[satellite]
    reach = chip * pixel / 2
    for x in np.arange(ARSUK.xmin + reach, ARSUK.xmax - reach, reach):
        for y in np.arange(ARSUK.ymin + reach, ARSUK.ymax - reach, reach):
            across, up = np.meshgrid(
                np.arange(x - reach, x + reach, pixel), np.arange(y - reach, y + reach, pixel)
            )
            height = frames.rock_height(across, up)
            if not (height.min() > 0.05 or height.max() < -0.05):
                continue
            kind = "rock" if height.min() > 0 else "ice"
            field = frames.ice_displacement(across, up, days) if kind == "ice" else (0.0, 0.0)
            truth = np.array([np.mean(part) for part in field]) / pixel
            errors[kind].append(
                float(np.hypot(*(pair.shift(x, y, chip, SAMPLE_HIGHEST)[0] * [1, -1] - truth)))
            )
            moved = max(moved, float(np.hypot(*truth)))
    assert len(errors["ice"]) > 20
    assert len(errors["rock"]) >= 3
    assert moved > 1  # a pixel at least, or the test would prove little
    assert max(errors["ice"]) < 0.15
    assert max(errors["rock"]) < 0.05
