"""Source pixels to the region's grid: one windowed read, one resampling, lazily with dask.

``read_window`` (the network) and ``warp`` (the arithmetic) are the two functions an engine consists of;
``scene_array`` joins them into a dask-backed DataArray, so that either can be replaced.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import CredentialsError, DataError, GlacierflowError, UnavailableError
from glacierflow.grid import Window, source_window
from glacierflow.model import CRS, Resampling, Scene

if TYPE_CHECKING:
    import xarray as xr
    from affine import Affine
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.aws import Cloud
    from glacierflow.model import StepSettings

__all__ = ["Imagery", "Pixels", "scene_array", "warp"]

NODATA = 0
_MARGIN = 8
"""Source pixels around the exact window; lanczos reaches 3, and no edge effect may show."""
_CHUNK = 1024
"""Product pixels on a side of one dask chunk."""
_DTYPES = {"uint8", "uint16"}

# Exact coordinates (0.00005 px) and an unblurred kernel: with GDAL's defaults the rotation between UTM and
# polar stereographic makes it take the warp for a downsampling one, and transforms are off by up to 0.125 px.
WARP_OPTIONS: dict[str, Any] = {"tolerance": 5e-5, "XSCALE": 1, "YSCALE": 1}

_GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.TIF,.tiff,.TIFF",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_NUM_THREADS": "2",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_CACHEMAX": 256,
    "VSI_CACHE": "FALSE",
}


@dataclass(frozen=True, slots=True)
class Pixels:
    """A window of a source image in memory."""

    data: NDArray[Any]
    """(rows, cols), uint8 or uint16, 0 is nodata."""
    transform: Affine
    epsg: int


@dataclass
class Imagery:
    """Opens scenes with the right credentials, and counts what was read.

    One serves a whole unit; its counters are safe to share between threads.
    """

    cloud: Cloud
    settings: StepSettings
    on_window: Callable[[Scene, Pixels], None] | None = None
    """Called with every window that was read."""
    bytes_read: int = 0
    """Bytes of the compressed blocks that were read."""
    seconds: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read_window(self, scene: Scene, geobox: GeoBox) -> Pixels | None:
        """Read the part of a scene that a geobox is made from; None where it lies outside.

        Raises:
            DataError: the source is not a readable image of the expected kind.
            UnavailableError: the source's server did not answer after retries.
            CredentialsError: access was refused.
        """
        import rasterio
        from rasterio.errors import RasterioError

        try:
            with (
                self._timed("read"),
                self._environment(scene),
                rasterio.open(_gdal_path(scene.href)) as source,
            ):
                _check(source, scene)
                window = source_window(geobox, source.transform, source.shape, source.crs.to_epsg(), _MARGIN)
                if window is None:
                    return None
                self._count(source, window)
                data = source.read(1, window=_rasterio_window(window))
                transform = source.window_transform(_rasterio_window(window))
                pixels = Pixels(_zero_nodata(data, source.nodata), transform, source.crs.to_epsg())
        except (RasterioError, OSError) as error:
            raise _explain(scene, error) from error
        if self.on_window is not None:
            self.on_window(scene, pixels)
        return pixels

    def warp(self, pixels: Pixels | None, geobox: GeoBox, resampling: Resampling) -> NDArray[np.uint16]:
        """``warp``, with its seconds counted."""
        with self._timed("warp"):
            return warp(pixels, geobox, resampling)

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def _environment(self, scene: Scene) -> contextlib.AbstractContextManager[Any]:
        import rasterio
        from rasterio.session import AWSSession, DummySession

        options = _GDAL_OPTIONS | {
            "GDAL_HTTP_TIMEOUT": str(round(self.settings.request_timeout_s)),
            "GDAL_HTTP_MAX_RETRY": str(self.settings.request_attempts - 1),
        }
        if not scene.href.startswith("s3://"):
            return rasterio.Env(session=DummySession(), **options)  # type: ignore[no-any-return]
        endpoint = self.settings.imagery_s3_endpoint
        if endpoint is not None:
            options |= {
                "AWS_HTTPS": "YES" if endpoint.startswith("https") else "NO",
                "AWS_VIRTUAL_HOSTING": "FALSE",
            }
        session = AWSSession(
            self.cloud.imagery_session(endpoint),
            region_name=self.settings.imagery_region,
            endpoint_url=endpoint.partition("://")[2].rstrip("/") if endpoint else None,
            requester_pays=scene.requester_pays,
        )
        return rasterio.Env(session=session, **options)  # type: ignore[no-any-return]

    def _count(self, source: Any, window: Window) -> None:  # noqa: ANN401 - rasterio is untyped
        """Add the compressed size of every block the window touches (GDAL's BLOCK_SIZE metadata)."""
        height, width = source.block_shapes[0]
        total = 0
        for row in range(window.row // height, (window.row + window.rows - 1) // height + 1):
            for col in range(window.col // width, (window.col + window.cols - 1) // width + 1):
                size = source.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)
                total += int(size) if size else 0
        with self._lock:
            self.bytes_read += total


def warp(pixels: Pixels | None, geobox: GeoBox, resampling: Resampling) -> NDArray[np.uint16]:
    """Resample source pixels onto a geobox, once, at exact coordinates.

    Nodata neither bleeds into valid pixels nor grows: GDAL weighs only valid source pixels, and lifts a
    valid result that would be 0 to 1.

    Returns:
        (rows, cols) uint16, 0 where the source has nothing.
    """
    import rasterio
    from rasterio.enums import Resampling as Kernel
    from rasterio.io import MemoryFile
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window as RasterioWindow

    empty = np.zeros(geobox.shape, np.uint16)
    if pixels is None:
        return empty
    window = source_window(geobox, pixels.transform, pixels.data.shape, pixels.epsg, _MARGIN)
    if window is None:
        return empty
    part = pixels.data[window.row : window.row + window.rows, window.col : window.col + window.cols]
    if not part.any():
        return empty
    corner = RasterioWindow(window.col, window.row, window.cols, window.rows)
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "height": window.rows,
        "width": window.cols,
        "crs": f"EPSG:{pixels.epsg}",
        "transform": rasterio.windows.transform(corner, pixels.transform),
        "nodata": NODATA,
    }
    rows, cols = geobox.shape
    with rasterio.Env(session=rasterio.session.DummySession()), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(part.astype(np.uint16, copy=False), 1)
        with (
            memory.open() as source,
            WarpedVRT(
                source,
                crs=CRS,
                transform=geobox.affine,
                width=cols,
                height=rows,
                resampling=Kernel[resampling],
                src_nodata=NODATA,
                nodata=NODATA,
                **WARP_OPTIONS,
            ) as warped,
        ):
            result: NDArray[np.uint16] = warped.read(1)
    return result


def scene_array(scene: Scene, geobox: GeoBox, imagery: Imagery) -> xr.DataArray:
    """A scene on the region's grid, lazily: (y, x) uint16 with projected coordinates.

    The source window is read once and shared by all chunks.
    """
    import dask.array as da
    import xarray as xr
    from dask.delayed import delayed
    from odc.geo.xr import xr_coords

    pixels = delayed(imagery.read_window)(scene, geobox)
    resampling = imagery.settings.resampling
    rows, cols = geobox.shape
    blocks = []
    for top in range(0, rows, _CHUNK):
        line = []
        for left in range(0, cols, _CHUNK):
            part = geobox[top : min(top + _CHUNK, rows), left : min(left + _CHUNK, cols)]
            block = delayed(imagery.warp)(pixels, part, resampling)
            line.append(da.from_delayed(block, part.shape, np.uint16))
        blocks.append(line)
    return xr.DataArray(
        da.block(blocks),
        dims=("y", "x"),
        coords=xr_coords(geobox),
        name=scene.item_id,
        attrs={"nodata": NODATA},
    )


def _gdal_path(href: str) -> str:
    if href.startswith("s3://"):
        return f"/vsis3/{href.removeprefix('s3://')}"
    if href.startswith(("http://", "https://")):
        return f"/vsicurl/{href}"
    return href.removeprefix("file://")


def _rasterio_window(window: Window) -> Any:  # noqa: ANN401 - rasterio is untyped
    from rasterio.windows import Window as RasterioWindow

    return RasterioWindow(window.col, window.row, window.cols, window.rows)


def _check(source: Any, scene: Scene) -> None:  # noqa: ANN401 - rasterio is untyped
    """Refuse a file that is not the image the item promises.

    Raises:
        DataError: wrong number of bands, data type or projection.
    """
    if source.count != 1 or source.dtypes[0] not in _DTYPES:
        raise DataError(
            f"{scene.href} has {source.count} band(s) of {source.dtypes[0]}, expected one of uint8 or uint16"
        )
    epsg = source.crs.to_epsg() if source.crs else None
    if epsg != scene.epsg:
        raise DataError(f"{scene.href} is in EPSG:{epsg}, its STAC item says EPSG:{scene.epsg}")


def _zero_nodata(data: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    if nodata is None or nodata == NODATA:
        return data
    return np.where(data == nodata, NODATA, data).astype(data.dtype)


_HTTP_STATUS = re.compile(r"(?:http[^\d]{0,25}|response_code\s*=\s*)([45]\d\d)\b")
_BUSY_STATUS = {"408", "429", "500", "502", "503", "504"}
_REFUSED_STATUS = {"401", "403"}
_BUSY = ("timed out", "timeout", "could not resolve", "could not connect", "connection", "slowdown")
_REFUSED = ("accessdenied", "access denied", "invalidaccesskeyid", "signaturedoesnotmatch")


def _explain(scene: Scene, error: Exception) -> GlacierflowError:
    """What a failed read means, from GDAL's own words."""
    chain: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    said = "; ".join(dict.fromkeys(text for text in chain if text))
    lowered = said.lower()
    # GDAL repeats URL and file name in its messages, and a name may hold any of the words looked for
    for name in (_gdal_path(scene.href), scene.href, scene.href.rpartition("/")[2]):
        lowered = lowered.replace(name.lower(), "")
    status = set(_HTTP_STATUS.findall(lowered))
    if status & _REFUSED_STATUS or any(word in lowered for word in _REFUSED):
        return CredentialsError(
            f"{scene.href} was refused: {said}",
            next_step="check that the credentials may read it (Landsat is requester-pays)",
        )
    if status & _BUSY_STATUS or any(word in lowered for word in _BUSY):
        return UnavailableError(f"{scene.href} could not be read: {said}")
    return DataError(f"{scene.href} could not be read: {said}")
