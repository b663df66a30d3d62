"""What another version left in a run is told in a sentence, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs_samples import make_started, some_job, some_manifest

from glacierflow.errors import StoreError
from glacierflow.model.layout import RunLayout
from glacierflow.runs.records import ReceiptReader, list_attempts, read_jobs, read_run_manifest, write_job
from glacierflow.store import LocalStore

MANIFEST = some_manifest(1)
RUN = RunLayout(MANIFEST.run_id)


def change(store: LocalStore, key: str, record: str, **changes: Any) -> None:
    store.put(key, json.dumps(json.loads(record) | changes).encode())


def test_a_receipt_of_another_version_is_named_with_the_version_that_reads_it(tmp_path: Path) -> None:
    store, started = LocalStore(tmp_path), make_started(MANIFEST, 0).model_dump_json()
    store.put(RUN.started(0, 1), started.encode())
    newer = {"schema_version": 2, "code_version": "9.9.0", "colour": "blue"}
    change(store, RUN.receipt(0, 1, "done"), started, **newer)
    reader, attempts = ReceiptReader(store, MANIFEST.run_id), list_attempts(store, MANIFEST.run_id)
    for read in (reader.latest, reader.every):
        with pytest.raises(StoreError, match=r"1\.done\.json is not a receipt that glacierflow") as said:
            read(attempts)
        assert said.value.next_step == "glacierflow 9.9.0 wrote it and can read it"
    change(store, RUN.started(0, 1), started, code_version="9.9.0", colour="blue")
    with pytest.raises(StoreError, match=r"is not the start of an attempt .*: colour: Extra inputs"):
        reader.started(0, 1)


@pytest.mark.parametrize("content", [b"", b"[]", b"\x00not json", b'{"run_id": 7}'])
def test_what_is_no_record_at_all(tmp_path: Path, content: bytes) -> None:
    store = LocalStore(tmp_path)
    write_job(store, MANIFEST.run_id, some_job(0, 1))
    for key, kind in ((RUN.manifest, "a manifest"), (RUN.job(0), "a job's record")):
        store.put(key, content)
        with pytest.raises(StoreError, match=f"is not {kind} that glacierflow") as said:
            (read_run_manifest if key == RUN.manifest else read_jobs)(store, MANIFEST.run_id)
        assert "it is damaged" in str(said.value.next_step)
