"""Runs listed from their names and ledgers, in few calls."""

from __future__ import annotations

from big_run import BigRun
from runs_samples import NOW, some_manifest
from s3_fake import S3Fake

from glacierflow.model.layout import RunLayout
from glacierflow.runs.history import list_runs


def test_runs_come_newest_first_with_what_the_last_look_saw() -> None:
    run = BigRun(3)
    older = some_manifest(2, now=NOW.replace(year=2023))
    run.store.put(RunLayout(older.run_id).manifest, b"{}")
    run.finish(failed=1)
    run.open().now()
    newest, oldest = list_runs(run.store, limit=10)
    assert newest.run_id == run.manifest.run_id
    assert (newest.size, newest.ended, newest.complete) == (3, 3, True)
    assert newest.outcomes == {"done": 2, "killed": 1}
    assert (newest.satellite, newest.date1.isoformat(), newest.regions) == ("sentinel2", "2024-07-01", "0_2")
    assert (oldest.run_id, oldest.size, oldest.submitted_at.year) == (older.run_id, None, 2023)


def test_what_runs_is_not_called_killed() -> None:
    run = BigRun(4)
    run.finish(failed=1)
    run.attempt(1, None, 2)
    run.batch.set_child("job-0", 1, status="RUNNING")
    run.open().now()
    (entry,) = list_runs(run.store, limit=10)
    assert entry.outcomes == {"done": 2, "killed": 1, "running": 1}


def test_a_thousand_runs_of_thousands_of_objects_take_a_call_and_one_for_each_shown() -> None:
    run = BigRun(500)
    run.finish()
    for day in range(1, 29):
        for hour in range(20):
            manifest = some_manifest(2, now=NOW.replace(month=2, day=day, hour=hour))
            run.store.put(RunLayout(manifest.run_id).manifest, b"{}")
    run.calls()
    assert len(list_runs(run.store, limit=5)) == 5
    assert run.calls() == 6


def test_folders_that_are_no_runs_and_broken_ledgers_do_not_stop_the_list() -> None:
    run = BigRun(2)
    run.store.put("runs/notes/readme.txt", b"hello")
    run.store.put(RunLayout(run.manifest.run_id).ledger, b"broken")
    (entry,) = list_runs(run.store, limit=10)
    assert "not a ledger" in (entry.notice or "")


def test_an_empty_store_has_no_runs() -> None:
    run = BigRun(2)
    assert isinstance(run.s3, S3Fake)
    run.s3.objects.clear()
    assert list_runs(run.store, limit=10) == ()
