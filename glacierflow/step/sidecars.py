"""Files beside the products: the predecessor's tables, quicklooks, STAC items, collections and catalog.

What many units share is never appended to: each unit writes its own part, and the whole is rebuilt from them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from glacierflow.model.layout import Layout, sensing_time
from glacierflow.model.records import Region, Satellite, Unit
from glacierflow.products import lineage
from glacierflow.products.stac_item import Product, make_catalog, make_collection, make_item

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glacierflow.search.acquisitions import Found
    from glacierflow.store import Store


_ROUNDS = 5

_LONGEST_SIDE = 512


def write_tables(store: Store, layout: Layout, unit: Unit, region: Region, found: Found) -> None:
    """Rebuild the tables of a region that downstream steps of the predecessor read.

    Raises:
        StoreError: the store could not be read or written.
    """
    if unit.satellite == "sentinel2":

        def combine(keys: list[str]) -> None:
            lines = _texts(store, keys)
            store.put(layout.combined_csv(region.name), lineage.combine_lines(lines).encode())

        _settle(store, layout.individual_csv_prefix(region.name), ".csv", combine)
    elif found.acquisitions:
        scenes = [scene for acquisition in found.acquisitions for scene in acquisition.scenes]
        part = layout.query_part(region.name, unit.date1, unit.date2)
        store.put(part, lineage.query_results(scenes, region).encode())

        def join(keys: list[str]) -> None:
            table = lineage.combine_query_parts(_texts(store, keys))
            store.put(layout.query_results(region.name), table.encode())

        _settle(store, layout.query_parts_prefix(region.name), ".csv", join)


def _texts(store: Store, keys: list[str]) -> list[str]:
    contents = [store.get(key) for key in keys]
    return [content.decode() for content in contents if content is not None]


def put_item(store: Store, layout: Layout, product: Product) -> None:
    """Write the STAC item of a product.

    Raises:
        StoreError: the store could not be written.
    """
    acquisition = product.acquisition
    key = layout.stac_item(acquisition.scenes[0].satellite, product.region.name, acquisition.stem)
    _put_json(store, key, make_item(product, layout))


def rebuild_tree(store: Store, layout: Layout, satellite: Satellite, region: Region) -> None:
    """Bring a region's collection and the catalog up to date; nothing where the region has no item.

    Raises:
        StoreError: the store could not be read or written.
    """

    def write_collection(keys: list[str]) -> None:
        stems = list(_stems(keys))
        if stems:
            collection = make_collection(satellite, region, stems, layout)
            _put_json(store, layout.stac_collection(satellite, region.name), collection)

    if _settle(store, layout.stac_items_prefix(satellite, region.name), ".json", write_collection):
        rebuild_catalog(store, layout)


def rebuild_catalog(store: Store, layout: Layout) -> None:
    """Write the catalog of the collections that are there; nothing where there is none.

    Raises:
        StoreError: the store could not be read or written.
    """

    def write_catalog(keys: list[str]) -> None:
        titles = {key: _title(key) for key in keys}
        _put_json(store, layout.stac_catalog, make_catalog(titles, layout))

    _settle(store, layout.stac_collections_prefix, ".json", write_catalog)


def _stems(keys: list[str]) -> Iterator[str]:
    """Stems of products; what else somebody laid there is none of ours."""
    for key in keys:
        stem = key.rpartition("/")[2].removesuffix(".json")
        with contextlib.suppress(ValueError):
            sensing_time(stem)
            yield stem


def _put_json(store: Store, key: str, content: dict[str, Any]) -> None:
    store.put(key, json.dumps(content, indent=1).encode())


def _settle(store: Store, prefix: str, suffix: str, write: Callable[[list[str]], None]) -> bool:
    """Write a list of what lies below a prefix, until it is still true after the writing.

    Of several units that do so at once, the last to write looks again afterwards, so that none is missing.
    """
    keys = _keys(store, prefix, suffix)
    for _ in range(_ROUNDS):
        if not keys:
            break
        write(keys)
        now = _keys(store, prefix, suffix)
        if now == keys:
            break
        keys = now
    return bool(keys)


def _keys(store: Store, prefix: str, suffix: str) -> list[str]:
    return sorted(entry.key for entry in store.list(prefix) if entry.key.endswith(suffix))


def _title(key: str) -> str:
    satellite, name = key.removesuffix(".json").split("/")[-2:]
    return f"{satellite} {name}"


class Overview:
    """An image made small: means of valid pixels over squares, from bands that come one by one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Begin with nothing.

        Args:
            shape: (rows, cols) of the image.
        """
        self.step = max(1, -(-max(shape) // _LONGEST_SIDE))
        rows, cols = (-(-size // self.step) for size in shape)
        self._totals, self._counts = np.zeros((rows, cols), np.uint64), np.zeros((rows, cols), np.uint64)

    def add(self, part: Sums) -> None:
        """What ``square_sums`` said of a band; squares on the borders of bands get their parts."""
        first, totals, counts = part
        rows = slice(first, first + len(totals))
        self._totals[rows] += totals
        self._counts[rows] += counts

    def stretch(self) -> tuple[float, float]:
        """Pixels that are black and white in the picture: 2nd and 98th percentile of the valid squares."""
        return _stretch(self._small())

    def png(self) -> bytes:
        """An 8-bit PNG with alpha, so stretched."""
        return _png(self._small())

    def _small(self) -> NDArray[np.float64]:
        return self._totals / np.maximum(self._counts, 1)


Sums = tuple[int, "NDArray[np.uint64]", "NDArray[np.uint64]"]
"""Number of the first row of squares, sums of pixels, and how many are valid."""


def square_sums(rows: NDArray[Any], top: int, step: int) -> Sums:
    """Sums over squares of ``step`` pixels of an image, of which some rows are given.

    Strip by strip, so that it takes no memory to speak of.

    Args:
        rows: over the whole width, 0 is nodata.
        top: number of the first in the image.
        step: pixels on a side of a square.
    """
    starts = np.arange(0, rows.shape[1], step)
    widths = np.diff(starts, append=rows.shape[1])
    first, end = top // step, -(-(top + rows.shape[0]) // step)
    totals, counts = (np.zeros((end - first, starts.size), np.uint64) for _ in range(2))
    for row in range(first, end):
        strip = rows[max(0, row * step - top) : (row + 1) * step - top]
        totals[row - first] = np.add.reduceat(strip.sum(axis=0, dtype=np.uint32), starts)
        # most are whole, and counting column by column takes five times as long
        if np.count_nonzero(strip) == strip.size:
            counts[row - first] = len(strip) * widths
        else:
            counts[row - first] = np.add.reduceat((strip != 0).sum(axis=0, dtype=np.uint32), starts)
    return first, totals, counts


def quicklook_png(image: NDArray[Any]) -> bytes:
    """The same of a whole image.

    Args:
        image: (rows, cols), 0 is nodata and becomes transparent.
    """
    small = Overview(image.shape)
    small.add(square_sums(image, 0, small.step))
    return small.png()


def _stretch(small: NDArray[np.float64]) -> tuple[float, float]:
    valid = small > 0
    low, high = np.percentile(small[valid], [2, 98]) if valid.any() else (0.0, 1.0)
    return float(low), max(float(high), float(low) + 1.0)


def _png(small: NDArray[np.float64]) -> bytes:
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.session import DummySession

    low, high = _stretch(small)
    grey = np.clip((small - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    alpha = np.where(small > 0, 255, 0).astype(np.uint8)
    profile = {"driver": "PNG", "dtype": "uint8", "count": 2, "height": grey.shape[0], "width": grey.shape[1]}
    # images of snow compress no better at the usual level 6, which takes seven times as long
    profile["zlevel"] = 1
    # A PNG has no place for a grid, and rasterio warns of files without one.
    import warnings

    with rasterio.Env(session=DummySession()), MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(**profile) as target:
            target.write(np.stack([grey, alpha]))
        memory.seek(0)
        data: bytes = memory.read()
    return data
