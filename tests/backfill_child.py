"""A child for the test of a whole run: the real task, or a stand-in where pixels do not matter.

Which it is stands at the end of its region's name. Stand-ins leave the same receipts and products as the
task, stop when they are told to, and go on where an earlier attempt was stopped.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.layout import Layout, RunLayout
from glacierflow.manifest import Manifest
from glacierflow.receipt import BatchPlace, Counts, ProductRecord, ProductThere, Receipt, Started
from glacierflow.store import Store, open_store, split_s3_uri

HOG_MIB = 1300
PRODUCTS = {"slow": 9}
"""Products of a unit; one each by default."""
SECONDS_A_PRODUCT = 3.5
"""Longer than the 3 s within which a reclaim comes: an attempt that is taken back never was about to end."""


def main() -> int:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cloud = Cloud(region=os.environ["AWS_REGION"], embedded=True)
    bucket, key = split_s3_uri(os.environ["GLACIERFLOW_MANIFEST"])
    store = open_store(f"s3://{bucket}", cloud)
    manifest = Manifest.model_validate_json(store.get(key) or b"")
    index = os.environ.get("AWS_BATCH_JOB_ARRAY_INDEX") or os.environ["GLACIERFLOW_INDEX"]
    slot = int(os.environ["GLACIERFLOW_SLOT_OFFSET"]) + int(index)
    kind = manifest.slots[slot][0].region.rpartition("_")[2]
    if kind in {"real", "corrupt", "empty"}:
        os.execv(sys.executable, [sys.executable, "-m", "glacierflow.task"])  # noqa: S606 - the task itself
    return stand_in(manifest, slot, kind, store, stop)


def stand_in(manifest: Manifest, slot: int, kind: str, store: Store, stop: threading.Event) -> int:
    run, unit = RunLayout(manifest.run_id), manifest.slots[slot][0]
    attempt = int(os.environ["AWS_BATCH_JOB_ATTEMPT"])
    started = Started(
        run_id=manifest.run_id,
        slot=slot,
        attempt=attempt,
        units=manifest.slots[slot],
        started_at=dt.datetime.now(dt.UTC),
        host="stand-in",
        code_version="0",
        batch=BatchPlace(job_id=os.environ["AWS_BATCH_JOB_ID"], attempt=attempt),
    )
    store.put(run.started(slot, attempt), started.model_dump_json().encode())
    if kind == "hungry":
        hog = bytearray(HOG_MIB << 20)
        hog[::4096] = b"x" * len(hog[::4096])
    layout = Layout(manifest.settings.base_path, manifest.settings.folder_structure)
    written: list[ProductRecord] = []
    there: list[ProductThere] = []
    for number in range(PRODUCTS.get(kind, 1)):
        key = layout.product(unit.satellite, unit.region, f"S2A_stand_in_{number:02d}")
        place: dict[str, Any] = {
            "unit": 0,
            "key": key,
            "acquisition": str(number),
            "datetime": started.started_at,
        }
        if store.exists(key):
            there.append(ProductThere(**place))
        elif stop.wait(SECONDS_A_PRODUCT):
            return end(store, run, started, written, there, "interrupted", 75)
        else:
            written.append(put(store, place, f"{unit.region} {number}".encode() * 100))
    return end(store, run, started, written, there, "done", 0)


def put(store: Store, place: dict[str, Any], data: bytes) -> ProductRecord:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.tif"
        path.write_bytes(data)
        etag = store.put_file(place["key"], path)
    digest = hashlib.sha256(data).hexdigest()
    return ProductRecord(**place, size=len(data), sha256=digest, coverage=1.0, sources=(), etag=etag)


def end(
    store: Store,
    run: RunLayout,
    started: Started,
    written: list[ProductRecord],
    there: list[ProductThere],
    outcome: Any,
    code: int,
) -> int:
    kept = len(written) + len(there)
    receipt = Receipt(
        **started.model_dump(),
        ended_at=dt.datetime.now(dt.UTC),
        outcome=outcome,
        exit_code=code,
        counts=Counts(found=kept, kept=kept, written=len(written), skipped=len(there)),
        products=tuple(written),
        already_there=tuple(there),
        error="asked to stop" if code else None,
    )
    store.put(run.receipt(started.slot, started.attempt, outcome), receipt.model_dump_json().encode())
    return code


if __name__ == "__main__":
    sys.exit(main())
