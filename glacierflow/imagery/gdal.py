"""GDAL's own way to read a window, for images that ``geotiff`` leaves to it; it knows every TIFF.

GDAL is given no address: every byte it sees comes from ``Ranges``, of the one version of the file that was
looked at, and it reads nothing but GeoTIFF. It does not look at the checksum at the end of a DEFLATE block,
so the blocks are inflated here once more.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.errors import DataError, GlacierflowError
from glacierflow.imagery.blocks import inflate, refuse_fine_pixels, refuse_scaling
from glacierflow.imagery.geotiff import MOST_BLOCK_PIXELS
from glacierflow.imagery.grid import Pixels, Window, source_window
from glacierflow.model.records import Scene

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from glacierflow.imagery.ranges import Ranges


NODATA = 0
_MARGIN = 8
"""Source pixels around the exact window; lanczos reaches 3, and no edge effect may show."""
_SIGNATURE_BYTES = 16
_DTYPES = {"uint8", "uint16"}
_PAGE_BYTES = 1 << 18
_MOST_AT_ONCE = 1 << 26
_PAGES = 64
"""Kept, so that neighbouring blocks are not fetched twice."""

_GDAL_OPTIONS: dict[str, Any] = {
    # nothing beside the file is looked for
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 256,
    "VSI_CACHE": "FALSE",
}


def read_window(scene: Scene, geobox: GeoBox, ranges: Ranges) -> Pixels | None:
    """The part of a scene that a geobox is made from; None where it lies outside.

    Blocks that are compressed otherwise than by DEFLATE have no checksum to compare.

    Raises:
        Changed: the file is another one than when reading began.
        DataError: the source is not a readable image of the expected kind, or a block is damaged.
        UnavailableError: the source's server did not answer after retries.
        CredentialsError: access was refused.
    """
    import rasterio
    from rasterio.errors import RasterioError

    file = _File(scene, ranges)
    try:
        with (
            rasterio.Env(**_GDAL_OPTIONS),
            rasterio.open("image.tif", driver="GTiff", opener=file.open) as source,
        ):
            _check(source, scene)
            window = source_window(geobox, source.transform, source.shape, source.crs.to_epsg(), _MARGIN)
            if window is None:
                return None
            refuse_fine_pixels(scene, window, geobox)
            data = source.read(1, window=_rasterio_window(window))
            # zero where a mask of the file's own hides a pixel, whatever lies below
            data[source.read_masks(1, window=_rasterio_window(window)) == 0] = NODATA
            transform = source.window_transform(_rasterio_window(window))
            pixels = Pixels(data, transform, source.crs.to_epsg())
            blocks = block_places(source, window)
            deflated = source.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION") == "DEFLATE"
            height, width = source.block_shapes[0]
    except (RasterioError, OSError) as error:
        if file.error is not None:
            raise file.error from error
        raise DataError(f"{scene.href} could not be read: {_said(error)}") from error
    if file.error is not None:
        # GDAL may go on where a byte is missing
        raise file.error
    most = height * width * pixels.data.dtype.itemsize
    for offset, size in blocks if deflated else ():
        _check_block(scene, offset, file.get(offset, size), most)
    ranges.fetch(scene.href, 0, _SIGNATURE_BYTES, requester_pays=scene.requester_pays, same=file.version)
    return Pixels(pixels.data.astype(np.uint16, copy=False), pixels.transform, pixels.epsg)


class _File:
    """A source by pages, all of them from one version; what went wrong under GDAL stays in ``error``."""

    def __init__(self, scene: Scene, ranges: Ranges) -> None:
        self._scene, self._ranges = scene, ranges
        pays = scene.requester_pays
        _, self.version = ranges.fetch(scene.href, 0, _SIGNATURE_BYTES, requester_pays=pays)
        self.error: GlacierflowError | None = None
        self._pages: OrderedDict[int, bytes | bytearray] = OrderedDict()

    def open(self, path: str, mode: str = "rb") -> _Stream:  # noqa: ARG002 - the signature is rasterio's
        """As a file, for GDAL."""
        return _Stream(self)

    def get(self, first: int, length: int) -> bytes:
        """A range of the file, by pages.

        Raises:
            DataError, UnavailableError, CredentialsError: as ``Ranges.fetch``.
        """
        if length > _MOST_AT_ONCE:
            raise DataError(
                f"{self._scene.href} could not be read: its header asks for {length} bytes at once"
            )
        parts = []
        for number in range(first // _PAGE_BYTES, -(-(first + length) // _PAGE_BYTES)):
            start = number * _PAGE_BYTES
            parts.append(self._page(number)[max(0, first - start) : max(0, first + length - start)])
        return b"".join(parts)

    def _page(self, number: int) -> bytes | bytearray:
        page = self._pages.pop(number, None)
        if page is None:
            pays = self._scene.requester_pays
            first = number * _PAGE_BYTES
            page, _ = self._ranges.fetch(
                self._scene.href, first, _PAGE_BYTES, requester_pays=pays, same=self.version
            )
        self._pages[number] = page
        if len(self._pages) > _PAGES:
            self._pages.popitem(last=False)
        return page


class _Stream(io.RawIOBase):
    """A place in a file."""

    def __init__(self, file: _File) -> None:
        super().__init__()
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.version.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._file.version.size - self._at)
        try:
            data = self._file.get(self._at, left if size < 0 else min(size, left))
        except GlacierflowError as error:
            self._file.error = self._file.error or error
            return b""
        self._at += len(data)
        return data


def _check_block(scene: Scene, offset: int, block: bytes, most: int) -> None:
    """Compare a block's checksum.

    Raises:
        DataError: it is not what was written.
    """
    from isal import isal_zlib

    try:
        inflate(block, most)
    except isal_zlib.error as error:  # type: ignore[misc]
        raise DataError(
            f"{scene.href} could not be read: the block at byte {offset} is corrupt: {error}"
        ) from error


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


def _rasterio_window(window: Window) -> Any:  # noqa: ANN401 - rasterio is untyped
    from rasterio.windows import Window as RasterioWindow

    return RasterioWindow(window.col, window.row, window.cols, window.rows)


def _check(source: Any, scene: Scene) -> None:  # noqa: ANN401 - rasterio is untyped
    """Refuse a file that is not the image the item promises.

    Raises:
        DataError: wrong number of bands, data type or projection; blocks too large to hold.
    """
    if source.count != 1 or source.dtypes[0] not in _DTYPES:
        raise DataError(
            f"{scene.href} has {source.count} band(s) of {source.dtypes[0]}, expected one of uint8 or uint16"
        )
    height, width = source.block_shapes[0]
    if height * width > MOST_BLOCK_PIXELS:
        raise DataError(
            f"{scene.href} could not be read: its blocks of {height} x {width} pixels are too large"
        )
    refuse_scaling(scene, (source.scales[0], source.offsets[0]))
    epsg = source.crs.to_epsg() if source.crs else None
    if epsg is None or scene.epsg not in {None, epsg}:
        raise DataError(f"{scene.href} is in EPSG:{epsg}, its STAC item says EPSG:{scene.epsg}")


def _said(error: BaseException) -> str:
    """GDAL's own words, the innermost first."""
    chain: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return "; ".join(dict.fromkeys(text for text in chain if text))
