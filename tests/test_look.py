"""Looking at runs: how many calls it takes, what is kept, and what retries and forgetting change."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from big_run import BigRun
from runs_samples import NOW, make_receipt, some_job

from glacierflow.errors import UsageError
from glacierflow.live.look import ask_and_keep
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts, Outcome
from glacierflow.runs.family import RetryMark
from glacierflow.runs.ledger import read_ledger
from glacierflow.runs.progress import estimate_end
from glacierflow.runs.records import write_job
from glacierflow.runs.status import RunStatus

EXITED = "Essential container in task exited"


def quick(run: BigRun) -> RunStatus:
    return run.open().now(quick=True)


def test_status_of_ten_years_of_every_region_takes_at_most_twenty_calls_at_any_time() -> None:
    run = BigRun(1920)
    run.calls()
    assert quick(run).states == {"RUNNABLE": 1920}
    assert run.calls() <= 20
    run.finish(failed=40, reclaimed=0.3)
    for slot in range(0, 600):
        run.batch.set_child("job-0", slot, status="RUNNING" if slot % 2 else "RUNNABLE")
    status = quick(run)
    assert run.calls() <= 20
    assert status.states == {"RUNNABLE": 300, "RUNNING": 300, "SUCCEEDED": 1280, "FAILED": 40}
    assert status.outcomes["done"] == 1880
    assert 500 < status.reclaims < 650
    assert (status.products, status.unread) == (3 * 1880, 0)
    for slot in range(0, 600):
        run.batch.set_child("job-0", slot, status="SUCCEEDED")
    assert quick(run).finished
    assert run.calls() <= 20


def test_of_children_of_an_earlier_version_a_quick_look_reads_no_receipts_and_says_so() -> None:
    run = BigRun(1920, told=False)
    run.finish(failed=40, reclaimed=0.3)
    run.calls()
    status = quick(run)
    assert run.calls() <= 20
    assert status.states == {"SUCCEEDED": 1880, "FAILED": 40}
    assert status.outcomes["done"] == 1880
    assert status.unread == 1880
    status = run.open().now()
    assert (status.products, status.unread) == (3 * 1880, 0)


def test_where_only_some_children_are_told_by_name_the_others_are_read() -> None:
    """A child that was killed between its receipt and the name, and one whose name says nothing we know."""
    run = BigRun(1920)
    run.finish()
    names = sorted(key for key in run.s3.objects if "/told/ended/" in key)
    del run.s3.objects[names[5]]
    run.s3.objects[names[6].rpartition("/")[0] + "/2unknown"] = run.s3.objects.pop(names[6])
    run.s3.objects[names[7].rpartition("/")[0] + "/1damaged"] = run.s3.objects.pop(names[7])
    run.calls()
    status = quick(run)
    assert (status.products, status.unread) == (3 * 1920, 0)
    gets = 3 + 3
    assert run.s3.calls["GetObject"] == gets
    assert quick(run).products == 3 * 1920


def test_a_name_without_its_receipt_is_nobodys_word() -> None:
    """Only attempts in the list of records count: the names merely say more of them."""
    run = BigRun(1920)
    run.finish()
    layout = RunLayout(run.manifest.run_id)
    for slot in range(3):
        del run.s3.objects[layout.receipt(slot, 1, "done")]
        del run.s3.objects[layout.started(slot, 1)]
    status = quick(run)
    assert status.products == 3 * 1917
    assert [row.outcome for row in status.rows[:4]] == [None, None, None, "done"]


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_two_who_look_while_children_end_lose_nothing_and_double_nothing(outcome: Outcome) -> None:
    run = BigRun(1500)
    first, second = run.open(), run.open()
    state = "SUCCEEDED" if outcome == "done" else "FAILED"
    for begin in range(0, 1500, 300):
        for slot in range(begin, begin + 300):
            run.attempt(slot, outcome, counts=Counts(found=5, kept=3, written=3))
            run.batch.set_child("job-0", slot, status=state)
        look = (first, second)[begin // 300 % 2]
        assert look.now(quick=True).products == 3 * (begin + 300)
    for look in (first, second):
        assert look.now().products == 3 * 1500
    ledger = read_ledger(run.store, run.manifest.run_id)
    assert sorted(ledger.attempts) == [(slot, 1) for slot in range(1500)]
    assert sum(entry.counts.written for entry in ledger.attempts.values()) == 3 * 1500


def test_how_long_a_large_run_takes_is_told_without_reading_a_receipt() -> None:
    """300 have run for 100 of 600 s, 720 wait: (300 x 500 + 720 x 600) / 300."""
    run = BigRun(1920, told=False)
    now = round(dt.datetime.now(dt.UTC).timestamp() * 1000)
    for slot in range(900):
        run.attempt(slot, "done")
        times = {"startedAt": now - 3_600_000, "stoppedAt": now - 3_000_000}
        run.batch.set_child("job-0", slot, status="SUCCEEDED", **times)
    for slot in range(900, 1200):
        run.attempt(slot, None)
        run.batch.set_child("job-0", slot, status="RUNNING", startedAt=now - 100_000)
    run.calls()
    eta = estimate_end(quick(run))
    assert run.calls() <= 20
    assert eta.low_s == eta.high_s == pytest.approx(1940, abs=30)
    assert eta.basis == "900 ended children of the same class, 300 running"


def test_after_a_whole_look_everything_comes_from_the_ledger() -> None:
    run = BigRun(1920)
    run.finish(failed=3, reclaimed=0.1)
    run.open().now()
    run.calls()
    status = quick(run)
    assert run.calls() <= 8
    assert (status.products, status.unread) == (3 * 1917, 0)
    assert {row.failure for row in status.rows} == {None, "oom"}
    assert status.exit_code == 1


@pytest.mark.parametrize(("size", "first"), [(192, 15), (1_920, 20), (10_000, 60)])
def test_the_first_whole_look_at_ended_children_takes_few_calls_and_the_next_ten(
    size: int, first: int
) -> None:
    """All outcomes and products are known; of 10,000, S3 lists 41,000 names, a thousand a call."""
    run = BigRun(size)
    run.finish(failed=size // 50, reclaimed=0.05)
    run.calls()
    status = run.open().now()
    assert run.calls() <= first
    good = size - size // 50
    assert (status.products, status.unread, status.unexplained) == (3 * good, 0, 0)
    assert status.states == {"SUCCEEDED": good, "FAILED": size // 50}
    assert {row.failure for row in status.rows} == {None, "oom"}
    assert quick(run).rows == status.rows
    assert run.calls() <= 10


def test_the_first_status_of_ten_thousand_children_shows_their_products() -> None:
    run = BigRun(10_000)
    run.finish(failed=200, reclaimed=0.05)
    run.calls()
    status = quick(run)
    assert run.calls() <= 60
    assert (status.products, status.unread) == (3 * 9_800, 0)


@pytest.mark.parametrize(
    ("outcome", "failure"), [(None, "oom"), ("failed", "bug"), ("unavailable", "service")]
)
def test_where_all_of_ten_years_failed_a_look_takes_at_most_twenty_calls_too(
    outcome: Outcome | None, failure: str
) -> None:
    run = BigRun(1920, told=False)
    run.fail_all(outcome)
    run.calls()
    looks: list[RunStatus] = []
    while not looks or looks[-1].unexplained:
        looks.append(quick(run))
        assert run.calls() <= 20
        assert looks[-1].states == {"FAILED": 1920}
        assert len(looks[-1].wrong) == 1920
        assert {row.failure for row in looks[-1].rows} <= {failure, None}
        assert len(looks) <= 4
    told = 1920 if outcome == "unavailable" else 500
    assert looks[0].unexplained == 1920 - told
    assert outcome == "unavailable" or "has not been asked why yet" in str(looks[0].rows[-1].reason)
    assert {row.failure for row in looks[-1].rows} == {failure}


def test_where_ten_thousand_failed_a_look_takes_a_handful_of_calls_and_pages() -> None:
    run = BigRun(10_000)
    run.fail_all(None)
    run.calls()
    assert quick(run).unexplained == 9_500
    pages = run.s3.calls["ListObjectsV2"] + run.batch.calls["ListJobs"]
    assert pages <= 10 + 10 + 2 + 2
    assert run.calls() - pages <= 12
    assert run.open().now().unexplained == 0


def test_children_that_left_no_receipt_are_explained_first_and_a_cut_one_is_not_called_reclaimed() -> None:
    run = BigRun(1100)
    run.fail_all("interrupted")
    for slot in range(900, 1100):
        key = RunLayout(run.manifest.run_id).receipt(slot, 1, "interrupted")
        del run.s3.objects[key]
    status = quick(run)
    assert all(row.failure is not None for row in status.rows[900:])
    assert sum(row.failure is None for row in status.rows[:900]) == 600
    assert not read_ledger(run.store, run.manifest.run_id).complete


def test_what_batch_forgot_before_anybody_asked_why_has_no_reason_and_is_not_open_for_ever() -> None:
    run = BigRun(600)
    run.fail_all(None)
    assert quick(run).unexplained == 100
    run.batch.forgotten = True
    for status in (run.open().now(), quick(run)):
        assert status.unexplained == 0
        assert [row.failure for row in status.rows].count("killed") == 100
        killed = next(row for row in status.rows if row.failure == "killed")
        assert "Batch gives no reason" in str(killed.reason)


def test_a_small_run_is_read_whole_by_a_quick_look() -> None:
    run = BigRun(23)
    run.finish()
    status = quick(run)
    assert (status.products, status.unread) == (69, 0)


def test_what_batch_said_is_still_known_when_batch_has_forgotten() -> None:
    run = BigRun(4)
    run.finish(failed=1)
    before = quick(run)
    run.batch.forgotten = True
    after = quick(run)
    assert after.rows == before.rows
    assert after.rows[3].failure == "oom"
    assert read_ledger(run.store, run.manifest.run_id).complete


def test_what_batch_forgot_before_anybody_looked_is_never_taken_for_complete() -> None:
    run = BigRun(4)
    run.finish(failed=1)
    run.batch.forgotten = True
    status = quick(run)
    assert status.states == {"FORGOTTEN": 4}
    assert status.rows[3].failure == "killed"
    assert not read_ledger(run.store, run.manifest.run_id).complete
    run.batch.forgotten = False
    assert quick(run).rows[3].failure == "oom"


def test_two_watchers_at_once_keep_one_ledger() -> None:
    run = BigRun(6)
    first, second = run.open(), run.open()
    run.attempt(0, "done")
    run.batch.set_child("job-0", 0, status="SUCCEEDED")
    first.now()
    run.finish()
    second.now()
    first.now()
    ledger = read_ledger(run.store, run.manifest.run_id)
    assert len(ledger.attempts) == 6
    assert ledger.complete


def test_a_store_that_may_only_be_read_is_looked_at_all_the_same() -> None:
    run = BigRun(3)
    run.finish()
    run.s3.denied.add("PutObject")
    look = run.open()
    assert look.now().products == 9
    (notice,) = look.notices
    assert "cannot be kept" in notice


def test_a_job_that_was_not_recorded_is_seen_where_the_store_may_only_be_read() -> None:
    run = BigRun(3)
    run.finish()
    run.batch.jobs["job-0"]["jobName"] = f"gf-{run.manifest.run_id}-0"
    for key in [key for key in run.s3.objects if key.startswith(RunLayout(run.manifest.run_id).jobs_prefix)]:
        del run.s3.objects[key]
    run.s3.denied.add("PutObject")
    assert quick(run).states == {"SUCCEEDED": 3}


def test_a_ledger_of_a_later_version_is_neither_read_nor_replaced() -> None:
    run = BigRun(3)
    run.finish()
    key = RunLayout(run.manifest.run_id).ledger
    run.s3.objects[key] = b"from the future"
    look = run.open()
    assert look.now().products == 9
    assert "not a ledger" in look.notices[0]
    assert run.s3.objects[key] == b"from the future"


def test_a_start_failure_that_a_retry_of_batch_mended_is_counted_once_the_run_has_ended() -> None:
    run = BigRun(2)
    run.finish()
    attempts = [{"statusReason": "Task failed to start", "container": {}}, {"container": {"exitCode": 0}}]
    run.attempt(1, None, 1)
    run.attempt(1, "done", 2)
    run.batch.set_child("job-0", 1, attempts=[*attempts, {"container": {"exitCode": 0}}])
    assert run.open().now().rows[1].attempts == 3


def test_attempts_at_a_job_that_a_state_machine_sent_are_asked_for_too() -> None:
    run = BigRun(2)
    run.finish()
    job = some_job(0, 2).model_copy(
        update={"service": "stepfunctions", "job_id": "arn:one", "job_queue": "glacierflow-spot"}
    )
    write_job(run.store, run.manifest.run_id, job)
    run.batch.jobs["job-0"]["jobName"] = f"gf-{run.manifest.run_id}-0"
    run.attempt(1, "done", 2)
    attempts = [
        {"statusReason": "Task failed to start", "container": {}},
        *[{"container": {"exitCode": 0}}] * 2,
    ]
    run.batch.set_child("job-0", 1, attempts=attempts)
    assert run.open().now().rows[1].attempts == 3
    assert read_ledger(run.store, run.manifest.run_id).complete


@pytest.mark.parametrize("service", ["fargate", "lambda"])
def test_what_a_running_attempt_wrote_at_its_start_is_read_once(service: str) -> None:
    run = BigRun(30)
    for slot in range(30):
        run.attempt(slot, None)
    write_job(run.store, run.manifest.run_id, some_job(0, 30).model_copy(update={"service": service}))
    look = run.open()
    run.calls()
    look.now(quick=True)
    assert run.s3.calls["GetObject"] <= 30 + 2
    run.calls()
    look.now(quick=True)
    assert run.calls() <= 4


def test_when_tasks_started_is_not_asked_of_each_in_a_quick_look() -> None:
    run = BigRun(300)
    for slot in range(300):
        run.attempt(slot, None)
    write_job(run.store, run.manifest.run_id, some_job(0, 300).model_copy(update={"service": "fargate"}))
    run.calls()
    assert quick(run).states == {"RUNNING": 300}
    assert run.calls() <= 20


def retry_of(run: BigRun, slots: tuple[int, ...], states: list[str], minutes: int = 5) -> Manifest:
    created = NOW + dt.timedelta(minutes=minutes)
    manifest = run.manifest.model_copy(
        update={
            "run_id": f"{run.manifest.run_id}-r{minutes}",
            "created_at": created,
            "slots": tuple(run.manifest.slots[slot] for slot in slots),
            "arrays": (run.manifest.arrays[0].model_copy(update={"size": len(slots)}),),
            "root_run_id": run.manifest.run_id,
            "origin_slots": slots,
        }
    )
    mark = RetryMark(run_id=manifest.run_id, created_at=created, origin_slots=slots)
    root = RunLayout(run.manifest.run_id)
    run.store.put(root.retry(manifest.run_id), mark.model_dump_json().encode())
    run.store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    job = some_job(0, len(slots)).model_copy(update={"job_id": f"retry-{minutes}"})
    run.batch.add_array(job.job_id, states)
    write_job(run.store, manifest.run_id, job)
    return manifest


def put_receipt(run: BigRun, manifest: Manifest, slot: int, outcome: Any, **fields: Any) -> None:
    receipt = make_receipt(manifest, slot, outcome, **fields)
    layout = RunLayout(manifest.run_id)
    run.store.put(layout.started(slot, 1), receipt.model_dump_json().encode())
    run.store.put(layout.receipt(slot, 1, outcome), receipt.model_dump_json().encode())


def test_a_retry_takes_the_place_of_the_slots_it_tried_again() -> None:
    run = BigRun(5)
    run.finish(failed=2)
    retry = retry_of(run, (3, 4), ["SUCCEEDED", "RUNNING"])
    put_receipt(run, retry, 0, "done", counts=Counts(kept=3, written=1, skipped=2))
    status = quick(run)
    assert [row.state for row in status.rows] == ["SUCCEEDED"] * 4 + ["RUNNING"]
    assert (status.rows[3].outcome, status.rows[3].attempts, status.rows[3].run_id) == (
        "done",
        2,
        retry.run_id,
    )
    assert (status.rows[4].slot, status.rows[4].run_slot) == (4, 1)
    assert status.retries == (retry.run_id,)
    assert (status.finished, status.exit_code, status.products) == (False, 0, 12)


def test_the_latest_of_several_retries_counts_and_a_retry_leads_to_its_first_run() -> None:
    run = BigRun(3)
    run.finish(failed=1)
    first = retry_of(run, (2,), ["FAILED"], minutes=5)
    run.batch.set_child("retry-5", 0, statusReason="Job attempt duration exceeded timeout")
    second = retry_of(run, (2,), ["SUCCEEDED"], minutes=9)
    put_receipt(run, second, 0, "done")
    for run_id in (run.manifest.run_id, first.run_id, second.run_id):
        run.manifest = run.manifest.model_copy(update={"run_id": run_id})
        status = quick(run)
        assert (status.retries, status.exit_code) == ((first.run_id, second.run_id), 0)


def test_a_retry_that_was_never_sent_changes_nothing() -> None:
    run = BigRun(3)
    run.finish(failed=1)
    retry = retry_of(run, (2,), ["RUNNABLE"])
    for key in [key for key in run.s3.objects if key.startswith(RunLayout(retry.run_id).jobs_prefix)]:
        del run.s3.objects[key]
    del run.batch.jobs["retry-5"]
    assert quick(run).rows[2].failure == "oom"


def test_a_run_nobody_knows_is_a_usage_error() -> None:
    run = BigRun(2)
    run.s3.objects.clear()
    with pytest.raises(UsageError, match="there is no run"):
        quick(run)


def test_a_retry_still_knows_what_went_wrong_when_batch_has_forgotten() -> None:
    run = BigRun(4)
    run.finish(failed=1)
    quick(run)
    run.batch.forgotten = True
    view = ask_and_keep(run.manifest, run.open().jobs, run.store, run.cloud)
    assert view.slots[3].container_reason == "OutOfMemoryError: Container killed"


def test_what_a_retry_or_cancel_asks_is_kept_for_later() -> None:
    run = BigRun(4)
    run.finish(failed=1)
    ask_and_keep(run.manifest, run.open().jobs, run.store, run.cloud)
    run.batch.forgotten = True
    assert quick(run).rows[3].failure == "oom"
