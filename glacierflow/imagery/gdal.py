"""GDAL's own way to read a window, for images that ``geotiff`` leaves to it; it knows every TIFF.

GDAL does not look at the checksum at the end of a DEFLATE block, nor whether a file changes while it reads.
So the blocks are fetched once more and inflated here, from the version of the file that was there before:
twice the bytes, for files that the archives do not hold.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import CredentialsError, DataError, GlacierflowError, UnavailableError
from glacierflow.imagery.grid import Pixels, Window, source_window
from glacierflow.model.records import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from glacierflow.cloud import Cloud
    from glacierflow.imagery.ranges import Ranges
    from glacierflow.model.records import StepSettings


NODATA = 0
_MARGIN = 8
"""Source pixels around the exact window; lanczos reaches 3, and no edge effect may show."""
_SIGNATURE_BYTES = 16
_DTYPES = {"uint8", "uint16"}

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


def read_window(
    scene: Scene, geobox: GeoBox, ranges: Ranges, cloud: Cloud, settings: StepSettings
) -> tuple[Pixels | None, int]:
    """The part of a scene that a geobox is made from (None where it lies outside), and its compressed bytes.

    Blocks that are compressed otherwise than by DEFLATE have no checksum to compare.

    Raises:
        Changed: the file is another one than when reading began.
        DataError: the source is not a readable image of the expected kind, or a block is damaged.
        UnavailableError: the source's server did not answer after retries.
        CredentialsError: access was refused.
    """
    import rasterio
    from botocore.exceptions import BotoCoreError
    from rasterio.errors import RasterioError

    _, version = ranges.fetch(scene.href, 0, _SIGNATURE_BYTES, requester_pays=scene.requester_pays)
    try:
        with _environment(scene, cloud, settings), rasterio.open(_gdal_path(scene.href)) as source:
            _check(source, scene)
            window = source_window(geobox, source.transform, source.shape, source.crs.to_epsg(), _MARGIN)
            if window is None:
                return None, 0
            data = source.read(1, window=_rasterio_window(window))
            transform = source.window_transform(_rasterio_window(window))
            pixels = Pixels(_zero_nodata(data, source.nodata), transform, source.crs.to_epsg())
            blocks = block_places(source, window)
            deflated = source.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION") == "DEFLATE"
    except BotoCoreError as error:
        # the same credentials served the range before
        raise UnavailableError(f"{scene.href} could not be read: {error}") from error
    except (RasterioError, OSError) as error:
        raise _explain(scene, error) from error
    pays = scene.requester_pays
    for offset, size in blocks if deflated else ():
        block, _ = ranges.fetch(scene.href, offset, size, requester_pays=pays, same=version)
        _check_block(scene, offset, block)
    ranges.fetch(scene.href, 0, _SIGNATURE_BYTES, requester_pays=pays, same=version)
    return pixels, sum(size for _, size in blocks)


def _check_block(scene: Scene, offset: int, block: bytes | bytearray) -> None:
    """Compare a block's checksum.

    Raises:
        DataError: it is not what was written.
    """
    from isal import isal_zlib

    try:
        isal_zlib.decompress(block)
    except isal_zlib.error as error:  # type: ignore[misc]
        raise DataError(
            f"{scene.href} could not be read: the block at byte {offset} is corrupt: {error}"
        ) from error


def _environment(
    scene: Scene, cloud: Cloud, settings: StepSettings
) -> contextlib.AbstractContextManager[Any]:
    import rasterio
    from rasterio.session import AWSSession, DummySession

    options = _GDAL_OPTIONS | {
        # GDAL keeps what it read of a file, which may have changed since
        "CPL_VSIL_CURL_NON_CACHED": _gdal_path(scene.href),
        "GDAL_HTTP_TIMEOUT": str(round(settings.request_timeout_s)),
        "GDAL_HTTP_MAX_RETRY": str(settings.request_attempts - 1),
    }
    if not scene.href.startswith("s3://"):
        return rasterio.Env(session=DummySession(), **options)  # type: ignore[no-any-return]
    endpoint = settings.imagery_s3_endpoint
    if endpoint is not None:
        options |= {
            "AWS_HTTPS": "YES" if endpoint.startswith("https") else "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    session = AWSSession(
        cloud.imagery_session(endpoint),
        region_name=settings.imagery_region,
        endpoint_url=endpoint.partition("://")[2].rstrip("/") if endpoint else None,
        requester_pays=scene.requester_pays,
    )
    return rasterio.Env(session=session, **options)  # type: ignore[no-any-return]


def block_places(source: Any, window: Window) -> list[tuple[int, int]]:  # noqa: ANN401 - rasterio is untyped
    """(offset, bytes) of the first band's blocks in a window (GDAL's BLOCK_OFFSET and BLOCK_SIZE)."""
    height, width = source.block_shapes[0]
    blocks = []
    for row in range(window.row // height, (window.row + window.rows - 1) // height + 1):
        for col in range(window.col // width, (window.col + window.cols - 1) // width + 1):
            offset, size = (
                source.get_tag_item(f"BLOCK_{name}_{col}_{row}", "TIFF", bidx=1)
                for name in ("OFFSET", "SIZE")
            )
            # a block that was never written has neither
            if offset and size:
                blocks.append((int(offset), int(size)))
    return blocks


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
_BUSY_STATUS = {"403", "408", "429", "500", "502", "503", "504"}
"""With a 403 that is not S3's own AccessDenied, which is looked for first."""
_REFUSED_STATUS = {"401"}
_BUSY = (
    "expiredtoken",
    "requesttimetooskewed",
    "timed out",
    "timeout",
    "could not resolve",
    "could not connect",
    "connection",
    "slowdown",
)
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
