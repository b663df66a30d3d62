"""A unit's images, computed of the lazy array one by one, and how much of each is cloud.

A child and ``open_region`` share it, so that both have the same images, and leave out the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import CredentialsError, DataError, UnavailableError
from glacierflow.host import memory_budget_mb
from glacierflow.imagery import budget
from glacierflow.imagery.cache import Shared
from glacierflow.imagery.compute import Readings, tasks_of
from glacierflow.imagery.grid import Chunks, geobox_of
from glacierflow.imagery.lazy import MosaicJob, each_chunk, lazy_mosaics, lazy_region, square_chunks
from glacierflow.imagery.mosaic import REQUESTS, Imagery
from glacierflow.model.records import LeftOut, Note
from glacierflow.products.cog import BLOCK
from glacierflow.step import cloud_cover
from glacierflow.step.sidecars import Overview, square_sums

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.cloud import Cloud
    from glacierflow.imagery.compute import Computer
    from glacierflow.model.records import Acquisition, Region, StepSettings, Unit
    from glacierflow.search.acquisitions import Found
    from glacierflow.step.sidecars import Sums


_FEW_REQUESTS = 2
"""In flight where memory is short: each holds up to 2 MB, and a block of 2 MB."""


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of an image over its whole width."""

    pixels: NDArray[np.uint16]
    valid: int
    """Pixels that are not 0."""
    sums: Sums
    """For an overview of the whole."""


class UnitImages:
    """The images of what a search found; nothing is read, and dask not imported, before it is needed."""

    def __init__(
        self,
        unit: Unit,
        region: Region,
        settings: StepSettings,
        cloud: Cloud,
        found: Found,
        computer: Computer,
        *,
        side: int | None = None,
        shared: Shared | None = None,
        lasting: bool = False,
        show: Callable[[xr.DataArray], None] | None = None,
    ) -> None:
        """Prepare engines; their threads begin with the first request.

        Args:
            unit: what was searched for.
            region: where.
            settings: how images are made, and the memory that may be used.
            cloud: credentials of requester-pays images.
            found: the acquisitions, one image each.
            computer: computes them.
            side: pixels on a side of a chunk; None makes chunks of whole rows, all of them where they fit.
            shared: what the units of a slot have in common.
            lasting: whether the array is computed after all this, by engines that processes keep themselves.
            show: given the array once it is there.

        Raises:
            UsageError: ``side`` is not a number of pixels.
        """
        self.unit, self.region, self.settings, self.found = unit, region, settings, found
        self.computer = computer
        self.budget_mb = memory_budget_mb(settings.memory_mb)
        geobox = geobox_of(region, unit.satellite)
        shape = geobox.shape[0], geobox.shape[1]
        self.chunks = (
            self._rows_that_fit(geobox) if side is None else Chunks(geobox, *square_chunks(shape, side))
        )
        self.job = MosaicJob.new(cloud, settings)
        self._maps_job = MosaicJob.new(cloud, settings.model_copy(update={"resampling": "nearest"}))
        self._lasting, self._show = lasting, show
        if not lasting:
            self._serve(shared or Shared())
        self.imagery, self._maps = self.job.imagery, self._maps_job.imagery
        self.readings, self._maps_readings = Readings(self.job), Readings(self._maps_job)
        self.in_hand = budget.acquisitions_in_hand(self.pixels, self.budget_mb, workers=computer.workers)
        self._lock = threading.Lock()
        self._lazy: _Lazy | None = None

    def _serve(self, shared: Shared) -> None:
        """Have this process's tasks use engines of their own, within the memory there is."""
        (rows, cols), tall = self.chunks.geobox.shape, self.chunks.rows[0]
        shared.chunk_room = 1e6 * budget.chunk_room_mb((rows, cols), tall, self.budget_mb, BLOCK)
        at_once = REQUESTS if tall == rows else _FEW_REQUESTS
        for job in (self.job, self._maps_job):
            job.serve(Imagery(job.cloud, job.settings, shared=shared, requests_at_once=at_once))

    def _rows_that_fit(self, grid: GeoBox) -> Chunks:
        """Chunks over the whole width: one where memory has room for it, else as tall as fit."""
        rows, cols = grid.shape
        tall = budget.chunk_rows((rows, cols), self.budget_mb, BLOCK)
        return Chunks(grid, tuple(min(tall, rows - top) for top in range(0, rows, tall)), (cols,))

    @property
    def array(self) -> xr.DataArray:
        """(time, y, x), one image for each acquisition that was found; the very one that is computed."""
        return self._begun().array

    def _begun(self) -> _Lazy:
        """The lazy arrays; the first who needs them imports xarray and dask."""
        with self._lock:
            if self._lazy is None:
                self._lazy = self._build()
                if self._show is not None:
                    self._show(self._lazy.array)
            return self._lazy

    def _build(self) -> _Lazy:
        found, step = self.found, Overview(tuple(self.chunks.geobox.shape)).step
        array = lazy_region(
            self.unit,
            self.region,
            found.acquisitions,
            self.job,
            self.chunks,
            left_out=found.left_out,
            notes=found.notes,
        )
        maps = lazy_mosaics(
            self._maps_job,
            [cloud_cover.classified_scenes(acquisition) for acquisition in found.acquisitions],
            self._rows_that_fit(cloud_cover.class_grid(self.region)),
        )
        return _Lazy.of(
            array=array,
            valid=each_chunk(array.data, np.count_nonzero),
            sums=each_chunk(array.data, square_sums, tops=self.chunks.tops, step=step),
            readings=self.readings.of_chunks(array.data),
            classes=each_chunk(maps, cloud_cover.count_classes),
            classes_readings=self._maps_readings.of_chunks(maps),
        )

    def bands(self, number: int) -> Iterator[Band]:
        """An image from top to bottom, computed band by band.

        Args:
            number: of the acquisition.

        Raises:
            DataError, UnavailableError, CredentialsError: it could not be read.
        """
        for i in range(len(self.chunks.rows)):
            # nothing here holds a band while the next one is made
            yield self._band(number, i)

    def _band(self, number: int, i: int) -> Band:
        lazy = self._begun()
        pixels, valid, sums, reading = self._computed(
            [(part.name, number, i, 0) for part in (lazy.array.data, lazy.valid, lazy.sums, lazy.readings)]
        )
        self.readings.add(reading.item())
        return Band(pixels[0], valid.item(), sums.item())

    def _computed(self, keys: list[tuple[Any, ...]]) -> list[Any]:
        return self.computer.compute(self._begun().tasks, keys)

    def coverage(self, number: int) -> float:
        """Share of valid pixels of an image, 0..1; its pixels stay where they are computed.

        Raises:
            DataError, UnavailableError, CredentialsError: it could not be read.
        """
        counts = self._computed(_keys(self._begun().valid, number))
        return sum(int(count.item()) for count in counts) / self.pixels

    def memory_notes(self) -> list[Note]:
        """That images are made in bands, where memory is too short for whole ones; what even bands need."""
        rows, cols = self.chunks.geobox.shape
        whole, least = budget.peak_mb(rows * cols, 1), budget.least_mb((rows, cols), BLOCK)
        if whole <= self.budget_mb:
            return []
        text = (
            f"{self.region.name} needs about {whole:,.0f} MB with one whole image at a time, more than the "
            f"{self.budget_mb:,.0f} MB that the setting memory or the container allows"
        )
        if self.chunks.number > 1:
            text += f": images are made {self.chunks.rows[0]} rows at a time, which takes longer"
        if least <= self.budget_mb:
            return [Note(code="memory_bands", text=text)]
        return [Note(code="memory_short", text=f"{text}; at least {least:,.0f} MB are needed even so")]

    @property
    def measures_cloud(self) -> bool:
        """Whether cloud over the region is to be known."""
        wanted = self.settings.measure_cloud or self.settings.max_region_cloud is not None
        return wanted and self.unit.satellite == "sentinel2"

    @property
    def pixels(self) -> int:
        """Of one image."""
        rows, cols = self.chunks.geobox.shape
        return rows * cols

    def cloud(self, number: int) -> float | None:
        """Share of cloud over the region's own rectangle, first valid tile by tile like the image itself.

        Returns:
            0..1; None where no tile has a classification, or none of it lies in the region.

        Raises:
            DataError, UnavailableError, CredentialsError: a classification could not be read.
        """
        if not cloud_cover.classified_scenes(self.found.acquisitions[number]):
            return None
        lazy = self._begun()
        of_classes, of_readings = _keys(lazy.classes, number), _keys(lazy.classes_readings, number)
        values = [value.item() for value in self._computed(of_classes + of_readings)]
        for reading in values[len(of_classes) :]:
            self._maps_readings.add(reading)
        return cloud_cover.share_of(values[: len(of_classes)])

    def cloud_or_note(self, number: int) -> tuple[float | None, tuple[Note, ...]]:
        """The same; where it cannot be told, a note says why."""
        acquisition = self.found.acquisitions[number]
        why = "no tile has a classification of the region"
        try:
            share = self.cloud(number)
        except (DataError, UnavailableError, CredentialsError) as error:
            share, why = None, error.message
        if share is not None:
            return share, ()
        return None, (Note(code="cloud_not_measured", text=f"{acquisition.stem}: {why}"),)

    def close(self) -> None:
        """Drop the requests that are still queued; what runs is left to end by itself."""
        for job, imagery, readings in (
            (self.job, self.imagery, self.readings),
            (self._maps_job, self._maps, self._maps_readings),
        ):
            readings.add_own(imagery)
            if not self._lasting:
                job.withdraw()
                imagery.close()

    @property
    def bytes_read(self) -> int:
        """Bytes received for images and classifications, wherever that was."""
        return self.readings.bytes_read + self._maps_readings.bytes_read

    @property
    def requests(self) -> int:
        """Range requests sent for both."""
        return self.readings.requests + self._maps_readings.requests


@dataclass(frozen=True, slots=True)
class _Lazy:
    """The array, and what is asked of each of its chunks."""

    array: xr.DataArray
    valid: Any
    sums: Any
    readings: Any
    classes: Any
    classes_readings: Any
    tasks: dict[Any, Any]
    """Of all of them."""

    @classmethod
    def of(cls, array: xr.DataArray, **asked: Any) -> _Lazy:  # noqa: ANN401 - dask arrays
        return cls(array, **asked, tasks=tasks_of(array.data, *asked.values()))


def _keys(data: Any, number: int) -> list[tuple[Any, ...]]:  # noqa: ANN401 - a dask array
    """The tasks of an image's chunks."""
    return [(data.name, number, *place) for place in np.ndindex(*data.numblocks[1:])]


def why_cloudy(acquisition: Acquisition, cloud: float | None, settings: StepSettings) -> tuple[LeftOut, ...]:
    """Why an image is left out for its cloud: a line for each scene; nothing where it stays."""
    limit = settings.max_region_cloud
    if cloud is None or limit is None or cloud <= limit:
        return ()
    return all_left_out(
        acquisition, "region_cloudy", f"cloud covers {cloud:.1%} of the region, more than {limit:.0%}"
    )


def least_coverage(unit: Unit, settings: StepSettings) -> float:
    """Share of valid pixels below which an image is left out; one without any always is."""
    return settings.sentinel2_min_coverage if unit.satellite == "sentinel2" else 0.0


def is_uncovered(coverage: float, minimum: float) -> bool:
    """Whether an image is left out for the little it covers."""
    return coverage < minimum or not coverage


def why_uncovered(acquisition: Acquisition, coverage: float, minimum: float) -> tuple[LeftOut, ...]:
    """Why an image is left out for the little it covers; nothing where it stays."""
    if not is_uncovered(coverage, minimum):
        return ()
    reason = f"valid pixels cover {coverage:.1%} of the region, less than {minimum:.0%}"
    return all_left_out(acquisition, "low_coverage", reason if coverage else "no valid pixel in the region")


def all_left_out(acquisition: Acquisition, code: str, reason: str) -> tuple[LeftOut, ...]:
    """The scenes of an acquisition, left out for one reason."""
    return tuple(LeftOut(item_id=scene.item_id, code=code, reason=reason) for scene in acquisition.scenes)
