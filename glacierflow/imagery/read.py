"""Source pixels to the region's grid: only the blocks needed, one resampling, at exact coordinates.

``Imagery.mosaic`` puts the scenes of an acquisition together; of a later one it reads only what earlier ones
leave free.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from glacierflow.errors import DataError
from glacierflow.grid import Pixels, source_window
from glacierflow.imagery import gdal
from glacierflow.imagery.blocks import open_source, read_blocks
from glacierflow.imagery.geotiff import Unsupported
from glacierflow.imagery.lattice import lattice_of, needed_blocks, window_of
from glacierflow.imagery.ranges import Changed, Ranges
from glacierflow.imagery.sharing import Kept, Shared
from glacierflow.imagery.source import Source
from glacierflow.model import Resampling, Scene
from glacierflow.resources import cpu_count

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.aws import Cloud
    from glacierflow.model import StepSettings

__all__ = ["Imagery", "Pixels", "warm_up", "warp"]

_MARGIN = 8
"""Source pixels kept around the exact window with ``download_flag``."""
_BAND = 4
"""Cell rows (of 64 product rows) that one thread warps at a time."""
_REQUESTS = 8
"""Range requests in flight."""


@dataclass
class Imagery:
    """Opens scenes with the right credentials, and counts what was read.

    One serves a whole unit; it is safe to share between threads.
    """

    cloud: Cloud
    settings: StepSettings
    on_window: Callable[[Scene, Pixels], None] | None = None
    """Called with every window that was read; then windows are whole rectangles."""
    shared: Shared = field(default_factory=Shared, repr=False)
    """Headers that were read before, and blocks that units of one slot have in common."""
    seconds: dict[str, float] = field(default_factory=dict)
    _gdal_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.ranges = Ranges(self.cloud, self.settings)
        self._network = ThreadPoolExecutor(_REQUESTS, thread_name_prefix="read")
        self._cpus = ThreadPoolExecutor(cpu_count(), thread_name_prefix="warp")

    @property
    def bytes_read(self) -> int:
        """Bytes received, headers of images included."""
        return self.ranges.bytes_read + self._gdal_bytes

    @property
    def requests(self) -> int:
        """Range requests sent, retries included; GDAL's own are not known."""
        return self.ranges.requests

    def close(self) -> None:
        """Drop what is still queued; what runs is left to end by itself."""
        self._network.shutdown(wait=False, cancel_futures=True)
        self._cpus.shutdown(wait=False, cancel_futures=True)

    def mosaic(self, scenes: Sequence[Scene], geobox: GeoBox) -> NDArray[np.uint16]:
        """Scenes on a geobox, pixel by pixel the first that is valid, in the order given.

        Of a later scene only the blocks are read that pixels still free are made from.

        Returns:
            (rows, cols) uint16, 0 where no scene has anything.

        Raises:
            DataError: a source is not a readable image of the expected kind.
            UnavailableError: a source's server did not answer after retries.
            CredentialsError: access was refused.
        """
        out = np.zeros(geobox.shape, np.uint16)
        for scene in scenes:
            self._fill(out, scene, geobox)
        return out

    def _fill(self, out: NDArray[np.uint16], scene: Scene, geobox: GeoBox) -> None:
        pixels = self._read(scene, geobox, out)
        if pixels is not None:
            with self._timed("warp"):
                _warp_into(out, pixels, geobox, self.settings.resampling, self._cpus)

    def _read(self, scene: Scene, geobox: GeoBox, out: NDArray[np.uint16]) -> Pixels | None:
        """What the free pixels of ``out`` are made from; once more where the file changed."""
        with self._timed("read"):
            was_known = self.shared.header(scene.href) is not None
            try:
                pixels = self._read_once(scene, geobox, out)
            except DataError as error:
                # with a header of earlier, a file that changed may fail in any way
                if not (was_known or isinstance(error, Changed)):
                    raise
                self.shared.forget(scene.href)
                pixels = self._read_once(scene, geobox, out)
        if pixels is not None and self.on_window is not None:
            self.on_window(scene, pixels)
        return pixels

    def _read_once(self, scene: Scene, geobox: GeoBox, out: NDArray[np.uint16]) -> Pixels | None:
        from glacierflow.imagery.kernels import KINDS, free_cells

        try:
            source = self._open(scene)
        except Unsupported:
            return self._read_by_gdal(scene, geobox)
        tiff, epsg = source.tiff, _epsg_of(source, scene)
        lattice = lattice_of(geobox, tiff.transform, epsg)
        if lattice is None:
            return None
        radius = KINDS[self.settings.resampling]
        kept = self.shared.kept(scene, source, radius)
        if self.on_window is not None:
            return self._whole_rectangle(source, geobox, epsg, kept)
        window = window_of(lattice, tiff.shape, radius)
        if window is None:
            return None
        wanted = free_cells(out, lattice.top, lattice.left, *lattice.cells)
        needed = needed_blocks(lattice, tiff.shape, tiff.block, radius, wanted)
        if not needed.any():
            return None
        data = read_blocks(source, window, needed, self.ranges, self._network, kept)
        return Pixels(data, tiff.transform * Affine.translation(window.col, window.row), epsg)

    def _open(self, scene: Scene) -> Source:
        source = self.shared.header(scene.href)
        if source is None:
            source = open_source(scene, self.ranges)
            self.shared.keep_header(source)
        return source

    def _whole_rectangle(self, source: Source, geobox: GeoBox, epsg: int, kept: Kept | None) -> Pixels | None:
        """Every pixel of the region's bounding rectangle on the source, as ``download_flag`` keeps it."""
        tiff = source.tiff
        window = source_window(geobox, tiff.transform, tiff.shape, epsg, _MARGIN)
        if window is None:
            return None
        needed = np.zeros(tiff.sizes.shape, bool)
        rows, cols = tiff.block
        needed[
            window.row // rows : (window.row + window.rows - 1) // rows + 1,
            window.col // cols : (window.col + window.cols - 1) // cols + 1,
        ] = True
        data = read_blocks(source, window, needed, self.ranges, self._network, kept)
        return Pixels(data, tiff.transform * Affine.translation(window.col, window.row), epsg)

    def _read_by_gdal(self, scene: Scene, geobox: GeoBox) -> Pixels | None:
        pixels, size = gdal.read_window(scene, geobox, self.ranges, self.cloud, self.settings)
        with self._lock:
            self._gdal_bytes += size
        if pixels is None:
            return None
        return Pixels(pixels.data.astype(np.uint16, copy=False), pixels.transform, pixels.epsg)

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


def _epsg_of(source: Source, scene: Scene) -> int:
    """The source's CRS, if it is the one that the item promises.

    Raises:
        DataError: it is another one.
    """
    epsg = source.tiff.epsg
    if epsg != scene.epsg:
        raise DataError(f"{scene.href} is in EPSG:{epsg}, its STAC item says EPSG:{scene.epsg}")
    return epsg
