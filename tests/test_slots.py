"""Whole slots against servers of images: several faults at once, and units that share a tile."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from http_servers import Api
from numpy.typing import NDArray
from range_faults import FaultyServer
from samples import make_unit, real_region
from test_task import api as api
from test_task import local_items, make_manifest, process

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import ArrayRange, Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.model.records import Region, Unit
from glacierflow.runs.coverage import coverage_of
from glacierflow.runs.family import Family, read_family
from glacierflow.runs.methods import exclusions_csv, methods_markdown, methods_of
from glacierflow.runs.verify import verify_run
from glacierflow.search.acquisitions import search_unit
from glacierflow.step import unit as unit_module
from glacierflow.step.context import Progress
from glacierflow.store import LocalStore
from glacierflow.task import process_slot

pytestmark = pytest.mark.usefixtures("waits")

DAYS = range(1, 10)


def content() -> bytes:
    """The real image."""
    return Path(local_items("sentinel2")[0]["assets"]["nir"]["href"]).read_bytes()


def item_of(day: int, server: FaultyServer) -> dict[str, Any]:
    """The real item as if of another day, its image on a server."""
    text = json.dumps(local_items("sentinel2")[0])
    text = text.replace("20160529", f"2016050{day}").replace("2016-05-29", f"2016-05-0{day}")
    item: dict[str, Any] = json.loads(text)
    item["assets"]["nir"]["href"] = f"{server.url}/{day}.tif"
    return item


@pytest.fixture
def server(api: Api) -> Iterator[FaultyServer]:
    server = FaultyServer(dict.fromkeys((f"{day}.tif" for day in DAYS), content()))
    api.items = [item_of(day, server) for day in DAYS]
    yield server
    server.close()


def pixels(receipt: Receipt, where: Path) -> dict[str, NDArray[np.uint16]]:
    found = {}
    for product in receipt.products:
        with rasterio.open(where / product.key) as image:
            found[Path(product.key).stem] = image.read(1)
    return found


def test_many_faults_at_once_cost_their_scenes_alone_and_the_next_attempt_completes_the_unit(
    api: Api, server: FaultyServer, tmp_path: Path
) -> None:
    seen: set[str] = set()

    def once(name: str, fault: Any) -> Any:
        def decide(first: int) -> Any:
            if first == 0 or name in seen:
                return None
            seen.add(name)
            return fault

        return decide

    server.faults = {
        "2.tif": lambda first: 503 if first else None,
        "3.tif": lambda first: "flipped" if first else None,
        "4.tif": lambda _first: "page",
        "5.tif": once("5.tif", "cut"),
        "6.tif": lambda _first: 404,
        "7.tif": lambda _first: "changed",
        "8.tif": once("8.tif", 503),
    }
    server.files["9.tif"] = content()[: len(content()) // 3]
    api.faults = [503]
    manifest = make_manifest(api, tmp_path)
    manifest = manifest.model_copy(
        update={"settings": manifest.settings.model_copy(update={"request_attempts": 2})}
    )
    receipt = process(manifest)
    # 2.tif may come yet
    assert (receipt.outcome, receipt.exit_code) == ("unavailable", 75)
    assert receipt.counts.model_dump() == {"found": 9, "kept": 9, "written": 3, "skipped": 0, "failed": 6}
    said = {
        entry.item_id.split("_")[2][-1]: entry.reason
        for entry in receipt.left_out
        if entry.code == "unreadable"
    }
    for day, words in {
        "2": "HTTP 503 SlowDown (2 tries)",
        "3": "is corrupt",
        "4": "it is not a TIFF",
        "6": "HTTP 404",
        "7": "it changed on the server",
        "9": "it is cut short",
    }.items():
        assert f"/{day}.tif could not be read" in said[day]
        assert words in said[day]
    assert len(said) == 6
    assert all(reason.isprintable() and "\\x" not in reason for reason in said.values())
    first = pixels(receipt, tmp_path)
    server.faults, server.files["9.tif"] = {}, content()
    again = process(manifest)
    assert (again.outcome, again.exit_code) == ("done", 0)
    assert again.counts.model_dump() == {"found": 9, "kept": 9, "written": 6, "skipped": 3, "failed": 0}
    made = first | pixels(again, tmp_path)
    assert len(made) == 9
    (right, *others) = made.values()
    assert right.std() > 100
    for other in others:
        np.testing.assert_array_equal(other, right)


def halves() -> tuple[Region, Region]:
    whole = real_region("902_Berlin")
    middle = round((whole.xmin + whole.xmax) / 200) * 100
    west = whole.model_copy(update={"name": "902_west", "xmax": middle})
    return west, whole.model_copy(update={"name": "903_east", "xmin": middle, "index": whole.index + 1})


def manifest_of(api: Api, where: Path, *regions: Region) -> Manifest:
    """One slot with a unit for each region."""
    return make_manifest(api, where).model_copy(
        update={
            "regions": {region.name: region for region in regions},
            "slots": (tuple(make_unit(region.name) for region in regions),),
            "arrays": (ArrayRange(first_slot=0, size=1),),
        }
    )


def test_two_neighbours_in_one_slot_fetch_what_they_share_once(
    api: Api, server: FaultyServer, tmp_path: Path
) -> None:
    receipts, images = [], {}
    for name, regions in {"packed": halves(), "west": halves()[:1], "east": halves()[1:]}.items():
        folder = tmp_path / name
        receipt = process_slot(
            manifest_of(api, folder, *regions), 0, LocalStore(folder), Cloud(), stop=threading.Event()
        )
        assert receipt.outcome == "done"
        receipts.append(receipt)
        images[name] = {product.key: product.sha256 for product in receipt.products}
    packed, west, east = receipts
    assert images["packed"] == images["west"] | images["east"]
    assert len(images["packed"]) == 2 * len(DAYS)
    headers = sum(header["Range"].startswith("bytes=0-") for header in server.headers[: packed.requests])
    assert headers == len(DAYS), "nine files were opened once each"
    assert packed.requests < west.requests + east.requests
    assert packed.bytes_read < 0.9 * (west.bytes_read + east.bytes_read)


@dataclass(frozen=True)
class Packed:
    """One slot with six units: complete, empty, partial, all bad, cut by the deadline, not begun."""

    manifest: Manifest
    server: FaultyServer
    store: LocalStore
    receipt: Receipt
    again: Callable[[], Receipt]

    @property
    def family(self) -> Family:
        return read_family(self.store, self.manifest.run_id)


SPANS = ((1, 2), (3, 3), (4, 5), (6, 6), (7, 8), (9, 9))
"""First and last day of each unit."""


@pytest.fixture
def packed(api: Api, server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packed:
    everything = api.items

    def search(unit: Unit, *rest: Any) -> Any:
        api.items = [item for item in everything[unit.date1.day - 1 : unit.date2.day] if unit.date1.day != 3]
        return search_unit(unit, *rest)

    monkeypatch.setattr(unit_module, "search_unit", search)
    dates = [(dt.date(2016, 5, first), dt.date(2016, 5, last)) for first, last in SPANS]
    region = real_region("902_Berlin")
    unit = make_unit(region.name)
    units = tuple(unit.model_copy(update={"date1": first, "date2": last}) for first, last in dates)
    manifest = manifest_of(api, tmp_path, region).model_copy(update={"slots": (units,)})
    store = LocalStore(tmp_path)
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    server.faults = {f"{day}.tif": lambda _first: 404 for day in (4, 6)}
    stop = threading.Event()

    def cut(progress: Progress) -> None:
        if progress.unit.date1.day == SPANS[4][0]:
            stop.set()

    receipt = process_slot(manifest, 0, store, Cloud(), stop=stop, tell=cut)
    return Packed(
        manifest,
        server,
        store,
        receipt,
        lambda: process_slot(manifest, 0, store, Cloud(), stop=threading.Event()),
    )


def test_of_several_units_the_receipt_tells_of_each(packed: Packed) -> None:
    receipt = packed.receipt
    assert (receipt.outcome, receipt.exit_code) == ("interrupted", 75)
    ends = receipt.unit_ends
    assert [end.outcome for end in ends] == [
        "done",
        "no_data",
        "partial",
        "failed",
        "interrupted",
        "interrupted",
    ]
    assert [(end.counts.found, end.counts.written, end.counts.failed) for end in ends] == [
        (2, 2, 0),
        (0, 0, 0),
        (2, 1, 1),
        (1, 0, 1),
        (2, 0, 0),
        (0, 0, 0),
    ]
    assert [end.error for end in ends[:2]] == [None, None]
    assert "1 of 2 acquisitions could not be read" in str(ends[2].error)
    assert "/4.tif" in str(ends[2].error)
    assert "1 of 1 acquisitions could not be read" in str(ends[3].error)
    assert "/6.tif" in str(ends[3].error)
    assert str(ends[4].error).startswith("asked to stop")
    assert str(ends[5].error).startswith("not begun: asked to stop")
    left = [[entry.item_id for entry in receipt.left_out_of(number)] for number in range(6)]
    assert left == [[], [], ["S2A_33UUU_20160504_0_L2A"], ["S2A_33UUU_20160506_0_L2A"], [], []]
    assert [note.code for note in receipt.notes_of(1)] == ["archive_gap"]
    assert Receipt.model_validate_json(receipt.model_dump_json()) == receipt


def test_each_unit_of_a_slot_is_verified_by_itself(packed: Packed) -> None:
    report = verify_run(packed.family, packed.store)
    states = ["complete", "no_data", "partial", "missing", "missing", "missing"]
    assert [unit.state for unit in report.units] == states
    reasons = [unit.reason for unit in report.units]
    assert reasons[0] is None
    assert reasons[1] == packed.receipt.notes_of(1)[0].text
    assert "/4.tif" in str(reasons[2])
    assert str(reasons[3]).startswith("no attempt finished; the last ended failed: 1 of 1 acquisitions")
    assert str(reasons[5]).startswith("no attempt finished; the last ended interrupted: not begun: ")
    cells = coverage_of(report.units).row("902_Berlin")
    assert [cell and cell.state for cell in cells] == states


def test_another_try_of_the_slot_makes_only_what_was_not_done(packed: Packed) -> None:
    packed.server.faults = {}
    again = packed.again()
    assert [(end.outcome, end.counts.skipped, end.counts.written) for end in again.unit_ends] == [
        ("done", 2, 0),
        ("no_data", 0, 0),
        ("done", 1, 1),
        ("done", 0, 1),
        ("done", 0, 2),
        ("done", 0, 1),
    ]
    assert verify_run(packed.family, packed.store).states == {"complete": 5, "no_data": 1}


def test_methods_count_the_units_of_a_slot_and_not_the_slot(packed: Packed) -> None:
    methods = methods_of(packed.family)
    text = methods_markdown(methods)
    assert (
        "Of 6 units of work 1 were completed, 1 had no usable image, 1 lack images that could not be read "
        "and 3 were not finished" in text
    )
    assert "returned 4 items, which made 3 images; 1 items or acquisitions were left out" in text
    (row,) = csv.DictReader(io.StringIO(exclusions_csv(methods)))
    assert (row["date1"], row["date2"], row["item"]) == (
        "2016-05-04",
        "2016-05-05",
        "S2A_33UUU_20160504_0_L2A",
    )


def test_where_nothing_could_be_read_for_lack_of_access_no_unit_was_begun(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UsageError("requester-pays images may not be read")

    monkeypatch.setattr("glacierflow.task.require_paid_access", refuse)
    manifest = make_manifest(api, tmp_path, "landsat")
    manifest = manifest.model_copy(update={"slots": (manifest.slots[0] * 2,)})
    receipt = process(manifest)
    assert [(end.outcome, end.error) for end in receipt.unit_ends] == [
        ("failed", "not begun: requester-pays images may not be read")
    ] * 2
