"""status, why, logs, queue and list as typed: what is shown, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from batch_fake import NoStack
from big_run import BigRun
from logs_fake import LogsFake
from runs_samples import some_manifest

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.model.layout import RunLayout

EXITED = "Essential container in task exited"


class Desk:
    """A user's terminal before fakes of AWS that hold one run."""

    def __init__(self, size: int, monkeypatch: pytest.MonkeyPatch, *, told: bool = True) -> None:
        self.run = BigRun(size, told=told)
        self.logs = LogsFake()
        for name in ("queue", "glacierflow-spot", "glacierflow-ondemand"):
            self.run.batch.add_environment(f"{name}-x86")
            self.run.batch.add_queue(name, f"{name}-x86")
        clients = {
            "batch": self.run.batch,
            "s3": self.run.s3,
            "logs": self.logs,
            "cloudformation": NoStack(),
        }
        monkeypatch.setattr(Cloud, "client", lambda _self, service: clients[service])

    @property
    def run_id(self) -> str:
        return self.run.manifest.run_id

    @property
    def name(self) -> str:
        return self.run.manifest.name


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    for name in ("aws_config.ini", "config.ini"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return Desk(3, monkeypatch)


def typed(capsys: pytest.CaptureFixture[str], *words: str, expect: int = 0) -> str:
    capsys.readouterr()
    assert run(["batch", *words]) == expect
    return capsys.readouterr().out


def test_status_says_where_it_counts_with_prices_of_another_region(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.run.finish(failed=1, reclaimed=1.0)
    here = typed(capsys, "status", desk.run_id, expect=1)
    assert "US dollars so far" in here
    assert "at prices of" not in here
    there = typed(capsys, "status", desk.run_id, "--aws-region", "eu-central-1", expect=1)
    assert " at prices of us-west-2, not of where it runs; `glacierflow batch cost`" in there


def test_status_is_one_screen(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run.finish(failed=1, reclaimed=1.0)
    out = typed(capsys, "status", desk.run_id, expect=1)
    assert "slots     3: 2 SUCCEEDED, 1 FAILED" in out
    assert "attempts  6 (3 interrupted by spot reclaims)" in out
    assert "products  6 new, 0 already there, 6 in all\n" in out
    assert "US dollars so far" in out
    assert "1 x oom, e.g. 002_made_up (slot 2):" in out
    assert f"glacierflow batch retry {desk.name} --only oom" in out
    assert f"log:  glacierflow batch logs {desk.name} --slot 2" in out
    assert "2 of 3 regions done, 1 failure, 6 images" in out


def test_commands_to_copy_lead_to_the_same_run(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run.finish(failed=1)
    where = ["--aws-region", "eu-central-1", "--profile", "science"]
    out = typed(capsys, "status", desk.run_id, *where, expect=1)
    again = "--profile science --aws-region eu-central-1"
    assert f"`glacierflow batch retry {desk.name} {again} --only oom" in out
    assert f"log:  glacierflow batch logs {desk.name} --slot 2 {again}\n" in out
    why = typed(capsys, "why", desk.run_id, "--slot", "2", *where)
    assert f"`glacierflow batch retry {desk.name} {again} --only oom" in why


def test_status_shows_how_the_log_of_each_kinds_example_ends_within_its_calls(
    capsys: pytest.CaptureFixture[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Desk(1920, monkeypatch)
    large.run.fail_all("failed")
    for slot in range(5):
        container = {"exitCode": 70, "reason": f"kind {'abcde'[slot]}", "logStreamName": f"s{slot}"}
        large.run.batch.set_child("job-0", slot, container=container)
        large.logs.write("/aws/batch/job", f"s{slot}", "begin", "working", "Traceback", f"Error: {slot}")
    large.run.calls()
    out = typed(capsys, "status", large.run_id, expect=1)
    assert "        working\n        Traceback\n        Error: " in out
    assert out.count("        Traceback\n") == sum(large.logs.calls.values()) <= 3
    assert large.run.calls() + large.logs.calls.total() <= 20
    found = json.loads(typed(capsys, "status", large.run_id, "--json", expect=1))
    assert [one["log_tail"][:2] for one in found["failures"][:3]].count(["working", "Traceback"]) >= 1


def test_status_as_json_has_groups_range_and_cost(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run.finish(failed=1)
    found = json.loads(typed(capsys, "status", desk.run_id, "--json", expect=1))
    assert [group["failure"] for group in found["failures"]] == ["oom"]
    assert found["eta"]["basis"] == "the run has ended"
    assert (found["attempts"], found["reclaims"], found["unread_receipts"]) == (3, 0, 0)
    assert found["cost"]["attempts"] == 2


def test_a_large_run_of_an_earlier_version_says_what_is_not_counted_yet(
    capsys: pytest.CaptureFixture[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Desk(400, monkeypatch, told=False)
    large.run.finish()
    out = typed(capsys, "status", large.run_id)
    assert (
        "products  0 new, 0 already there, 0 in all (the receipts of 400 slots are not read yet: --receipts)"
        in out
    )
    assert "001_made_up" not in out
    assert "products  1200 new, 0 already there, 1200 in all\n" in typed(
        capsys, "status", large.run_id, "--receipts"
    )
    assert "products  1200 new, 0 already there, 1200 in all\n" in typed(capsys, "status", large.run_id)


def test_a_large_run_that_failed_says_what_batch_was_not_asked_about(
    capsys: pytest.CaptureFixture[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Desk(600, monkeypatch)
    large.run.fail_all(None)
    out = typed(capsys, "status", large.run_id, expect=1)
    assert "500 x oom" in out
    assert "100 x not explained yet" in out
    assert "0 of 600 regions done, 600 failures" in out
    found = json.loads(typed(capsys, "status", large.run_id, "--receipts", "--json", expect=1))
    assert (found["unexplained"], [len(one["slots"]) for one in found["failures"]]) == (0, [600])


def test_why_prints_one_paragraph_and_the_next_step(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run.finish(failed=1)
    paragraph, step = typed(capsys, "why", desk.run_id, "002_made_up").splitlines()
    assert "it ran out of memory" in paragraph
    assert step.startswith(f"next: `glacierflow batch retry {desk.name} --only oom`")
    found = json.loads(typed(capsys, "why", desk.run_id, "--slot", "2", "--json"))
    assert (found["failure"], found["slot"]) == ("oom", 2)


def test_why_of_a_large_run_whose_receipts_nobody_read_knows_those_of_its_slot(
    capsys: pytest.CaptureFixture[str], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Desk(400, monkeypatch)
    large.run.finish()
    (paragraph,) = typed(capsys, "why", large.run_id, "--slot", "7").splitlines()
    assert "is done: 3 products written" in paragraph
    assert large.run.s3.calls["GetObject"] < 20


def test_why_of_a_region_that_is_not_there_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "why", desk.run_id, "002_made_upp"]) == 64
    assert "did you mean 002_made_up" in capsys.readouterr().err


def test_why_and_logs_of_a_region_with_several_slots_name_the_others(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = desk.run.manifest
    region = manifest.slots[0][0].region
    years = tuple((unit.model_copy(update={"region": region}),) for (unit,) in manifest.slots)
    manifest = manifest.model_copy(update={"slots": years})
    desk.run.store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    desk.run.finish(failed=2)
    assert typed(capsys, "why", desk.run_id, region).splitlines()[-1] == (
        "2 more slots of the region, 1 wrong: --slot 2"
    )
    assert run(["batch", "logs", desk.run_id, "--region", region]) == 0
    assert "2 more slots of the region, 1 wrong: --slot 2\n" in capsys.readouterr().err
    desk.run.finish()
    assert "more slots" not in typed(capsys, "why", desk.run_id, "--slot", "1")


def with_log(desk: Desk) -> None:
    first = {"exitCode": 75, "logStreamName": "s1"}
    second = {"exitCode": 0, "logStreamName": "s2"}
    desk.run.attempt(1, "interrupted", 1, exit_code=75)
    desk.run.attempt(1, "done", 2)
    desk.run.batch.set_child(
        "job-0", 1, status="SUCCEEDED", attempts=[{"container": first}, {"container": second}]
    )
    desk.logs.write("/aws/batch/job", "s1", "begin", "SIGTERM")
    desk.logs.write("/aws/batch/job", "s2", "begin again", "done: 3 products")


def test_logs_are_of_the_latest_attempt_or_the_one_named(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    with_log(desk)
    region = ("logs", desk.run_id, "--region", "001_made_up")
    assert typed(capsys, *region).splitlines() == ["begin again", "done: 3 products"]
    assert typed(capsys, *region, "--attempt", "1").splitlines() == ["begin", "SIGTERM"]
    assert typed(capsys, *region, "--grep", "^done|x").splitlines() == ["done: 3 products"]
    (line,) = typed(capsys, *region, "--grep", "done", "--json").splitlines()
    assert json.loads(line)["message"] == "done: 3 products"
    assert typed(capsys, *region, "--follow").splitlines() == ["begin again", "done: 3 products"]


def test_logs_of_a_container_that_never_started_are_batchs_reason(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    start: dict[str, Any] = {
        "statusReason": "Task failed to start",
        "container": {"reason": "CannotPullContainerError: x"},
    }
    desk.run.batch.set_child(
        "job-0", 1, status="FAILED", statusReason="Task failed to start", attempts=[start]
    )
    out = typed(capsys, "logs", desk.run_id, "--slot", "1")
    assert out == (
        "attempt 1 never started its container: Task failed to start; CannotPullContainerError: x\n"
    )
    assert typed(capsys, "logs", desk.run_id, "--slot", "0") == (
        "no attempt has started yet: it is RUNNABLE\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--slot", "1", "--grep", "("], "--grep = ( is not a regular expression"),
        (["--slot", "1", "--attempt", "7"], "slot 1 has no attempt 7"),
        ([], "name one slot"),
    ],
)
def test_logs_refuse_what_makes_no_sense(
    desk: Desk, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with_log(desk)
    assert run(["batch", "logs", desk.run_id, *words]) == 64
    assert sentence in capsys.readouterr().err


def test_queue_shows_both_queues_and_exits_1_where_one_cannot_start_jobs(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    out = typed(capsys, "queue")
    assert "glacierflow-spot  ENABLED, VALID  3 RUNNABLE" in out
    assert "glacierflow-ondemand  ENABLED, VALID  empty" in out
    desk.run.batch.add_environment("glacierflow-spot-x86", status="INVALID", statusReason="no such role")
    assert "INVALID, machines for 0 of at most 256 vCPUs: no such role" in typed(capsys, "queue", expect=1)
    found = json.loads(typed(capsys, "queue", "--json", expect=1))
    assert [queue["healthy"] for queue in found["queues"]] == [False, True]


def test_list_shows_runs_that_batch_has_forgotten(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run.finish()
    typed(capsys, "status", desk.run_id)
    desk.run.batch.forgotten = True
    older = some_manifest(2, now=desk.run.manifest.created_at.replace(year=2023))
    desk.run.store.put(RunLayout(older.run_id).manifest, older.model_dump_json().encode())
    first, second, third, _ = typed(capsys, "list").splitlines()
    assert first == f"{desk.name}  {desk.run_id}"
    assert third == f"{older.name}  {older.run_id}"
    assert second.endswith(
        "; 3 slots, ended: 3 done; products: 9 new, 0 already there, 9 in all; "
        "3 attempts (none interrupted by spot reclaims)"
    )
    found = json.loads(typed(capsys, "list", "--json", "--limit", "1"))
    assert [entry["run_id"] for entry in found["runs"]] == [desk.run_id]
