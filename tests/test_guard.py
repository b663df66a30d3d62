"""Stopping a watched run: at its cost, or when its children all fail alike."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from batch_fake import BatchFake
from runs_samples import NOW, make_receipt, make_started, some_job, some_manifest, status_of
from runs_samples import some_row as row

from glacierflow.cli.batch.spending import guarded_look, limits_of
from glacierflow.cli.context import CommandLine
from glacierflow.cloud import Cloud
from glacierflow.live.family import FamilyLook
from glacierflow.live.look import RunLook
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.layout import RunLayout
from glacierflow.model.receipt import Machine
from glacierflow.runs.ledger import SlotEntry
from glacierflow.runs.progress import Limits, reason_to_stop
from glacierflow.runs.states import AttemptState, BatchView, SlotState
from glacierflow.runs.status import RunStatus, SlotRow, join_status
from glacierflow.store import LocalStore

OFF = Limits(None, 20, 0.5)


def failed(slot: int, reason: str = "no route to ECR in 12 s") -> SlotRow:
    return row(slot, "FAILED", wrong=True, failure="start", reason=reason)


def test_a_run_is_stopped_at_its_limit_and_not_before_nor_after_its_end() -> None:
    running = status_of(row(0, "SUCCEEDED", seconds=3600.0), row(1, "RUNNING", seconds=3600.0))
    at_a_dime = Limits(0.10, 20, 0.5)
    assert reason_to_stop(running, at_a_dime, 0.099) is None
    assert reason_to_stop(running, OFF, 1e6) is None
    assert reason_to_stop(running, at_a_dime, None) is None
    reason = reason_to_stop(running, at_a_dime, 0.10)
    assert reason == "its compute has cost about $0.1, and --max-usd is 0.1"
    ended = status_of(row(0, "SUCCEEDED", seconds=7200.0))
    assert reason_to_stop(ended, at_a_dime, 1e6) is None


def test_the_breaker_needs_enough_children_and_one_signature() -> None:
    limits = Limits(None, 4, 0.5)
    waiting = row(9, "RUNNABLE")
    alike = [failed(0, "no route to ECR in 12 s"), failed(1, "no route to ECR in 7 s"), failed(2)]
    done = row(3, "SUCCEEDED", outcome="done")
    assert reason_to_stop(status_of(*alike, waiting), limits, 0.0) is None
    reason = reason_to_stop(status_of(*alike, done, waiting), limits, 0.0)
    assert reason == "3 of the 4 children ended so far failed alike (start): no route to ECR in 12 s"
    different = [failed(0, "apples"), failed(1, "pears"), failed(2, "plums")]
    assert reason_to_stop(status_of(*different, done, waiting), limits, 0.0) is None
    half = [failed(0), failed(1), done, row(4, "SUCCEEDED", outcome="done")]
    assert reason_to_stop(status_of(*half, waiting), limits, 0.0) is None
    assert reason_to_stop(status_of(*alike, done, waiting), Limits(None, 4, 1.0), 0.0) is None


def looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch, client: Any, *attempts: AttemptEntry, **job: Any
) -> FamilyLook:
    """A run of three slots in two jobs, of which these attempts are known; the first slot runs."""
    monkeypatch.setattr(Cloud, "client", lambda _self, service: client)
    jobs = [some_job(0, 2).model_copy(update=job), some_job(2, 1, number=1).model_copy(update=job)]
    look = RunLook(some_manifest(3), jobs, LocalStore(folder), Cloud())
    for attempt in attempts:
        look.ledger.add_attempt(attempt)
    monkeypatch.setattr(RunLook, "now", as_known)
    return FamilyLook([look])


def as_known(look: RunLook, *, quick: bool = False) -> RunStatus:
    """By the ledger alone: the first slot runs, and what has not ended waits."""
    del quick
    ledger, size = look.ledger, len(look.manifest.slots)
    view = {slot: SlotState("RUNNABLE" if slot else "RUNNING", "job") for slot in range(size)}
    view |= {slot: entry.state_of() for slot, entry in ledger.slots.items()}
    return join_status(look.manifest, BatchView(view), ledger.listed, ledger.attempts, jobs=look.jobs)


def an_attempt(slot: int, seconds: int | None, number: int = 1, **on: Any) -> AttemptEntry:
    """One on a large of two vCPUs that had one of them; without seconds, one that has only started."""
    machine = Machine(instance_type="r6i.large", vcpus=1, memory_mib=7_500, lifecycle="spot", **on)
    receipt = make_receipt(some_manifest(3), slot, attempt=number)
    entry = AttemptEntry.of(receipt if seconds is not None else make_started(some_manifest(3), slot, number))
    ended_at = None if seconds is None else NOW + dt.timedelta(seconds=seconds)
    return entry.model_copy(update={"machine": machine, "ended_at": ended_at})


def two_arrays() -> BatchFake:
    batch = BatchFake()
    batch.add_array("job-0", ["RUNNING", "RUNNABLE"])
    batch.jobs["job-1"] = {"jobId": "job-1", "status": "RUNNABLE", "createdAt": 0}
    return batch


def test_every_job_is_ended_once_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = two_arrays()
    now = guarded_look(looked_at(tmp_path, monkeypatch, batch, an_attempt(1, 3600)), Limits(0.01, 20, 0.5))
    assert (now().states, now().states) == ({"RUNNABLE": 2, "RUNNING": 1}, {"RUNNABLE": 2, "RUNNING": 1})
    # an hour of half an r6i.large of 12.6 cents, spot assumed at 70 %
    said = "Stopped by glacierflow: its compute has cost about $0.0441, and --max-usd is 0.01"
    assert [request for name, request in batch.log if name == "TerminateJob"] == [
        {"jobId": "job-0", "reason": said},
        {"jobId": "job-1", "reason": said},
    ]
    assert "stopped the rest of the run: its compute" in capsys.readouterr().err


def stops(look: FamilyLook, batch: BatchFake, usd: float) -> bool:
    guarded_look(look, Limits(usd, 20, 0.5))()
    return batch.calls["TerminateJob"] > 0


def test_a_child_that_ran_out_of_time_has_cost_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left no receipt; AWS Batch says when it ended, two hours after its start: 8.82 cents."""
    batch = two_arrays()
    look = looked_at(tmp_path, monkeypatch, batch, an_attempt(1, None))
    ended = AttemptState(stopped_at=NOW + dt.timedelta(hours=2))
    timed_out = SlotState("FAILED", "job-0:1", attempts=(ended,), explained=True)
    look.root.ledger.add_slot(SlotEntry.of(1, timed_out))
    assert not stops(look, batch, 0.089)
    assert stops(look, batch, 0.088)


def test_a_retry_on_demand_is_charged_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of spot at 4.41 cents in the run, and one on demand at 6.3 in the retry: 10.71."""
    batch = two_arrays()
    look = looked_at(tmp_path, monkeypatch, batch, an_attempt(1, 3600))
    manifest = some_manifest(1).model_copy(
        update={"run_id": "retry", "root_run_id": look.manifest.run_id, "origin_slots": (1,)}
    )
    arrays = tuple(one.model_copy(update={"on_demand": True}) for one in manifest.arrays)
    retry = RunLook(manifest.model_copy(update={"arrays": arrays}), [], look.store, Cloud())
    retry.ledger.add_attempt(an_attempt(0, 3600).model_copy(update={"machine": None}))
    assert not stops(FamilyLook([look.root, retry]), batch, 0.108)
    assert stops(FamilyLook([look.root, retry]), batch, 0.107)


def test_what_cannot_be_priced_is_said_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = two_arrays()
    odd = an_attempt(1, 3600)
    machine = Machine(instance_type="zz9.large", vcpus=1, memory_mib=7_500, lifecycle="spot")
    look = looked_at(tmp_path, monkeypatch, batch, odd.model_copy(update={"machine": machine}))
    now = guarded_look(look, Limits(0.001, 20, 0.5))
    assert [now().states, now().states] == [{"RUNNABLE": 2, "RUNNING": 1}] * 2
    said = capsys.readouterr().err
    assert said.count("--max-usd cannot stop this run") == 1
    assert "there is no price for zz9.large" in said
    assert batch.calls["TerminateJob"] == 0


def test_a_run_on_lambda_is_marked_so_that_what_waits_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = {"service": "lambda", "job_id": "arn:function", "submitted_at": dt.datetime.now(dt.UTC)}
    look = looked_at(tmp_path, monkeypatch, None, an_attempt(1, 3600), **recent)
    guarded_look(look, Limits(0.01, 20, 0.5))()
    assert look.store.exists(RunLayout(look.manifest.run_id).cancelled)


def test_the_breaker_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert limits_of(CommandLine(), 5.0) == Limits(5.0, 20, 0.5)
    (tmp_path / "aws_config.ini").write_text("[BATCH]\nbreaker_children = 3\nbreaker_share = 0.9\n")
    assert limits_of(CommandLine(), None) == Limits(None, 3, 0.9)
