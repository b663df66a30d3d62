"""Whole slots against servers of images: several faults at once, and units that share a tile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
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

from glacierflow.aws import Cloud
from glacierflow.imagery import ranges
from glacierflow.manifest import ArrayRange, Manifest
from glacierflow.model import Region
from glacierflow.receipt import Receipt
from glacierflow.store import LocalStore
from glacierflow.task import process_slot

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
def server(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    monkeypatch.setattr(ranges, "_FIRST_WAIT_S", 0.01)
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


def test_many_faults_at_once_make_a_partial_unit_and_the_same_command_completes_it(
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
    assert (receipt.outcome, receipt.exit_code) == ("partial", 0)
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
