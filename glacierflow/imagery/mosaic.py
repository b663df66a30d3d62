"""Source pixels to the region's grid: only the blocks needed, one resampling, at exact coordinates.

``Imagery.mosaic`` puts the scenes of an acquisition together; of a later one it reads only what earlier ones
leave free.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from affine import Affine

from glacierflow.errors import CredentialsError, DataError, UnavailableError
from glacierflow.host import cpu_count
from glacierflow.imagery import gdal
from glacierflow.imagery.blocks import open_source, read_blocks, refuse_fine_pixels, refuse_scaling
from glacierflow.imagery.cache import Shared, Source
from glacierflow.imagery.geotiff import Unsupported
from glacierflow.imagery.grid import Pixels, Window, source_window
from glacierflow.imagery.lattice import lattice_of, needed_blocks, window_of
from glacierflow.imagery.ranges import Ranges
from glacierflow.model.records import Resampling, Scene, StepSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.cloud import Cloud
    from glacierflow.imagery.geotiff import GeoTiff
    from glacierflow.imagery.grid import Chunks


_MARGIN = 8
"""Source pixels kept around the exact window with ``download_flag``."""
_BAND = 4
"""Cell rows (of 64 product rows) that one thread warps at a time."""
_STRIP = 1024
"""Rows of a source that are kept at a time with ``download_flag``."""
REQUESTS = 8
"""Range requests in flight."""

_T = TypeVar("_T")

Write = Callable[[int, "NDArray[np.uint16]"], None]
"""Takes the first row of a strip, and its pixels."""
Begin = Callable[[tuple[int, int], Affine, int], AbstractContextManager[Write]]
"""Opens a file of a shape, transform and EPSG code."""

_KNOWN = "s3://usgs-landsat/collection02/catalog.json"
"""The root of the archive's own catalogue; an object, because jobs may read those and not list the bucket."""
_USGS = StepSettings().landsat_stac_url


@dataclass
class Imagery:
    """Opens scenes with the right credentials, and counts what was read.

    One serves a whole unit; it is safe to share between threads.
    """

    cloud: Cloud
    settings: StepSettings
    shared: Shared = field(default_factory=Shared, repr=False)
    """Headers that were read before, and blocks that units of one slot have in common."""
    requests_at_once: int = REQUESTS
    """Range requests in flight."""
    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.ranges = Ranges(self.cloud, self.settings)
        self._network = ThreadPoolExecutor(self.requests_at_once, thread_name_prefix="read")
        self._cpus = ThreadPoolExecutor(cpu_count(), thread_name_prefix="warp")

    @property
    def bytes_read(self) -> int:
        """Bytes received, headers of images included."""
        return self.ranges.bytes_read

    @property
    def requests(self) -> int:
        """Range requests sent, retries included."""
        return self.ranges.requests

    def close(self) -> None:
        """Drop what is still queued; what runs is left to end by itself."""
        self._network.shutdown(wait=False, cancel_futures=True)
        self._cpus.shutdown(wait=False, cancel_futures=True)

    def mosaic(
        self, scenes: Sequence[Scene], geobox: GeoBox, chunks: Chunks | None = None
    ) -> NDArray[np.uint16]:
        """Scenes on a geobox, pixel by pixel the first that is valid, in the order given.

        Of a later scene only the blocks are read that pixels still free are made from.

        Args:
            scenes: in merge order.
            geobox: the grid.
            chunks: of which the geobox is one: blocks that others need too are kept for them.

        Returns:
            (rows, cols) uint16, 0 where no scene has anything.

        Raises:
            DataError: a source is not a readable image of the expected kind.
            UnavailableError: a source's server did not answer after retries.
            CredentialsError: access was refused.
        """
        out = np.zeros(geobox.shape, np.uint16)
        for scene in scenes:
            pixels = self._again_if_bad(scene, functools.partial(self._read, scene, geobox, out, chunks))
            if pixels is not None:
                with self._timed("warp"):
                    _warp_into(out, pixels, geobox, self.settings.resampling, self._cpus)
            del pixels  # before those of the next are read
        return out

    def _again_if_bad(self, scene: Scene, read: Callable[[], _T]) -> _T:
        """Read something of a scene; once more where the file seemed to be bad.

        It may have changed since its header was read, or one odd answer came: a page of HTML, a block whose
        checksum fails. What stays so is the file's own.
        """
        with self._timed("read"):
            try:
                return read()
            except DataError:
                self.shared.forget(scene.href)
                return read()

    def _read(
        self, scene: Scene, geobox: GeoBox, out: NDArray[np.uint16], chunks: Chunks | None
    ) -> Pixels | None:
        """What the free pixels of ``out`` are made from."""
        from glacierflow.imagery.kernels import KINDS, free_cells

        try:
            source = self._open(scene)
        except Unsupported:
            return gdal.read_window(scene, geobox, self.ranges)
        tiff, epsg = source.tiff, _epsg_of(source, scene)
        lattice = lattice_of(geobox, tiff.transform, epsg)
        if lattice is None:
            return None
        radius = KINDS[self.settings.resampling]
        window = window_of(lattice, tiff.shape, radius)
        if window is None:
            return None
        refuse_fine_pixels(scene, window, geobox)
        wanted = free_cells(out, lattice.top, lattice.left, *lattice.cells)
        needed = needed_blocks(lattice, tiff.shape, tiff.block, radius, wanted)
        if not needed.any():
            return None
        takers = None
        if chunks is not None and (chunks.number > 1 or self.settings.keep_downloads):
            takers = self.shared.count_takers(chunks, tiff, radius)
        kept = self.shared.kept(scene, source, radius, takers)
        data = read_blocks(source, window, needed, self.ranges, self._network, kept)
        return Pixels(data, tiff.transform * Affine.translation(window.col, window.row), epsg)

    def _open(self, scene: Scene) -> Source:
        source = self.shared.header(scene.href)
        if source is None:
            source = open_source(scene, self.ranges)
            self.shared.keep_header(source)
        return source

    def keep_window(self, scene: Scene, chunks: Chunks, begin: Begin) -> bool:
        """Every pixel of the region's bounding rectangle on a source, as ``download_flag`` keeps it.

        It goes strip by strip into a file; blocks that the image is made from are kept for it.

        Args:
            scene: the source.
            chunks: of the region.
            begin: opens the file; begun anew where the source changed.

        Returns:
            Whether any of the region lies on the source.

        Raises:
            DataError, UnavailableError, CredentialsError: as ``mosaic``.
        """
        return self._again_if_bad(scene, functools.partial(self._write_window, scene, chunks, begin))

    def _write_window(self, scene: Scene, chunks: Chunks, begin: Begin) -> bool:
        from glacierflow.imagery.kernels import KINDS

        try:
            source = self._open(scene)
        except Unsupported:
            pixels = gdal.read_window(scene, chunks.geobox, self.ranges)
            if pixels is None:
                return False
            with begin(pixels.data.shape, pixels.transform, pixels.epsg) as write:
                write(0, pixels.data)
            return True
        tiff, epsg = source.tiff, _epsg_of(source, scene)
        window = source_window(chunks.geobox, tiff.transform, tiff.shape, epsg, _MARGIN)
        if window is None:
            return False
        refuse_fine_pixels(scene, window, chunks.geobox)
        strips = [
            Window(window.row + top, window.col, min(_STRIP, window.rows - top), window.cols)
            for top in range(0, window.rows, _STRIP)
        ]
        needed = [_blocks_under(strip, tiff) for strip in strips]
        radius = KINDS[self.settings.resampling]
        takers = self.shared.count_takers(chunks, tiff, radius) + np.sum(needed, axis=0)
        kept = self.shared.kept(scene, source, radius, takers)
        transform = tiff.transform * Affine.translation(window.col, window.row)
        with begin((window.rows, window.cols), transform, epsg) as write:
            for strip, blocks in zip(strips, needed, strict=True):
                data = read_blocks(source, strip, blocks, self.ranges, self._network, kept)
                write(strip.row - window.row, data)
        return True

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


def warm_up() -> None:
    """Load the compiled kernels in a thread: half a second that fits into the wait for the search."""

    def load() -> None:
        from glacierflow.imagery.kernels import compile_all

        compile_all()

    threading.Thread(target=load, name="warm-up", daemon=True).start()


def warp(pixels: Pixels | None, geobox: GeoBox, resampling: Resampling) -> NDArray[np.uint16]:
    """Resample source pixels onto a geobox, once, at exact coordinates.

    A pixel is valid where the source pixel it lies in is; only valid source pixels weigh.

    Returns:
        (rows, cols) uint16, 0 where the source has nothing.
    """
    out = np.zeros(geobox.shape, np.uint16)
    if pixels is not None:
        _warp_into(out, pixels, geobox, resampling, None)
    return out


def _warp_into(
    out: NDArray[np.uint16], pixels: Pixels, geobox: GeoBox, resampling: Resampling, executor: Executor | None
) -> None:
    """Fill the pixels of ``out`` that are still 0, in bands side by side where there is an executor."""
    from glacierflow.imagery.kernels import KINDS, resample

    lattice = lattice_of(geobox, pixels.transform, pixels.epsg)
    if lattice is None:
        return
    data = np.ascontiguousarray(pixels.data, np.uint16)

    def band(first: int) -> None:
        end = min(first + _BAND, lattice.cells[0])
        resample(
            data, out, lattice.row, lattice.col, lattice.top, lattice.left, first, end, KINDS[resampling]
        )

    starts = range(0, lattice.cells[0], _BAND)
    for _ in map(band, starts) if executor is None else executor.map(band, starts):
        pass


def _blocks_under(window: Window, tiff: GeoTiff) -> NDArray[np.bool_]:
    """The blocks that a window touches."""
    touched = np.zeros(tiff.sizes.shape, bool)
    rows, cols = tiff.block
    touched[
        window.row // rows : (window.row + window.rows - 1) // rows + 1,
        window.col // cols : (window.col + window.cols - 1) // cols + 1,
    ] = True
    return touched


def _epsg_of(source: Source, scene: Scene) -> int:
    """The source's CRS, if it is the image that the item promises.

    Raises:
        DataError: it is in another one, or its numbers mean something else.
    """
    refuse_scaling(scene, source.tiff.scaling)
    epsg = source.tiff.epsg
    if scene.epsg not in {None, epsg}:
        raise DataError(f"{scene.href} is in EPSG:{epsg}, its STAC item says EPSG:{scene.epsg}")
    return epsg


def require_paid_access(cloud: Cloud, settings: StepSettings) -> None:
    """Test access to Landsat's bucket with a paid one-byte request, before the search and all that follows.

    Where another catalogue is searched and no S3 endpoint is named, nobody knows yet where its images are,
    and only the credentials are looked at. A bucket that is busy, or lacks the object, refuses nothing.

    Raises:
        CredentialsError: there are no AWS credentials, or the bucket refuses them.
        UnavailableError: what hands the credentials out stayed away.
    """
    cloud.require_imagery_credentials(settings.imagery_s3_endpoint)
    if settings.landsat_stac_url != _USGS and settings.imagery_s3_endpoint is None:
        return
    twice = settings.model_copy(update={"request_attempts": 2})  # a lone refusal proves nothing
    try:
        Ranges(cloud, twice).fetch(_KNOWN, 0, 1, requester_pays=True)
    except CredentialsError as error:
        raise CredentialsError(
            f"requester-pays images may not be read: {error.message}", next_step=error.next_step
        ) from error
    except (DataError, UnavailableError):
        return
