"""Write the archive for regions and dates: what is there already is not made again."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glacierflow.errors import StoreError, UsageError
from glacierflow.local.sample.frames import Grid, Pass, landsat_grid, make_pass, pass_days, sentinel2_grid
from glacierflow.local.sample.items import (
    RECORD,
    SAMPLE_VERSION,
    landsat_id,
    landsat_item,
    sentinel2_id,
    sentinel2_item,
)
from glacierflow.local.sample.scene import Rectangle, footprint, write_scene
from glacierflow.model.records import SATELLITES, Region, Satellite

COLLECTIONS: dict[Satellite, str] = {"sentinel2": "sentinel-2-l2a", "landsat": "landsat-c2l1"}
_MAX_WORKERS = 4


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What a sample archive holds for one request."""

    directory: Path
    items: int
    """STAC items that serve the request."""
    written: int
    """Of these, how many were written or written anew; the others were there already."""
    passes: dict[Satellite, int]
    """Passes between the dates, by satellite."""
    bytes: int
    """Size on disk of these items and their images."""


@dataclass(frozen=True, slots=True)
class _Order:
    """One item that the archive has to hold, for some regions at least."""

    satellite: Satellite
    grid: Grid
    overflight: Pass
    sequence: int
    rectangles: frozenset[Rectangle]

    @property
    def item_id(self) -> str:
        if self.satellite == "landsat":
            return landsat_id(self.grid, self.overflight)
        return sentinel2_id(self.grid.name, self.overflight, self.sequence)


def write_sample(
    directory: Path,
    regions: Sequence[Region],
    date1: dt.date,
    date2: dt.date,
    *,
    satellites: Sequence[Satellite] = SATELLITES,
    on_progress: Callable[[int, int], None] | None = None,
) -> SampleSummary:
    """Make sure an archive holds sample imagery of some regions between two dates, both included.

    What is there already stays; an image that several regions share is written anew with the pixels of all of
    them. The same request gives the same bytes.

    Args:
        directory: of the archive; made where it is missing.
        regions: what to hold pixels of.
        date1: first day.
        date2: last day.
        satellites: which imagery.
        on_progress: called with (items done, items in all).

    Raises:
        UsageError: date2 lies before date1, or no regions were named.
        RegionError: a region names a Sentinel-2 tile that does not exist.
        StoreError: the directory cannot be written.
    """
    if date2 < date1:
        raise UsageError(f"date2 {date2} lies before date1 {date1}", next_step="swap the two dates")
    if not regions:
        raise UsageError("a sample archive needs at least one region", next_step="name some with --regions")
    passes: dict[Satellite, int] = {}
    try:
        with _locked(directory):
            orders: list[_Order] = []
            for satellite in satellites:
                days = pass_days(satellite, date1, date2)
                passes[satellite] = len(days)
                for day in days:
                    orders += _orders_of(satellite, make_pass(satellite, day), regions)
            return _fill(directory, orders, passes, on_progress)
    except OSError as error:
        raise StoreError(
            f"the sample archive {directory} cannot be written: {error.strerror or error}",
            next_step="name another directory, or free some space",
        ) from error


def sample_bundle(
    home: Path,
    regions: Sequence[Region],
    date1: dt.date,
    date2: dt.date,
    satellites: Sequence[Satellite] = SATELLITES,
) -> Path:
    """The archive that ``--local`` uses on its own, filled for a request; cheap when it holds it already.

    Raises:
        UsageError: date2 lies before date1, or no regions were named.
        RegionError: a region names a Sentinel-2 tile that does not exist.
        StoreError: it cannot be written.
    """
    return write_sample(home / "sample-archive", regions, date1, date2, satellites=satellites).directory


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One writer at a time; the lock goes with its process."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _orders_of(satellite: Satellite, overflight: Pass, regions: Sequence[Region]) -> Iterator[_Order]:
    """The items of one pass that see the regions."""
    wanted: dict[Grid, set[Rectangle]] = {}
    for region in regions:
        rectangle = Rectangle(region.name, *region.bounds)
        grids = [landsat_grid(region)] if satellite == "landsat" else map(sentinel2_grid, region.mgrs_tiles)
        for grid in grids:
            wanted.setdefault(grid, set()).add(rectangle)
    for grid, rectangles in wanted.items():
        for sequence in range(2 if overflight.is_reprocessed else 1):
            yield _Order(satellite, grid, overflight, sequence, frozenset(rectangles))


def _fill(
    directory: Path,
    orders: Sequence[_Order],
    passes: dict[Satellite, int],
    on_progress: Callable[[int, int], None] | None,
) -> SampleSummary:
    items = written = size = 0
    with ThreadPoolExecutor(min(_MAX_WORKERS, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda order: _fulfil(directory, order), orders)
        for done, (bytes_there, is_new) in enumerate(results, start=1):
            items += bytes_there > 0
            written += is_new
            size += bytes_there
            if on_progress is not None:
                on_progress(done, len(orders))
    return SampleSummary(directory, items, written, passes, size)


def _fulfil(directory: Path, order: _Order) -> tuple[int, bool]:
    """(bytes on disk, whether written now); no bytes where the tile sees nothing of its regions."""
    folder = directory / COLLECTIONS[order.satellite] / order.item_id
    item_file = folder / f"{order.item_id}.json"
    there = _rectangles_there(item_file)
    if there is not None and order.rectangles <= there:
        return _size(item_file), False
    rectangles = order.rectangles | (there or frozenset())
    seen = footprint(order.grid, rectangles, order.overflight)
    if seen.area == 0:
        return 0, False
    # the image first: an item that stands alone would promise pixels that are not there
    stats = write_scene(folder / _image_name(order), order.grid, rectangles, order.overflight)
    if order.satellite == "landsat":
        item = landsat_item(order.grid, order.overflight, stats, seen, rectangles)
    else:
        item = sentinel2_item(order.grid, order.overflight, order.sequence, stats, seen, rectangles)
    aside = folder / f".part-{item_file.name}"
    aside.write_text(json.dumps(item, indent=1))
    aside.replace(item_file)
    return _size(item_file), True


def _image_name(order: _Order) -> str:
    return f"{order.item_id}_B8.TIF" if order.satellite == "landsat" else "B08.tif"


def _rectangles_there(item_file: Path) -> frozenset[Rectangle] | None:
    """Regions whose pixels an item holds; None where there is none, or one of another version."""
    try:
        item: dict[str, Any] = json.loads(item_file.read_bytes())
        record = item["properties"][RECORD]
        if record["version"] != SAMPLE_VERSION:
            return None
        images = [item_file.parent / asset["href"] for asset in item["assets"].values()]
        if not all(image.is_file() for image in images):
            return None
        return frozenset(Rectangle(*one) for one in record["regions"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _size(item_file: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in item_file.parent.iterdir())
