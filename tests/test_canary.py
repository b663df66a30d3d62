"""Three units first: which, what they tell, and that no more is sent where they fail or nobody agrees."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws
from runs_samples import DATE1, DATE2, NOW, make_receipt, put_attempt, some_manifest, some_regions

from glacierflow.cli.app import run
from glacierflow.cli.batch import canary as canary_cli
from glacierflow.cli.batch import submit as submit_cli
from glacierflow.cloud import Cloud
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.receipt import Counts
from glacierflow.runs.records import read_run_manifest
from glacierflow.runs.states import BatchView
from glacierflow.runs.status import RunStatus, join_status
from glacierflow.runs.units import plan_units
from glacierflow.runs.workload import choose_canary, expected_seconds, measure
from glacierflow.store import S3Store

WORDS = ["batch", "submit", "--start-end-index", "0:6", "--s3-bucket", "made-up", "--canary"]


def test_the_smallest_the_median_and_the_largest() -> None:
    regions = {
        region.name: region.model_copy(update={"xmin": 0.0, "ymin": 0.0, "xmax": side * 1e3, "ymax": 1e4})
        for region, side in zip(some_regions(5), (30, 10, 50, 20, 40), strict=True)
    }
    units = plan_units("sentinel2", list(regions.values()), DATE1, DATE2)
    assert [unit.region[:3] for unit in choose_canary(units, regions)] == ["001", "000", "002"]
    assert len(choose_canary(units[:2], regions)) == 2
    assert len(choose_canary(units[:1], regions)) == 1


def test_peaks_and_the_median_factor_are_measured() -> None:
    manifest = some_manifest(4)
    regions = dict(manifest.regions)
    unit = manifest.slots[0][0]
    tiles = len(regions[unit.region].mgrs_tiles)
    model = expected_seconds(unit, regions[unit.region], images=10)
    receipts = [
        make_receipt(
            manifest,
            slot,
            outcome,
            counts=Counts(found=10 * tiles, kept=1, written=1),
            peak_memory_mb=1_000.0 * (slot + 1),
        ).model_copy(update={"ended_at": NOW + dt.timedelta(seconds=factor * model)})
        for slot, (factor, outcome) in enumerate([(2, "done"), (3, "done"), (9, "partial"), (99, "failed")])
    ]
    measured = measure(receipts, regions)
    assert measured.time_factor == pytest.approx(3.0)
    assert measured.peak_mb["003_made_up"] == 4_000.0
    assert measure([], regions).time_factor == 1.0


class Ended:
    """What the watch of a canary brings."""

    def __init__(self, exit_code: int, seen: RunStatus) -> None:
        self.exit_code, self.attempts, self.rows = exit_code, seen.attempts, seen.rows


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAws:
    monkeypatch.chdir(tmp_path)
    return FakeAws(monkeypatch)


def come_back(monkeypatch: pytest.MonkeyPatch, exit_code: int, hours: int = 0) -> None:
    def watch(look: Any, ready: Any, terms: Any) -> Ended:
        store = S3Store("made-up", Cloud(embedded=True))
        for slot in range(len(look.manifest.slots)):
            ended_at = NOW + dt.timedelta(hours=hours)
            put_attempt(store, look.manifest, slot, "done", peak_memory_mb=9_000.0, ended_at=ended_at)
            receipt = make_receipt(look.manifest, slot, ended_at=ended_at)
            look.root.ledger.add_attempt(AttemptEntry.of(receipt))
        ledger = look.root.ledger
        seen = join_status(look.manifest, BatchView({}), ledger.listed, ledger.attempts, jobs=look.jobs)
        return Ended(exit_code, seen)

    monkeypatch.setattr(canary_cli, "_watch", watch)


def test_the_rest_is_sent_with_what_was_measured(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    come_back(monkeypatch, 0)
    dates = ["--date1", "2023-05-01", "--date2", "2024-07-31", "--by", "year"]
    assert run([*WORDS, "--yes", *dates]) == 0
    said = capsys.readouterr().err
    assert "times as long as the model says" in said
    assert said.index("the model says") < said.index(" child hours, the longest child")
    store = S3Store("made-up", Cloud(embedded=True))
    runs = [read_run_manifest(store, one) for one in {key.split("/")[1] for key in aws.objects}]
    first, rest = sorted(runs, key=lambda one: one.created_at)
    assert (len(first.slots), len(rest.slots)) == (3, 9)
    assert len({unit for manifest in (first, rest) for slot in manifest.slots for unit in slot}) == 12
    assert (first.canary_run_id, rest.canary_run_id) == (None, first.run_id)
    for verb in ("verify", "cost", "methods"):
        assert f"\n  glacierflow batch {verb} {first.run_id} {rest.run_id} --s3-bucket made-up\n" in said
    assert [(one.size, one.memory_mib) for one in rest.arrays] == [(3, 15_500), (6, 7_500)]


@pytest.mark.parametrize(("most", "code"), [("0.27", 64), ("20", 0)])
def test_the_limit_is_for_the_canary_and_the_rest_together(
    aws: FakeAws,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    most: str,
    code: int,
) -> None:
    """Three children of two hours, each half an r6i.large of 12.6 cents, spot at 70 %: 26.46 cents."""
    come_back(monkeypatch, 0, hours=2)
    watched: list[float | None] = []

    def watch(*_: Any, limits: Any, **__: Any) -> int:
        watched.append(limits.max_usd)
        return 0

    monkeypatch.setattr(submit_cli, "watch_run", watch)
    assert run([*WORDS, "--yes", "--wait", "--max-usd", most]) == code
    said = capsys.readouterr().err
    assert "the canary has cost about $0.26; " in said
    assert len(aws.jobs) == (1 if code else 2)
    if code:
        assert "above --max-usd 0.0054" in said
    else:
        assert watched == [pytest.approx(20 - 0.2646)]


def test_a_canary_that_fails_is_all_that_was_sent(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    come_back(monkeypatch, 1)
    assert run([*WORDS, "--yes"]) == 1
    assert "the rest was not submitted" in capsys.readouterr().err
    assert len(aws.jobs) == 1


def test_nobody_to_ask_is_known_before_anything_is_sent(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(WORDS) == 64
    assert "--canary asks before the rest" in capsys.readouterr().err
    assert aws.calls == []


def test_a_no_is_respected(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    come_back(monkeypatch, 0)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_args, **_more: False)
    assert run(WORDS) == 130
    assert len(aws.jobs) == 1


def test_an_earlier_run_decides_the_classes(aws: FakeAws, capsys: pytest.CaptureFixture[str]) -> None:
    store = S3Store("made-up", Cloud(embedded=True))
    words = [*(word for word in WORDS if word != "--canary"), "--order", "largest"]
    assert run(words) == 0
    (run_id,) = {key.split("/")[1] for key in aws.objects}
    first = read_run_manifest(store, run_id)
    put_attempt(store, first, 5, "done", peak_memory_mb=9_000.0)
    assert run([*words, "--measured-by", run_id, "--date2", "2024-07-30"]) == 0
    (second,) = {key.split("/")[1] for key in aws.objects} - {run_id}
    capsys.readouterr()
    for plan in (["batch", "plan", *words[2:]], [*words, "--dry-run"]):
        assert run([*plan, "--measured-by", run_id, "--json"]) == 0
        arrays = json.loads(capsys.readouterr().out)["manifest"]["arrays"]
        assert [(one["size"], one["memory_mib"]) for one in arrays] == [(1, 15_500), (5, 7_500)]
    later = read_run_manifest(store, second)
    assert [(one.size, one.memory_mib) for one in later.arrays] == [(1, 15_500), (5, 7_500)]
    assert later.slots[0][0].region == first.slots[5][0].region
    assert run([*words, "--measured-by", "nothing"]) == 64
    assert "there is no run nothing" in capsys.readouterr().err
