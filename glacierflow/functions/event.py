"""The predecessor's event, answered as its handler did, by a run of its own."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from glacierflow.cloud import Cloud, cloud_of_child
from glacierflow.errors import GlacierflowError, UsageError
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.products.tree import other_structure
from glacierflow.regions import load_catalogue
from glacierflow.runs.plan import build_manifest, plan_slots
from glacierflow.settings import EVENT, IniFile, LoadedSettings, load_settings
from glacierflow.settings.load import DEFAULT, examine_settings
from glacierflow.store import Store, open_store
from glacierflow.sync.push import CONFIG, PREFIX, read_settings_object
from glacierflow.task import process_slot

log = logging.getLogger("glacierflow")

_DONE, _LEFT, _WRONG = 200, 202, 500
_LIT_MONTHS = range(5, 10)
"""May to September: outside them a Greenland glacier lies in darkness or low sun most of the time."""

_FILLED = {
    "satellite": "sentinel2",
    "region": "140_CentralLindenow",
    "date1": "2024-10-01",
    "date2": "2024-10-05",
    "s3_bucket": "greenland-glacier-data",
}
"""What the predecessor's handler took for a field that an event left out."""

_ECHOED = ("satellite", "region", "job_name")
"""Of an event, in the answer that says what went wrong."""

_SETTINGS = {
    "satellite": "SETTINGS.satellite",
    "date1": "DATES.date1",
    "date2": "DATES.date2",
    "s3_bucket": "STORAGE.s3_bucket",
    "s3_base_path": "STORAGE.s3_base_path",
}


def is_old_event(event: Mapping[str, Any]) -> bool:
    """Whether an event has the predecessor's form."""
    return bool({*_FILLED, "regions", "s3_base_path", "job_name"} & event.keys())


def answer_event(
    event: Mapping[str, Any], remaining_ms: Callable[[], int], stop: threading.Event
) -> dict[str, Any]:
    """Process the regions of an event, one after the other, until it asks to stop.

    Args:
        event: the predecessor's keys.
        remaining_ms: milliseconds until Lambda ends the invocation.
        stop: set shortly before that.

    Returns:
        ``statusCode`` 200 where all is done, 202 where the deadline came first and regions are left (the
        predecessor timed out there), 500 where something went wrong; and ``body``, JSON text.
    """
    with _lines_logged() as lines:
        try:
            manifest, receipts = _process(event, stop)
        except GlacierflowError as error:
            asked = {name: event.get(name, _FILLED.get(name, "unknown")) for name in _ECHOED}
            return _answer(_WRONG, asked | _wrong(error.message, error.exit_code, lines))
    bad = [receipt for receipt in receipts if receipt.exit_code and receipt.outcome != "interrupted"]
    if bad:
        return _answer(
            _WRONG,
            _asked(event, manifest)
            | _wrong(str(bad[0].error), bad[0].exit_code, lines)
            | _facts(manifest, receipts),
        )
    facts = _facts(manifest, receipts)
    body = {
        "message": _message(manifest, facts["left"]),
        **_asked(event, manifest),
        "date1": str(manifest.slots[0][0].date1),
        "date2": str(manifest.slots[0][0].date2),
        "s3_bucket": manifest.store.removeprefix("s3://"),
        "processing_time_remaining": remaining_ms(),
        **facts,
    }
    return _answer(_LEFT if facts["left"] else _DONE, body)


def _process(event: Mapping[str, Any], stop: threading.Event) -> tuple[Manifest, list[Receipt]]:
    cloud = cloud_of_child(os.environ)
    manifest = _manifest(event, cloud)
    store = open_store(manifest.store, cloud)
    other = other_structure(store, manifest)
    if other:
        log.warning("%s", other)
    content = manifest.model_dump_json(indent=1).encode()
    store.put(RunLayout(manifest.run_id).manifest, content, if_absent=True)
    # also what is not begun leaves a receipt that says so, by which a retry finds it
    slots = range(len(manifest.slots))
    return manifest, [process_slot(manifest, slot, store, cloud, stop=stop) for slot in slots]


def _manifest(event: Mapping[str, Any], cloud: Cloud) -> Manifest:
    loaded = _settings(event, cloud)
    settings, catalogue = loaded.settings, load_catalogue()
    regions = catalogue.select(_names(event), None).regions
    dates = settings.dates
    return build_manifest(
        plan_slots(settings.settings.satellite, regions, dates.date1, dates.date2),
        regions,
        settings.step_settings(),
        catalogue_sha256=catalogue.sha256,
        store=f"s3://{settings.storage.s3_bucket}",
        settings_source=loaded.source,
        service="lambda",
    )


def _settings(event: Mapping[str, Any], cloud: Cloud) -> LoadedSettings:
    """Settings of the bucket's config.ini, where it has one, under what the event says.

    A field that neither of them has is filled as the predecessor's handler did.
    """
    bucket = event.get("s3_bucket", _FILLED["s3_bucket"])
    if not bucket:
        raise UsageError("the event names no s3_bucket", next_step="add s3_bucket to the event")
    uri = f"s3://{bucket}/{PREFIX}{CONFIG}"
    store: Store = open_store(f"s3://{bucket}", cloud)
    content, source = IniFile(uri, {}), None
    if store.exists(f"{PREFIX}{CONFIG}"):
        content, source = read_settings_object(uri, cloud)
    origins = examine_settings(config=content).origins
    filled = {key: value for key, value in _FILLED.items() if origins.get(_SETTINGS.get(key, "")) == DEFAULT}
    given = {**filled, **event, "s3_bucket": bucket}
    overrides = {setting: str(given[key]) for key, setting in _SETTINGS.items() if given.get(key)}
    return replace(load_settings(config=content, overrides=overrides, said_by=EVENT), source=source)


def _asked(event: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    unit, region = manifest.slots[0][0], ",".join(slot[0].region for slot in manifest.slots)
    name = event.get("job_name") or f"{unit.satellite}_{region}_{unit.date1}"
    return {"satellite": unit.satellite, "region": region, "job_name": name}


def _names(event: Mapping[str, Any]) -> list[str]:
    given = event.get("regions") or event.get("region", "" if "regions" in event else _FILLED["region"]) or ""
    words = given if isinstance(given, Sequence) and not isinstance(given, str) else [str(given)]
    names = [name for word in words for name in re.split(r"[,\s]+", str(word)) if name]
    if not names:
        raise UsageError("the event names no region", next_step="add region, e.g. 134_Arsuk")
    return names


def _facts(manifest: Manifest, receipts: Sequence[Receipt]) -> dict[str, Any]:
    keys = [product.key for receipt in receipts for product in receipt.products]
    ended = {receipt.slot for receipt in receipts if receipt.outcome != "interrupted"}
    return {
        "run_id": manifest.run_id,
        "s3_location": f"{manifest.store}/{manifest.settings.base_path}/{manifest.slots[0][0].satellite}/",
        "uploaded_files": len(keys),
        "files_uploaded": keys,
        "left": [units[0].region for slot, units in enumerate(manifest.slots) if slot not in ended],
    }


def _message(manifest: Manifest, left: Sequence[str]) -> str:
    unit = manifest.slots[0][0]
    months = {month % 12 + 1 for month in range(*_month_range(unit.date1, unit.date2))}
    dark = "" if months & set(_LIT_MONTHS) else "; no month of May to September is in the range"
    if left:
        return f"stopped before the deadline, progress is saved; left: {', '.join(left)}{dark}"
    return f"{unit.satellite} processing completed{dark}"


def _month_range(first: Any, last: Any) -> tuple[int, int]:  # noqa: ANN401 - two dates
    return first.year * 12 + first.month - 1, last.year * 12 + last.month


def _wrong(error: str, code: int, lines: Sequence[str]) -> dict[str, Any]:
    return {
        "error": error,
        "returncode": code,
        "processing_stdout": "\n".join(lines),
        "processing_stderr": error,
    }


def _answer(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"statusCode": status, "body": json.dumps(body)}


@contextmanager
def _lines_logged() -> Iterator[list[str]]:
    """What is logged meanwhile, a line each."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keep = Keep()
    log.addHandler(keep)
    try:
        yield lines
    finally:
        log.removeHandler(keep)
