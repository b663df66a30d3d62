"""Retries that go to Lambda: what its deadline cut goes on there; what would not fit is not written down."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from runs_samples import put_attempt, some_manifest

from glacierflow.cli.app import run
from glacierflow.cli.batch.retry import show_plan
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.launch.lambda_ import FunctionLauncher
from glacierflow.live.retry import submit_retry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.runs.family import read_family
from glacierflow.runs.retry import Conditions, RetryPlan, RetryUnit, build_retry
from glacierflow.runs.states import FailureClass
from glacierflow.store import LocalStore

SMALL = Conditions(7_500, on_demand=False, timeout_s=None)


class Function:
    """A client for Lambda that is only told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def invoke(self, **request: Any) -> Any:
        self.told.append(json.loads(request["Payload"]))
        return {"StatusCode": 202}


class Bench:
    """A run of three slots on Lambda, of which the last two were cut by the deadline."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, timeout_s: int = 900) -> None:
        self.store, self.function = LocalStore(folder), Function()
        monkeypatch.setattr(Cloud, "client", lambda _self, _service: self.function)
        self.root = some_manifest(3).model_copy(update={"service": "lambda"})
        self.store.put(RunLayout(self.root.run_id).manifest, self.root.model_dump_json().encode())
        for slot, outcome in enumerate(("done", "interrupted", "interrupted")):
            put_attempt(self.store, self.root, slot, outcome)
        self.launcher = FunctionLauncher(
            Cloud(), "glacierflow", "arn:function", 10_240, timeout_s, image="function@sha256:1"
        )

    def retry(self, *failures: FailureClass) -> tuple[Manifest, Any]:
        units = tuple(RetryUnit(slot, failure, SMALL, SMALL) for slot, failure in enumerate(failures, 1))
        family = read_family(self.store, self.root.run_id)
        return submit_retry(family, RetryPlan(units, (), 0), self.store, lambda _arrays: self.launcher)


def test_what_the_deadline_cut_is_invoked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    retry, (job,) = bench.retry("timeout", "timeout")
    where = f"{retry.store}/{RunLayout(retry.run_id).manifest}"
    assert bench.function.told == [{"manifest": where, "slot": 0}, {"manifest": where, "slot": 1}]
    assert (retry.service, retry.image, retry.origin_slots) == ("lambda", "function@sha256:1", (1, 2))
    assert (job.service, job.size) == ("lambda", 2)
    assert len(read_family(bench.store, bench.root.run_id).members) == 2


def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch, timeout_s=5)
    before = {entry.key for entry in bench.store.list("")}
    with pytest.raises(UsageError, match=r"is expected to take .* s of 5, and 1 more") as caught:
        bench.retry("timeout", "timeout")
    assert "--service batch" in (caught.value.next_step or "")
    assert {entry.key for entry in bench.store.list("")} == before
    assert bench.function.told == []


def test_a_run_id_that_is_taken_is_not_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    first, _ = bench.retry("timeout")
    monkeypatch.setattr(
        "glacierflow.live.retry.build_retry",
        lambda *words, now=None, **more: build_retry(*words, now=now or first.created_at, **more),
    )
    second, _ = bench.retry("timeout")
    assert second.created_at == first.created_at + dt.timedelta(seconds=1)
    assert second.run_id != first.run_id


def test_a_limit_that_nothing_would_keep_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "retry", "latest", "--max-usd", "3"]) == 64
    assert "--max-usd stops a run only while it is watched\n  next: add --wait" in capsys.readouterr().err


@pytest.mark.parametrize("service", ["stepfunctions", "ecs", "fargate"])
def test_other_services_are_refused(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "retry", "latest", "--service", service]) == 64
    assert f"--service = {service} cannot retry" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (1, "of its 6 units 000_made_up 2024-07-01..2024-07-31 to do, the others are found done"),
        (6, "003_made_up 2024-07-01..2024-07-31 and 2 more to do, the others are found done"),
        (None, "of its 6 units those that are done are found done"),
    ],
)
def test_a_plan_says_what_becomes_of_the_units_of_a_slot(
    lacking: int | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    apart = some_manifest(6)
    units = tuple(unit for slot in apart.slots for unit in slot)
    root = apart.model_copy(update={"slots": (units,)})
    named = None if lacking is None else units[:lacking]
    plan = RetryPlan((RetryUnit(0, "data", SMALL, SMALL, lacking=named),), (), 0)
    show_plan(root, plan, as_json=False)
    out = capsys.readouterr().out
    assert said in out
    assert "retry   1 of 1 slots: 1 data" in out
    show_plan(root, plan, as_json=True)
    (facts,) = json.loads(capsys.readouterr().out)["units"]
    listed = facts["lacking"]
    assert (listed and [unit["region"] for unit in listed]) == (named and [unit.region for unit in named])


def test_a_plan_of_single_units_is_told_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    root = some_manifest(2)
    show_plan(root, RetryPlan((RetryUnit(1, "data", SMALL, SMALL),), (), 0), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("2024-07-01..2024-07-31  as before")
    assert lines[2] == "retry   1 of 2 units: 1 data"
