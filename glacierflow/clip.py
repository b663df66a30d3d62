"""The step: one unit in, its products in the store. The only place where search, pixels and store meet.

It knows no AWS words: the same function runs in a Batch child, in a plain process, anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glacierflow import cog, lineage
from glacierflow.budget import acquisitions_in_hand, peak_mb
from glacierflow.clouds import measure_cloud
from glacierflow.errors import (
    CredentialsError,
    DataError,
    GlacierflowError,
    UnavailableError,
)
from glacierflow.flight import in_order, unless_stopped
from glacierflow.gaps import why_all_left_out
from glacierflow.grid import geobox_of, valid_share
from glacierflow.imagery.read import Imagery, Pixels, warm_up
from glacierflow.layout import Layout
from glacierflow.model import Acquisition, LeftOut, Note, Region, Scene, Unit
from glacierflow.product_item import Product
from glacierflow.quicklook import quicklook_png
from glacierflow.receipt import ProductRecord, ProductThere
from glacierflow.resources import memory_budget_mb
from glacierflow.search import search_unit
from glacierflow.sidecars import put_item, rebuild_tree, write_tables
from glacierflow.step import Progress, StepContext, UnitResult
from glacierflow.there import Shelf, Standing
from glacierflow.workers import ClusterImagery

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

__all__ = ["Progress", "StepContext", "UnitResult", "process_unit"]

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
    work = _UnitWork(unit, region, context, result.number)
    if found.acquisitions:
        result.left_out += work.write_template()
        result.notes += work.memory_notes()
    anything_read = False
    try:
        for number, made in enumerate(work.acquire_all(found.acquisitions), 1):
            if not anything_read:
                _refuse_unit(made)
            anything_read = anything_read or made.was_read or bool(made.result.skipped)
            result.add(made.result)
            context.tell(Progress(unit, number, len(found.acquisitions), made.text))
    finally:
        for imagery in (work.imagery, work.maps):
            imagery.close()
            result.bytes_read += imagery.bytes_read
            result.requests += imagery.requests
        result.seconds.update(work.imagery.seconds)
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
        self.result.left_out += [
            LeftOut(item_id=scene.item_id, code=code, reason=reason) for scene in self.acquisition.scenes
        ]


class _UnitWork:
    """One unit's region, grid and destination; its acquisitions are made side by side."""

    def __init__(self, unit: Unit, region: Region, context: StepContext, number: int) -> None:
        self.unit, self.region, self.context, self.number = unit, region, context, number
        self.settings, self.store = context.settings, context.store
        self.layout = Layout(self.settings.base_path, self.settings.folder_structure)
        self.geobox: GeoBox = geobox_of(region, unit.satellite)
        keep = self._keep_window if self.settings.keep_downloads and unit.satellite == "sentinel2" else None
        self.imagery: Imagery | ClusterImagery = (
            Imagery(context.cloud, self.settings, on_window=keep, shared=context.shared)
            if context.cluster is None
            else ClusterImagery(context.cloud, self.settings, context.cluster)
        )
        nearest = self.settings.model_copy(update={"resampling": "nearest"})
        self.maps = Imagery(context.cloud, nearest, shared=context.shared)
        self.shelf = Shelf(self.store, unit, region, self.settings, context.remake)

    def acquire_all(self, acquisitions: Sequence[Acquisition]) -> Iterator[_Made]:
        """Make the products, several in flight; what became of each, in order.

        Raises:
            InterruptedAttempt, StoreError: as ``in_order``.
        """
        limit, stop = self._in_flight(), self.context.stop
        return in_order(self._acquire, acquisitions, limit=limit, stop=stop, grace_s=_GRACE_S)

    def _in_flight(self) -> int:
        """Acquisitions in hand at a time: as many as memory has room for, and no more than help."""
        rows, cols = self.geobox.shape
        workers = self.imagery.threads if isinstance(self.imagery, ClusterImagery) else None
        budget_mb = memory_budget_mb(self.settings.memory_mb)
        return acquisitions_in_hand(rows * cols, budget_mb, workers=workers)

    def memory_notes(self) -> list[Note]:
        """That even one acquisition at a time needs more memory than is allowed, where it does."""
        rows, cols = self.geobox.shape
        needed, allowed = peak_mb(rows * cols, 1), memory_budget_mb(self.settings.memory_mb)
        if needed <= allowed:
            return []
        text = (
            f"{self.region.name} needs about {needed:,.0f} MB with one acquisition at a time, "
            f"more than the {allowed:,.0f} MB that the setting memory or the container allows"
        )
        self.context.tell(Progress(self.unit, 0, 0, text))
        return [Note(code="memory_short", text=text)]

    def _acquire(self, acquisition: Acquisition) -> _Made:
        """Make one product, or record why not."""
        key = self.layout.product(self.unit.satellite, self.region.name, acquisition.stem)
        made = _Made(acquisition, UnitResult(self.number), self.shelf.look(key, acquisition))
        text = self._what_stays(key, made) or self._make(key, made)
        made.text = f"{acquisition.stem}: {text}"
        return made

    def _what_stays(self, key: str, made: _Made) -> str | None:
        """Words if a product of the acquisition is there and stays; None if it is to be made."""
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

    def _make(self, key: str, made: _Made) -> str:
        acquisition = made.acquisition
        try:
            cloud, limit = self._cloud(made), self.settings.max_region_cloud
            if cloud is not None and limit is not None and cloud > limit:
                reason = f"cloud covers {cloud:.1%} of the region, more than {limit:.0%}"
                made.leave_out("region_cloudy", reason)
                return f"left out, {cloud:.1%} under cloud"
            image = self.imagery.mosaic(acquisition.scenes, self.geobox)
        except GlacierflowError as error:
            if not _is_of_the_scene(error):
                raise
            made.result.failures.append(error)
            made.leave_out("unreadable", error.message)
            return f"failed: {error.message}"
        made.was_read = True
        coverage = valid_share(image)
        minimum = self.settings.sentinel2_min_coverage if self.unit.satellite == "sentinel2" else 0.0
        if coverage < minimum or coverage == 0.0:
            reason = f"valid pixels cover {coverage:.1%} of the region, less than {minimum:.0%}"
            made.leave_out("low_coverage", reason if coverage else "no valid pixel in the region")
            return f"left out, {coverage:.1%} covered"
        self._write(key, made, image, coverage, cloud)
        again = ", again for sources that were added" if made.standing.note else ""
        return f"written{again}, {coverage:.1%} covered"

    def _cloud(self, made: _Made) -> float | None:
        """Cloud over the region, where it is to be measured; where it cannot be, a note says so."""
        settings = self.settings
        wanted = settings.measure_cloud or settings.max_region_cloud is not None
        if not wanted or self.unit.satellite == "landsat":
            return None
        why = "no tile has a classification of the region"
        try:
            share = measure_cloud(made.acquisition, self.region, self.maps)
        except (DataError, UnavailableError, CredentialsError) as error:
            share, why = None, error.message
        if share is None:
            text = f"{made.acquisition.stem}: {why}"
            made.result.notes.append(Note(code="cloud_not_measured", text=text))
        return share

    def _write(
        self,
        key: str,
        made: _Made,
        image: NDArray[np.uint16],
        coverage: float,
        cloud: float | None,
    ) -> None:
        """Sidecars first, the product last: where a product is, everything of it is."""
        start, acquisition = time.perf_counter(), made.acquisition
        quicklook = None
        if self.settings.quicklooks:
            quicklook = self.context.run.quicklook(self.region.name, acquisition.stem)
            self.store.put(quicklook, quicklook_png(image))
        if self.unit.satellite == "sentinel2":
            line = lineage.individual_line(acquisition).encode()
            self.store.put(self.layout.individual_csv(self.region.name, acquisition.stem), line)
        tags = lineage.product_tags(
            acquisition, self.region, self.settings, coverage=coverage, region_cloud=cloud
        )

        def describe(size: int, sha256: str) -> None:
            product = Product(acquisition, self.region, self.settings, key, coverage, size, sha256, cloud)
            put_item(self.store, self.layout, product)

        size, sha256, etag = self._put_image(key, image, tags, describe)
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
                coverage=round(coverage, 6),
                sources=tuple(scene.source_name for scene in acquisition.scenes),
                quicklook=quicklook,
                etag=etag,
            )
        )
        made.result.seconds["write"] = time.perf_counter() - start

    def _put_image(
        self,
        key: str,
        image: NDArray[Any],
        tags: dict[str, str],
        describe: Callable[[int, str], None] | None = None,
    ) -> tuple[int, str, str | None]:
        """Write an image whole, then put it; in between its size and checksum may be told."""
        with cog.scratch_folder() as folder:
            path = folder / "image.tif"
            cog.write_cog(path, image, self.geobox, tags, overviews=self.settings.overviews)
            size, sha256 = path.stat().st_size, cog.file_sha256(path)
            if describe is not None:
                describe(size, sha256)
            return size, sha256, self.store.put_file(key, path)

    def write_template(self) -> list[LeftOut]:
        """An image of ones on the region's grid, for software that snaps to it; why not, if not."""
        import numpy as np

        key = self.layout.template(self.unit.satellite, self.region.name)
        head = self.store.get_head(key, cog.HEAD_BYTES)
        if head is not None:
            header = cog.read_header(head)
            if header and (header.bounds, header.shape) == (self.region.bounds, tuple(self.geobox.shape)):
                return []
            if not self.settings.reprocess:
                reason = f"{key} is on another grid than the region's; --reprocess replaces it"
                return [LeftOut(item_id=key, code="template_differs", reason=reason)]
        self._put_image(key, np.ones(self.geobox.shape, np.uint8), {"GLACIERFLOW_REGION": self.region.name})
        return []

    def _keep_window(self, scene: Scene, pixels: Pixels) -> None:
        name = scene.source_name.removesuffix("_B08.tif")
        key = self.layout.download(self.region.name, scene.datetime.year, name)
        with cog.scratch_folder() as folder:
            path = folder / "window.tif"
            cog.write_native_window(path, pixels.data, pixels.transform, pixels.epsg)
            self.store.put_file(key, path)


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
