"""The step: one unit in, its products in the store. The only place where search, pixels and store meet.

It knows no AWS words: the same function runs in a Batch child, in a plain process, anywhere.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glacierflow.errors import CredentialsError, DataError, GlacierflowError, UnavailableError
from glacierflow.imagery.compute import Computer
from glacierflow.imagery.mosaic import warm_up
from glacierflow.model.layout import Layout
from glacierflow.model.receipt import ProductRecord, ProductThere
from glacierflow.model.records import Acquisition, LeftOut, Note, Region, Unit
from glacierflow.products import cog, lineage
from glacierflow.products.existing import Shelf, Standing
from glacierflow.products.stac_item import Product
from glacierflow.search.acquisitions import Found, search_unit
from glacierflow.search.availability import why_all_left_out
from glacierflow.step.context import Progress, StepContext, UnitResult
from glacierflow.step.images import (
    UnitImages,
    all_left_out,
    is_uncovered,
    least_coverage,
    why_cloudy,
    why_uncovered,
)
from glacierflow.step.sidecars import Overview, put_item, rebuild_tree, write_tables
from glacierflow.step.threads import in_order, unless_stopped

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


_GRACE_S = 20.0
"""Seconds the acquisitions in hand may take after SIGTERM; AWS kills 30 s after it."""


def process_unit(unit: Unit, region: Region, context: StepContext, result: UnitResult) -> None:
    """Make all products of a unit that are not there yet; ``result`` tells the truth at any moment.

    Raises:
        InterruptedAttempt: the process was asked to stop; finished products are in the store.
        UnavailableError, DataError: the search failed.
        CredentialsError: the first paid read was refused.
        StoreError: an output could not be written.
    """
    settings = context.settings
    warm_up()
    context.shared.begin(result.number)
    start = time.perf_counter()
    found = unless_stopped(
        lambda: search_unit(unit, region, settings), context.stop, "the search was dropped"
    )
    result.seconds["search"] = time.perf_counter() - start
    result.found = found.items
    result.left_out += found.left_out
    result.notes += found.notes
    context.tell(Progress(unit, 0, len(found.acquisitions), f"{found.items} STAC items found"))
    work = _UnitWork(unit, region, context, result.number, found)
    if found.acquisitions:
        result.left_out += work.write_template()
        for note in work.images.memory_notes():
            context.tell(Progress(unit, 0, 0, note.text))
            result.notes.append(note)
    anything_read = False
    try:
        for number, made in enumerate(work.acquire_all(), 1):
            if not anything_read:
                _refuse_unit(made)
            anything_read = anything_read or made.was_read or bool(made.result.skipped)
            result.add(made.result)
            context.tell(Progress(unit, number, len(found.acquisitions), made.text))
    finally:
        work.images.close()
        result.bytes_read += work.images.bytes_read
        result.requests += work.images.requests
        result.seconds.update(work.images.readings.seconds)
    write_tables(context.store, work.layout, unit, region, found)
    rebuild_tree(context.store, work.layout, unit.satellite, region)
    if found.items and not result.counts.kept:
        result.notes.append(why_all_left_out(found.items, result.left_out))


@dataclass
class _Made:
    """What became of one acquisition."""

    acquisition: Acquisition
    result: UnitResult
    standing: Standing
    text: str = ""
    was_read: bool = False

    def leave_out(self, code: str, reason: str) -> None:
        self.result.left_out += all_left_out(self.acquisition, code, reason)


@dataclass
class _Drawn:
    """An image in scratch space."""

    coverage: float
    overview: Overview
    seconds: float
    """What writing took."""


class _UnitWork:
    """One unit's region, grid and destination; its acquisitions are made side by side."""

    def __init__(self, unit: Unit, region: Region, context: StepContext, number: int, found: Found) -> None:
        self.unit, self.region, self.context, self.number = unit, region, context, number
        self.settings, self.store, self.found = context.settings, context.store, found
        self.layout = Layout(self.settings.base_path, self.settings.folder_structure)
        computer = Computer(context.cluster)
        self.images = UnitImages(
            unit, region, self.settings, context.cloud, found, computer,
            shared=context.shared, show=context.show,
        )  # fmt: skip
        self.geobox: GeoBox = self.images.chunks.geobox
        self.shelf = Shelf(self.store, unit, region, self.settings, context.remake)
        self.least = least_coverage(unit, self.settings)

    def acquire_all(self) -> Iterator[_Made]:
        """Make the products, several in flight; what became of each, in order.

        Raises:
            InterruptedAttempt, StoreError: as ``in_order``.
        """
        everything = range(len(self.found.acquisitions))
        limit, stop = self.images.in_hand, self.context.stop
        return in_order(self._acquire, everything, limit=limit, stop=stop, grace_s=_GRACE_S)

    def _acquire(self, number: int) -> _Made:
        """Make one product, or record why not."""
        acquisition = self.found.acquisitions[number]
        key = self.layout.product(self.unit.satellite, self.region.name, acquisition.stem)
        made = _Made(acquisition, UnitResult(self.number), self.shelf.look(key, acquisition))
        text = self._what_stays(key, made) or self._make(key, made, number)
        made.text = f"{acquisition.stem}: {text}"
        return made

    def _what_stays(self, key: str, made: _Made) -> str | None:
        """Say why an image that is already there is kept; None if it has to be made."""
        acquisition = made.acquisition
        if made.standing.is_same:
            made.result.skipped += 1
            where = {"unit": self.number, "key": key, "acquisition": acquisition.key}
            made.result.already_there.append(ProductThere(**where, datetime=acquisition.datetime))
            return "already there"
        if made.standing.differs:
            made.leave_out("made_differently", made.standing.differs)
            return "left as it is, made differently"
        return None

    def _make(self, key: str, made: _Made, number: int) -> str:
        acquisition = made.acquisition
        with cog.scratch_folder() as folder:
            path = folder / "image.tif"
            try:
                cloud = None
                if self.images.measures_cloud:
                    cloud, notes = self.images.cloud_or_note(number)
                    made.result.notes += notes
                cloudy = why_cloudy(acquisition, cloud, self.settings)
                if cloudy:
                    made.result.left_out += cloudy
                    return f"left out, {cloud:.1%} under cloud"
                if self.settings.keep_downloads and self.unit.satellite == "sentinel2":
                    self._keep_windows(acquisition)
                drawn = self._draw(number, path, functools.partial(self._tags, acquisition, cloud))
            except GlacierflowError as error:
                if not _is_of_the_scene(error):
                    raise
                made.result.failures.append(error)
                made.leave_out("unreadable", error.message)
                return f"failed: {error.message}"
            made.was_read = True
            uncovered = why_uncovered(acquisition, drawn.coverage, self.least)
            if uncovered:
                made.result.left_out += uncovered
                return f"left out, {drawn.coverage:.1%} covered"
            self._write(key, made, path, drawn, cloud)
        again = ", again for sources that were added" if made.standing.note else ""
        return f"written{again}, {drawn.coverage:.1%} covered"

    def _draw(self, number: int, path: Path, tags: Callable[[float], dict[str, str]]) -> _Drawn:
        """Compute an image band by band into a file; of one that will be left out only the coverage counts.

        Raises:
            DataError, UnavailableError, CredentialsError: it could not be read.
        """
        overview, seconds = Overview(tuple(self.geobox.shape)), 0.0
        valid, free = 0, self.images.pixels
        with contextlib.ExitStack() as stack:
            file: cog.CogFile | None = None
            for band in self.images.bands(number):
                valid, free = valid + band.valid, free - band.pixels.size
                if not is_uncovered((valid + free) / self.images.pixels, self.least):
                    start = time.perf_counter()
                    overview.add(band.sums)
                    if file is None:
                        file = stack.enter_context(self._begin(path, tags(valid / self.images.pixels)))
                    file.add(band.pixels)
                    seconds += time.perf_counter() - start
                del band  # before the next is made
            coverage = valid / self.images.pixels
            if file is not None and not is_uncovered(coverage, self.least):
                start = time.perf_counter()
                file.finish(tags(coverage))
                seconds += time.perf_counter() - start
        return _Drawn(coverage, overview, seconds)

    def _begin(self, path: Path, tags: dict[str, str]) -> cog.CogFile:
        overviews = self.settings.overviews
        return cog.CogFile(path, self.geobox, np.uint16, tags, overviews=overviews)

    def _tags(self, acquisition: Acquisition, cloud: float | None, coverage: float) -> dict[str, str]:
        return lineage.product_tags(
            acquisition, self.region, self.settings, coverage=coverage, region_cloud=cloud
        )

    def _keep_windows(self, acquisition: Acquisition) -> None:
        """Keep the part of each source that the region's rectangle is on, on the source's own grid.

        Raises:
            DataError, UnavailableError, CredentialsError: a source could not be read.
            StoreError: it could not be written.
        """
        for scene in acquisition.scenes:
            name = scene.source_name.removesuffix("_B08.tif")
            key = self.layout.download(self.region.name, scene.datetime.year, name)
            with cog.scratch_folder() as folder:
                path = folder / "window.tif"
                begin = functools.partial(cog.native_window, path)
                if self.images.imagery.keep_window(scene, self.images.chunks, begin):
                    self.store.put_file(key, path)

    def _write(self, key: str, made: _Made, path: Path, drawn: _Drawn, cloud: float | None) -> None:
        """Sidecars first, the product last: where a product is, everything of it is."""
        start, acquisition = time.perf_counter(), made.acquisition
        quicklook, stretch = None, None
        if self.settings.quicklooks:
            stretch = drawn.overview.stretch()
            quicklook = self.context.run.quicklook(self.region.name, acquisition.stem)
            self.store.put(quicklook, drawn.overview.png())
        if self.unit.satellite == "sentinel2":
            line = lineage.individual_line(acquisition).encode()
            self.store.put(self.layout.individual_csv(self.region.name, acquisition.stem), line)
        size, sha256 = path.stat().st_size, cog.file_sha256(path)
        product = Product(acquisition, self.region, self.settings, key, drawn.coverage, size, sha256, cloud)
        put_item(self.store, self.layout, product)
        etag = self.store.put_file(key, path)
        differing = lineage.differing_offsets(acquisition)
        if differing:
            made.result.notes.append(Note(code="differing_offsets", text=f"{acquisition.stem}: {differing}"))
        if made.standing.note:
            made.result.notes.append(made.standing.note)
        if made.standing.superseded:
            made.result.left_out.append(made.standing.superseded)
        made.result.written += 1
        made.result.products.append(
            ProductRecord(
                unit=self.number,
                key=key,
                acquisition=acquisition.key,
                datetime=acquisition.datetime,
                size=size,
                sha256=sha256,
                coverage=round(drawn.coverage, 6),
                sources=tuple(scene.source_name for scene in acquisition.scenes),
                quicklook=quicklook,
                stretch=stretch,
                etag=etag,
            )
        )
        made.result.seconds["write"] = drawn.seconds + time.perf_counter() - start

    def write_template(self) -> list[LeftOut]:
        """An image of ones on the region's grid, for software that snaps to it; why not, if not."""
        key = self.layout.template(self.unit.satellite, self.region.name)
        head = self.store.get_head(key, cog.HEAD_BYTES)
        if head is not None:
            header = cog.read_header(head)
            if header and (header.bounds, header.shape) == (self.region.bounds, tuple(self.geobox.shape)):
                return []
            if not self.settings.reprocess:
                reason = f"{key} is on another grid than the region's; --reprocess replaces it"
                return [LeftOut(item_id=key, code="template_differs", reason=reason)]
        with cog.scratch_folder() as folder:
            path = folder / "template.tif"
            tags = {"GLACIERFLOW_REGION": self.region.name}
            with cog.CogFile(path, self.geobox, np.uint8, tags, overviews=self.settings.overviews) as file:
                for rows in self.images.chunks.rows:
                    file.add(np.ones((rows, self.geobox.shape[1]), np.uint8))
                file.finish()
            self.store.put_file(key, path)
        return []


def _is_of_the_scene(error: GlacierflowError) -> bool:
    """Whether a failure while reading is the source's; else it is the store's, or the end of the attempt."""
    return isinstance(error, DataError | UnavailableError | CredentialsError)


def _refuse_unit(made: _Made) -> None:
    """Where the very first paid read is refused, so will be all: one error instead of a hundred.

    Raises:
        CredentialsError: it was refused before anything could be read.
    """
    paid = any(scene.requester_pays for scene in made.acquisition.scenes)
    for error in made.result.failures:
        if paid and isinstance(error, CredentialsError):
            raise CredentialsError(
                f"requester-pays images may not be read: {error.message}", next_step=error.next_step
            ) from error
