"""A run to show: real regions, some done, without data, reclaimed or failed, with images and quicklooks."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Sequence

import numpy as np
from big_run import BigRun
from PIL import Image
from runs_samples import NOW, make_receipt

from glacierflow.model.layout import Layout, RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts, ProductRecord, Receipt
from glacierflow.model.records import Note, Region, StepSettings, Unit
from glacierflow.runs.plan import build_manifest

Period = tuple[dt.date, dt.date]

JULY: tuple[Period, ...] = ((dt.date(2024, 7, 1), dt.date(2024, 7, 31)),)


def manifest_of(regions: Sequence[Region], periods: Sequence[Period] = JULY) -> Manifest:
    """One slot a region and period."""
    slots = tuple(
        (Unit(satellite="sentinel2", region=region.name, date1=first, date2=last),)
        for region in regions
        for first, last in periods
    )
    return build_manifest(
        slots, list(regions), StepSettings(), catalogue_sha256="c" * 64, store="s3://made-up", now=NOW
    )


class ShownRun(BigRun):
    """A run whose children leave what real ones leave."""

    def good(self, slot: int, images: int, number: int = 1, *, minutes: float = 20.0) -> None:
        """End well, with images spread over the unit's dates and a quicklook of each."""
        unit, run = self.manifest.slots[slot][0], RunLayout(self.manifest.run_id)
        layout = Layout(self.manifest.settings.base_path)
        days = (unit.date2 - unit.date1).days + 1
        products = []
        for one in range(images):
            when = dt.datetime.combine(unit.date1, dt.time(15, one % 60), dt.UTC)
            when += dt.timedelta(days=one * days // images)
            stem = f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_N0510_R{one % 140:03d}"
            key = layout.product("sentinel2", unit.region, stem)
            quicklook = run.quicklook(unit.region, stem)
            self.s3.objects[key] = b"x"
            self.s3.objects[quicklook] = b"" if images > 20 else picture(slot, one)
            products.append(
                ProductRecord(
                    unit=0,
                    key=key,
                    acquisition=stem,
                    datetime=when,
                    size=1,
                    sha256="0" * 64,
                    coverage=0.9,
                    sources=(stem,),
                    quicklook=quicklook,
                    stretch=(1000.0 + 100 * one, 5000.0 + 100 * one),
                )
            )
        counts = Counts(found=images + 1, kept=images, written=images)
        receipt = make_receipt(
            self.manifest,
            slot,
            "done" if images else "no_data",
            number,
            counts=counts,
            products=tuple(products),
            notes=() if images else (Note(code="polar_night", text="the sun does not rise"),),
        )
        self._end(receipt, slot, number, minutes)
        self.batch.set_child("job-0", slot, status="SUCCEEDED")

    def reclaimed(self, slot: int) -> None:
        """Lose the first attempt to a reclaim."""
        self._end(make_receipt(self.manifest, slot, "interrupted", 1, exit_code=75), slot, 1, 9.0)

    def out_of_memory(self, slot: int) -> None:
        """Be killed."""
        self.attempt(slot, None)
        self.batch.set_child(
            "job-0",
            slot,
            status="FAILED",
            statusReason="Essential container in task exited",
            container={"exitCode": 137, "reason": "OutOfMemoryError: Container killed"},
        )

    def _end(self, receipt: Receipt, slot: int, number: int, minutes: float) -> None:
        begin = NOW + dt.timedelta(minutes=3 * (slot % 8) + 15 * (number - 1))
        took = receipt.model_copy(
            update={"started_at": begin, "ended_at": begin + dt.timedelta(minutes=minutes)}
        )
        run = RunLayout(self.manifest.run_id)
        self._put(run.started(slot, number), took)
        self._put(run.receipt(slot, number, took.outcome), took)


def shown_run(regions: Sequence[Region], images: int = 4) -> ShownRun:
    """Of every nine regions one has no data and one is reclaimed once; the last two run out of memory."""
    run = ShownRun(manifest=manifest_of(regions))
    for slot in range(len(regions)):
        if slot >= len(regions) - 2:
            run.out_of_memory(slot)
        elif slot % 9 == 4:
            run.reclaimed(slot)
            run.good(slot, images, 2)
        else:
            run.good(slot, 0 if slot % 9 == 7 else images)
    return run


def picture(slot: int, number: int) -> bytes:
    """Bands across a valley that lie a little further in each image."""
    y, x = np.mgrid[:90, :120]
    bands = 128 + 90 * np.sin((x + 5 * number) / 7 + slot) * np.exp(-(((y - 45) / 30) ** 2))
    stream = io.BytesIO()
    Image.fromarray(bands.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
