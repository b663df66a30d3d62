"""The step: one unit in, its products in the store. The only place where search, pixels and store meet.

It knows no AWS words: the same function runs in a Batch child, in a plain process, anywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from glacierflow import cog, lineage
from glacierflow.clouds import measure_cloud
from glacierflow.errors import (
    CredentialsError,
    DataError,
    GlacierflowError,
    InterruptedAttempt,
    UnavailableError,
)
from glacierflow.gaps import why_all_left_out
from glacierflow.grid import geobox_of
from glacierflow.layout import Layout, acquisition_of
from glacierflow.model import Acquisition, LeftOut, Note, Region, Scene, Unit
from glacierflow.mosaic import valid_share
from glacierflow.product_item import Product
from glacierflow.quicklook import quicklook_png
from glacierflow.read import Imagery, Pixels
from glacierflow.receipt import ProductRecord, ProductThere
from glacierflow.search import search_unit
from glacierflow.sidecars import put_item, rebuild_tree, write_tables
from glacierflow.step import Progress, StepContext, UnitResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

__all__ = ["Progress", "StepContext", "UnitResult", "process_unit"]

_T = TypeVar("_T")

_GRACE_S = 20.0
"""Seconds the acquisition in hand may take after SIGTERM; AWS kills 30 s after it."""


def process_unit(unit: Unit, region: Region, context: StepContext, result: UnitResult) -> None:
    """Make all products of a unit that are not there yet; ``result`` tells the truth at any moment.

    Raises:
        InterruptedAttempt: the process was asked to stop; finished products are in the store.
        UnavailableError, DataError: the search failed.
        CredentialsError: imagery that needs credentials, and there are none.
        StoreError: an output could not be written.
    """
    settings = context.settings
    if unit.satellite == "landsat":
        context.cloud.require_imagery_credentials(settings.imagery_s3_endpoint)
    start = time.perf_counter()
    found = _unless_stopped(
        lambda: search_unit(unit, region, settings), context.stop, 0.0, "the search was dropped"
    )
    result.seconds["search"] = time.perf_counter() - start
    result.found = found.items
    result.left_out += found.left_out
    result.notes += found.notes
    context.tell(Progress(unit, 0, len(found.acquisitions), f"{found.items} STAC items found"))
    work = _UnitWork(unit, region, context, result)
    if found.acquisitions:
        work.write_template()
    try:
        for number, acquisition in enumerate(found.acquisitions, 1):
            if context.stop.is_set():
                raise InterruptedAttempt("asked to stop; the acquisitions that are finished are saved")
            text = work.acquire(acquisition)
            context.tell(Progress(unit, number, len(found.acquisitions), text))
    finally:
        work.imagery.close()
        result.bytes_read, result.requests = work.imagery.bytes_read, work.imagery.requests
        result.seconds.update(work.imagery.seconds)
    write_tables(context.store, work.layout, unit, region, found)
    rebuild_tree(context.store, work.layout, unit.satellite, region)
    if found.items and not result.counts.kept:
        result.notes.append(why_all_left_out(found.items, result.left_out))


class _UnitWork:
    """One unit's region, grid and destination."""

    def __init__(self, unit: Unit, region: Region, context: StepContext, result: UnitResult) -> None:
        self.unit, self.region, self.context, self.result = unit, region, context, result
        self.settings, self.store = context.settings, context.store
        self.layout = Layout(self.settings.base_path, self.settings.folder_structure)
        self.geobox: GeoBox = geobox_of(region, unit.satellite)
        keep = self._keep_window if self.settings.keep_downloads and unit.satellite == "sentinel2" else None
        self.imagery = Imagery(context.cloud, self.settings, on_window=keep)
        self._has_read = False
        self._baselines: dict[str | None, str] | None = None

    def acquire(self, acquisition: Acquisition) -> str:
        """Make one product, or record why not; returns what happened in words."""
        key = self.layout.product(self.unit.satellite, self.region.name, acquisition.stem)
        there = self._what_is_there(key, acquisition)
        if there is not None:
            return there
        try:
            cloud, limit = self._cloud(acquisition), self.settings.max_region_cloud
            if cloud is not None and limit is not None and cloud > limit:
                text = f"cloud covers {cloud:.1%} of the region, more than {limit:.0%}"
                self._leave_out(acquisition, "region_cloudy", text)
                return f"{acquisition.stem}: left out, {cloud:.1%} under cloud"
            image = self._compute(acquisition)
            self._has_read = True
        except GlacierflowError as error:
            if not _is_of_the_scene(error):
                raise
            self._refuse_unit(acquisition, error)
            self.result.failures.append(error)
            self._leave_out(acquisition, "unreadable", error.message)
            return f"{acquisition.stem}: failed: {error.message}"
        coverage = valid_share(image)
        minimum = self.settings.sentinel2_min_coverage if self.unit.satellite == "sentinel2" else 0.0
        if coverage < minimum or coverage == 0.0:
            text = f"valid pixels cover {coverage:.1%} of the region, less than {minimum:.0%}"
            self._leave_out(acquisition, "low_coverage", text if coverage else "no valid pixel in the region")
            return f"{acquisition.stem}: left out, {coverage:.1%} covered"
        self._write(key, acquisition, image, coverage, cloud)
        return f"{acquisition.stem}: written, {coverage:.1%} covered"

    def _refuse_unit(self, acquisition: Acquisition, error: GlacierflowError) -> None:
        """Where the very first paid read is refused, so will be all: one error instead of a hundred.

        Raises:
            CredentialsError: it was refused before anything could be read.
        """
        paid = any(scene.requester_pays for scene in acquisition.scenes)
        if isinstance(error, CredentialsError) and paid and not self._has_read:
            raise CredentialsError(
                f"requester-pays images may not be read: {error.message}", next_step=error.next_step
            ) from error

    def _what_is_there(self, key: str, acquisition: Acquisition) -> str | None:
        """Words if a product of the acquisition is there and stays; None if it is to be made."""
        head = self.store.get_head(key, cog.HEAD_BYTES)
        if head is None:
            return self._other_baseline(key, acquisition)
        if key in self.context.remake:
            return None
        header = cog.read_header(head)
        made_by = header.tags.get(lineage.PRODUCTION_TAG) if header else None
        if made_by == lineage.production_hash(acquisition, self.region, self.settings):
            self.result.skipped += 1
            where = {"unit": self.result.number, "key": key, "acquisition": acquisition.key}
            self.result.already_there.append(ProductThere(**where, datetime=acquisition.datetime))
            return f"{acquisition.stem}: already there"
        if self.settings.reprocess:
            return None
        reason = f"{key} is there, made from other sources or with other settings; --reprocess replaces it"
        self._leave_out(acquisition, "made_differently", reason)
        return f"{acquisition.stem}: left as it is, made differently"

    def _other_baseline(self, key: str, acquisition: Acquisition) -> str | None:
        """The same for a product of another processing baseline, which has another name."""
        if self.unit.satellite == "landsat":
            return None
        if self._baselines is None:
            prefix = self.layout.products_prefix(self.unit.satellite, self.region.name)
            self._baselines = {acquisition_of(entry.key): entry.key for entry in self.store.list(prefix)}
        other = self._baselines.get(acquisition.key)
        if other is None:
            return None
        if self.settings.reprocess:
            reason = f"superseded by {key}, of another processing baseline"
            self.result.left_out.append(LeftOut(item_id=other, code="superseded", reason=reason))
            return None
        reason = f"{other} is there, of another processing baseline; --reprocess makes {acquisition.stem} too"
        self._leave_out(acquisition, "made_differently", reason)
        return f"{acquisition.stem}: left out, another processing baseline is there"

    def _cloud(self, acquisition: Acquisition) -> float | None:
        """Cloud over the region, where it is to be measured; where it cannot be, a note says so."""
        settings = self.settings
        wanted = settings.measure_cloud or settings.max_region_cloud is not None
        if not wanted or self.unit.satellite == "landsat":
            return None
        why = "no tile has a classification of the region"
        try:
            share = _unless_stopped(
                lambda: measure_cloud(acquisition, self.region, settings, self.context.cloud),
                self.context.stop,
                _GRACE_S,
                f"{acquisition.stem} was dropped unfinished",
            )
        except (DataError, UnavailableError, CredentialsError) as error:
            share, why = None, error.message
        if share is None:
            self.result.notes.append(Note(code="cloud_not_measured", text=f"{acquisition.stem}: {why}"))
        return share

    def _compute(self, acquisition: Acquisition) -> NDArray[np.uint16]:
        """The mosaic in memory; after SIGTERM it has a grace period, then it is dropped."""
        dropped = f"{acquisition.stem} was dropped unfinished"
        return _unless_stopped(
            lambda: self.imagery.mosaic(acquisition.scenes, self.geobox), self.context.stop, _GRACE_S, dropped
        )

    def _write(
        self,
        key: str,
        acquisition: Acquisition,
        image: NDArray[np.uint16],
        coverage: float,
        cloud: float | None,
    ) -> None:
        """Sidecars first, the product last: where a product is, everything of it is."""
        start = time.perf_counter()
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
            self.result.notes.append(Note(code="differing_offsets", text=f"{acquisition.stem}: {differing}"))
        self.result.written += 1
        self.result.products.append(
            ProductRecord(
                unit=self.result.number,
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
        seconds = self.result.seconds
        seconds["write"] = seconds.get("write", 0.0) + time.perf_counter() - start

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
            cog.write_cog(path, image, self.geobox, tags)
            size, sha256 = path.stat().st_size, cog.file_sha256(path)
            if describe is not None:
                describe(size, sha256)
            return size, sha256, self.store.put_file(key, path)

    def write_template(self) -> None:
        """An image of ones on the region's grid, for software that snaps to it."""
        import numpy as np

        key = self.layout.template(self.unit.satellite, self.region.name)
        head = self.store.get_head(key, cog.HEAD_BYTES)
        if head is not None:
            header = cog.read_header(head)
            if header and (header.bounds, header.shape) == (self.region.bounds, tuple(self.geobox.shape)):
                return
            if not self.settings.reprocess:
                reason = f"{key} is on another grid than the region's; --reprocess replaces it"
                self.result.left_out.append(LeftOut(item_id=key, code="template_differs", reason=reason))
                return
        self._put_image(key, np.ones(self.geobox.shape, np.uint8), {"GLACIERFLOW_REGION": self.region.name})

    def _leave_out(self, acquisition: Acquisition, code: str, reason: str) -> None:
        self.result.left_out += [
            LeftOut(item_id=scene.item_id, code=code, reason=reason) for scene in acquisition.scenes
        ]

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


def _unless_stopped(work: Callable[[], _T], stop: threading.Event, grace_s: float, dropped: str) -> _T:
    """Do some work; once asked to stop, wait for it no longer than the grace period.

    Raises:
        InterruptedAttempt: it was not finished by then. Its thread is left behind.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="step")
    try:
        future = pool.submit(work)
        deadline = None
        while not wait([future], timeout=0.2).done:
            if stop.is_set():
                deadline = deadline if deadline is not None else time.monotonic() + grace_s
                if time.monotonic() >= deadline:
                    raise InterruptedAttempt(f"asked to stop; {dropped}")
        return future.result()
    finally:
        pool.shutdown(wait=False)
