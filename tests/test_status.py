"""Manifest x Batch x receipts: what a run's status says in every case that can be."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from runs_samples import NOW, make_receipt, put_attempt, some_job, some_manifest

from glacierflow.errors import StoreError, UsageError
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts
from glacierflow.model.records import Note
from glacierflow.runs.history import Submission, latest_submission, log_submission
from glacierflow.runs.records import (
    JobRecord,
    ReceiptReader,
    latest_of,
    latest_run,
    list_attempts,
    read_jobs,
    read_run_manifest,
    write_job,
)
from glacierflow.runs.states import BatchView, SlotState
from glacierflow.runs.status import RunStatus, SlotRow, join_status, unended_attempts
from glacierflow.store import LocalStore


class CountingStore(LocalStore):
    """Counts what is asked of it."""

    gets = 0
    lists = 0

    def get(self, key: str) -> bytes | None:
        self.gets += 1
        return super().get(key)

    def list(self, prefix: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
        self.lists += 1
        return super().list(prefix)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


MANIFEST = some_manifest(3)
JOBS = (some_job(0, 3),)


def joined(
    store: LocalStore, states: dict[int, SlotState], *, jobs: tuple[JobRecord, ...] = JOBS
) -> RunStatus:
    reader = ReceiptReader(store, MANIFEST.run_id)
    attempts = list_attempts(store, MANIFEST.run_id)
    records = [*reader.every(attempts), *reader.starts(unended_attempts(attempts))]
    entries = {(record.slot, record.attempt): AttemptEntry.of(record) for record in records}
    return join_status(MANIFEST, BatchView(states), attempts, entries, jobs=jobs)


def row_of(store: LocalStore, state: SlotState | None, *, jobs: tuple[JobRecord, ...] = JOBS) -> SlotRow:
    return joined(store, {0: state} if state else {}, jobs=jobs).rows[0]


def test_a_good_run_counts_its_products_and_exits_0(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0, "done")
    put_attempt(store, MANIFEST, 1, "no_data", counts=Counts(), notes=(Note(code="no_scenes", text="none"),))
    put_attempt(store, MANIFEST, 2, "done")
    status = joined(store, {slot: SlotState("SUCCEEDED", f"job-0:{slot}") for slot in range(3)})
    assert (status.finished, status.exit_code, status.products) == (True, 0, 6)
    assert status.outcomes == {"done": 2, "no_data": 1}
    assert [row.left_out for row in status.rows] == [1, 1, 1]
    assert [row.reason for row in status.rows] == [None, "none", None]


def test_a_partial_slot_is_named_and_not_wrong(store: CountingStore) -> None:
    counts = Counts(found=4, kept=3, written=2, failed=1)
    put_attempt(store, MANIFEST, 0, "partial", counts=counts, error="1 of 3 could not be read: S2A_x")
    row = row_of(store, SlotState("SUCCEEDED", "job-0:0"))
    assert (row.wrong, row.failed_scenes, row.products) == (False, 1, 2)
    assert row.reason == "1 of 3 could not be read: S2A_x"


def test_a_failed_slot_gives_the_receipts_reason_and_batchs(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0, "failed", exit_code=65, error="band 8 of S2A_x is not a TIFF")
    state = SlotState("FAILED", "job-0:0", "Essential container in task exited", exit_code=65)
    row = row_of(store, state)
    assert row.wrong
    assert row.reason == (
        "band 8 of S2A_x is not a TIFF; Batch: Essential container in task exited, exit code 65"
    )
    assert joined(store, {0: state}).exit_code == 1


def test_a_start_without_an_end_is_said_to_be_killed(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0)
    row = row_of(store, SlotState("FAILED", "job-0:0", "OutOfMemoryError: Container killed", exit_code=137))
    assert row.outcome is None
    assert row.reason == (
        "attempt 1 started at 2024-08-01 12:00:05 UTC on ip-10-0-0-7 and left no receipt: it was killed; "
        "Batch: OutOfMemoryError: Container killed, exit code 137"
    )


def test_a_killed_attempt_followed_by_a_good_one_is_good(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0)
    put_attempt(store, MANIFEST, 0, "done", attempt=2)
    row = row_of(store, SlotState("SUCCEEDED", "job-0:0"))
    assert (row.wrong, row.attempts, row.outcome, row.reason) == (False, 2, "done", None)


def test_the_tenth_attempt_is_later_than_the_ninth(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0, "interrupted", attempt=9)
    put_attempt(store, MANIFEST, 0, "done", attempt=10)
    assert row_of(store, SlotState("SUCCEEDED", "job-0:0")).outcome == "done"


def test_a_running_attempt_is_neither_ended_nor_wrong(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0)
    status = joined(store, {slot: SlotState("RUNNING", f"job-0:{slot}") for slot in range(3)})
    assert (status.finished, status.exit_code, status.rows[0].reason) == (False, 0, None)
    assert status.states == {"RUNNING": 3}


def test_succeeded_without_a_trace_is_wrong(store: CountingStore) -> None:
    row = row_of(store, SlotState("SUCCEEDED", "job-0:0"))
    assert row.wrong
    assert row.reason == "Batch says SUCCEEDED, and no attempt left a trace in the store"


def test_failed_before_anything_started_gives_batchs_reason(store: CountingStore) -> None:
    row = row_of(store, SlotState("FAILED", "job-0:0", "Task failed to start"))
    assert row.reason == "every attempt ended before it could write a record; Batch: Task failed to start"


def test_what_batch_forgot_the_receipts_still_answer(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0, "done")
    put_attempt(store, MANIFEST, 1)
    status = joined(store, {})
    assert [row.state for row in status.rows] == ["FORGOTTEN"] * 3
    assert [row.wrong for row in status.rows] == [False, True, True]
    assert status.finished
    assert status.rows[1].reason is not None
    assert status.rows[1].reason.endswith("left no receipt: it was killed")


def test_a_submission_that_broke_off_is_named(store: CountingStore) -> None:
    status = joined(store, {0: SlotState("RUNNING", "job-0")}, jobs=(some_job(0, 1),))
    assert [row.state for row in status.rows] == ["RUNNING", "NOT_SUBMITTED", "NOT_SUBMITTED"]
    assert status.rows[1].reason == "its job was never submitted"
    assert status.exit_code == 1


def test_one_list_and_each_receipt_read_once(store: CountingStore) -> None:
    for slot in range(3):
        put_attempt(store, MANIFEST, slot, "interrupted", attempt=1)
        put_attempt(store, MANIFEST, slot, "done", attempt=2)
    reader = ReceiptReader(store, MANIFEST.run_id)
    store.gets = store.lists = 0
    for _ in range(5):
        receipts = reader.latest(list_attempts(store, MANIFEST.run_id))
    assert (store.lists, store.gets) == (5, 3)
    assert {receipt.attempt for receipt in receipts.values()} == {2}
    assert len(reader.every(list_attempts(store, MANIFEST.run_id))) == 6


def test_strange_files_below_attempts_are_passed_over(store: CountingStore) -> None:
    put_attempt(store, MANIFEST, 0, "done")
    prefix = RunLayout(MANIFEST.run_id).attempts_prefix
    store.put(f"{prefix}notes.txt", b"hello")
    store.put(f"{prefix}0/1.melted.json", b"{}")
    assert list_attempts(store, MANIFEST.run_id)[0].outcomes == {1: "done"}


def test_job_records_come_back_in_order(store: CountingStore) -> None:
    for number in (10, 2, 0):
        write_job(store, MANIFEST.run_id, some_job(number, 2, number))
    assert [job.number for job in read_jobs(store, MANIFEST.run_id)] == [0, 2, 10]


def test_an_unknown_run_names_the_nearest(store: CountingStore) -> None:
    store.put(RunLayout(MANIFEST.run_id).manifest, MANIFEST.model_dump_json().encode())
    assert read_run_manifest(store, MANIFEST.run_id) == MANIFEST
    with pytest.raises(UsageError, match="there is no run") as caught:
        read_run_manifest(store, MANIFEST.run_id[:-1] + "x")
    assert caught.value.next_step == f"did you mean {MANIFEST.run_id}?"


def test_a_manifest_that_is_none_is_said_so(store: CountingStore) -> None:
    store.put(RunLayout(MANIFEST.run_id).manifest, b"{}")
    with pytest.raises(StoreError, match="not a manifest"):
        read_run_manifest(store, MANIFEST.run_id)


def test_latest_run_goes_by_the_time_in_the_id(store: CountingStore) -> None:
    with pytest.raises(UsageError, match="no run"):
        latest_run(store)
    old, new = some_manifest(9), some_manifest(1, now=NOW + dt.timedelta(seconds=1))
    for manifest in (new, old):
        store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    store.put("runs/zzz/manifest.json", b"{}")
    assert latest_run(store) == new.run_id


def of(owner: str | None, second: int) -> Manifest:
    made = some_manifest(2, now=NOW + dt.timedelta(seconds=second))
    return made.model_copy(update={"owner": owner})


def test_in_a_shared_bucket_the_latest_is_ones_own_else_it_is_said_whose(store: CountingStore) -> None:
    mine, unknown, hers = of("ann", 1), of(None, 0), of("bea", 2)
    for manifest in (mine, unknown, hers):
        store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    assert latest_of(store, "ann") == (mine.run_id, None)
    assert latest_of(store, "bea") == (hers.run_id, None)
    assert latest_of(store, "carl") == (hers.run_id, "bea")
    newer = of(None, 3)
    store.put(RunLayout(newer.run_id).manifest, newer.model_dump_json().encode())
    assert latest_of(store, "carl") == (newer.run_id, None)


def test_the_log_of_submissions_tells_clouds_and_buckets_apart(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert latest_submission(home, "s3://a", local=True) is None
    for run_id, bucket, local in (
        ("one", "s3://a", True),
        ("two", "s3://a", True),
        ("three", "s3://a", False),
    ):
        log_submission(home, Submission(run_id=run_id, store=bucket, local=local, submitted_at=NOW))
    with (home / "runs.jsonl").open("a") as log:
        log.write('{"run_id": "half')
    assert latest_submission(home, "s3://a", local=True) == "two"
    assert latest_submission(home, "s3://a", local=False) == "three"
    assert latest_submission(home, "s3://b", local=True) is None


def test_a_log_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(StoreError, match=r"runs\.jsonl"):
        log_submission(
            tmp_path / "home", Submission(run_id="x", store="s3://a", local=True, submitted_at=NOW)
        )


def test_receipts_of_a_row_are_those_of_its_slot() -> None:
    """The join goes by slot, not by order of arrival."""
    attempts = {2: _one("done"), 0: _one("failed")}
    receipts = [make_receipt(MANIFEST, 0, "failed", error="bad"), make_receipt(MANIFEST, 2)]
    entries = {(receipt.slot, 1): AttemptEntry.of(receipt) for receipt in receipts}
    view = BatchView({slot: SlotState("SUCCEEDED", f"job-0:{slot}") for slot in range(3)})
    status = join_status(MANIFEST, view, attempts, entries, jobs=JOBS)
    assert [(row.regions[0][:3], row.outcome) for row in status.rows] == [
        ("000", "failed"),
        ("001", None),
        ("002", "done"),
    ]


def _one(outcome: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    from glacierflow.runs.records import Attempts

    return Attempts({1: outcome})
