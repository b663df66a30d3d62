"""Stopping a watched run: at its cost, or when its children all fail alike."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from batch_fake import BatchFake
from runs_samples import DATE1, DATE2, NOW, some_job, some_manifest

from glacierflow.aws import Cloud
from glacierflow.cli.batch.guarding import guarded_look, limits_of
from glacierflow.cli.context import CommandLine
from glacierflow.layout import RunLayout
from glacierflow.runs.guard import Limits, reason_to_stop, spent_usd
from glacierflow.runs.status import RunStatus, SlotRow
from glacierflow.services.family_look import FamilyLook
from glacierflow.services.look import RunLook
from glacierflow.store import LocalStore

OFF = Limits(None, 0, 0.5)


def row(slot: int, state: str, **fields: Any) -> SlotRow:
    known: dict[str, Any] = {
        "slot": slot,
        "satellite": "sentinel2",
        "regions": (f"{slot:03d}_made_up",),
        "date1": DATE1,
        "date2": DATE2,
        "state": state,
        "outcome": None,
        "attempts": 1,
        "reclaims": 0,
        "products": 0,
        "failed_scenes": 0,
        "left_out": 0,
        "reason": None,
        "failure": None,
        "next_step": None,
        "wrong": False,
        "read": True,
        "seconds": None,
        "memory_mib": 7_500,
        "job_id": None,
        "run_id": "x",
        "run_slot": slot,
    }
    return SlotRow(**(known | fields))


def status_of(*rows: SlotRow) -> RunStatus:
    return RunStatus(run_id="x", created_at=NOW, store="s3://x", rows=rows)


def failed(slot: int, reason: str = "no route to ECR in 12 s") -> SlotRow:
    return row(slot, "FAILED", wrong=True, failure="start", reason=reason)


def price(memory_mib: int | None) -> float:
    return {7_500: 0.10, 15_500: 0.20, None: 0.10}[memory_mib]


def test_what_was_spent_by_hand() -> None:
    status = status_of(
        row(0, "SUCCEEDED", seconds=3600.0),
        row(1, "RUNNING", seconds=1800.0, memory_mib=15_500, attempts=2),
        row(2, "RUNNABLE", attempts=0),
    )
    # an hour at 10 cents, and two attempts of half an hour at 20
    assert spent_usd(status, price) == pytest.approx(0.10 + 2 * 0.5 * 0.20)


def test_a_run_is_stopped_at_its_limit_and_not_before_nor_after_its_end() -> None:
    running = status_of(row(0, "SUCCEEDED", seconds=3600.0), row(1, "RUNNING", seconds=3600.0))
    assert reason_to_stop(running, Limits(0.21, 0, 0.5), price) is None
    assert reason_to_stop(running, OFF, price) is None
    reason = reason_to_stop(running, Limits(0.20, 0, 0.5), price)
    assert reason == "its compute has cost about $0.2, and --max-usd is 0.2"
    ended = status_of(row(0, "SUCCEEDED", seconds=7200.0))
    assert reason_to_stop(ended, Limits(0.1, 0, 0.5), price) is None


def test_the_breaker_needs_enough_children_and_one_signature() -> None:
    limits = Limits(None, 4, 0.5)
    waiting = row(9, "RUNNABLE")
    alike = [failed(0, "no route to ECR in 12 s"), failed(1, "no route to ECR in 7 s"), failed(2)]
    done = row(3, "SUCCEEDED", outcome="done")
    assert reason_to_stop(status_of(*alike, waiting), limits, price) is None
    reason = reason_to_stop(status_of(*alike, done, waiting), limits, price)
    assert reason == "3 of the 4 children ended so far failed alike (start): no route to ECR in 12 s"
    different = [failed(0, "apples"), failed(1, "pears"), failed(2, "plums")]
    assert reason_to_stop(status_of(*different, done, waiting), limits, price) is None
    half = [failed(0), failed(1), done, row(4, "SUCCEEDED", outcome="done")]
    assert reason_to_stop(status_of(*half, waiting), limits, price) is None
    assert reason_to_stop(status_of(*alike, done, waiting), Limits(None, 0, 0.5), price) is None


def looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Any, **job: Any) -> FamilyLook:
    """A run of three slots in two jobs that has cost more than a cent."""
    monkeypatch.setattr(Cloud, "client", lambda _self, service: client)
    jobs = [some_job(0, 2).model_copy(update=job), some_job(2, 1, number=1).model_copy(update=job)]
    look = RunLook(some_manifest(3), jobs, LocalStore(tmp_path), Cloud())
    running = status_of(row(0, "RUNNING", seconds=3600.0))
    monkeypatch.setattr(look, "now", lambda quick=False: running)
    return FamilyLook([look])


def test_every_job_is_ended_once_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = BatchFake()
    batch.add_array("job-0", ["RUNNING", "RUNNABLE"])
    batch.jobs["job-1"] = {"jobId": "job-1", "status": "RUNNABLE", "createdAt": 0}
    now = guarded_look(looked_at(tmp_path, monkeypatch, batch), Limits(0.01, 0, 0.5))
    assert (now().states, now().states) == ({"RUNNING": 1}, {"RUNNING": 1})
    # an hour of 6.3 cents, spot assumed at 40 %
    said = "Stopped by glacierflow: its compute has cost about $0.0252, and --max-usd is 0.01"
    assert [request for name, request in batch.log if name == "TerminateJob"] == [
        {"jobId": "job-0", "reason": said},
        {"jobId": "job-1", "reason": said},
    ]
    assert "stopped what was left of the run: its compute" in capsys.readouterr().err


def test_a_run_on_lambda_is_marked_so_that_what_waits_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = {"service": "lambda", "job_id": "arn:function", "submitted_at": dt.datetime.now(dt.UTC)}
    look = looked_at(tmp_path, monkeypatch, None, **recent)
    guarded_look(look, Limits(0.01, 0, 0.5))()
    assert look.store.exists(RunLayout(look.manifest.run_id).cancelled)


def test_the_breaker_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert limits_of(CommandLine(), 5.0) == Limits(5.0, 20, 0.5)
    (tmp_path / "aws_config.ini").write_text("[BATCH]\nbreaker_children = 3\nbreaker_share = 0.9\n")
    assert limits_of(CommandLine(), None) == Limits(None, 3, 0.9)
