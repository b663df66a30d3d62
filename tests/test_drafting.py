"""Dry runs: images are counted where the run would find them, nothing is started, and plan is submit's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glacierflow.cli.app import run
from glacierflow.cost import image_counts
from glacierflow.cost.image_counts import SceneCounts
from glacierflow.local import control
from glacierflow.local.control import Endpoint
from glacierflow.model.records import Region, StepSettings, Unit

AVERAGE = "images are assumed at a yearly average, not counted: "
VERBS = [["batch", "plan"], ["batch", "submit", "--dry-run"]]


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(control, "up", lambda *_, **__: pytest.fail("the embedded cloud was started"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs of the STAC APIs that are asked, each of which has 7 images a unit."""
    urls: list[str] = []

    def count(units: list[Unit], _: dict[str, Region], settings: StepSettings) -> SceneCounts:
        urls.append(settings.sentinel2_stac_url)
        return SceneCounts(dict.fromkeys(units, 0 if "empty" in urls[0] else 7.0), "counted")

    monkeypatch.setattr(image_counts, "count_scenes", count)
    return urls


def running(monkeypatch: pytest.MonkeyPatch, archive: str | None, host: str = "127.0.0.1") -> None:
    url = f"http://{host}:1"
    endpoint = Endpoint(url, f"{url}/stac", 1, 1, "home", archive)
    monkeypatch.setattr(control, "status", lambda _: endpoint)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run([*words, "--start-end-index", "0:5", "--local", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_an_embedded_cloud_that_runs_counts_its_own_images(
    verb: list[str], monkeypatch: pytest.MonkeyPatch, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    running(monkeypatch, "/images")
    found = shown(capsys, *verb, "--price")
    assert asked == ["http://127.0.0.1:1/stac"]
    assert found["estimate"]["assumptions"][0] == "counted"
    assert found["manifest"]["settings"]["imagery_s3_endpoint"] == "http://127.0.0.1:1"


@pytest.mark.parametrize("verb", VERBS)
def test_without_one_that_runs_averages_are_taken_and_said(
    verb: list[str], asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown(capsys, *verb, "--price")["estimate"]["assumptions"][0]
    assert said.startswith(f"{AVERAGE}the embedded cloud is not running; `glacierflow local up")
    assert not asked


def test_images_that_are_not_served_yet_are_not_counted_as_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ("batch", "plan", "--price")
    running(monkeypatch, None)
    said = shown(capsys, *plan)["estimate"]["assumptions"][0]
    assert said == f"{AVERAGE}the embedded cloud has no images yet; a submission makes a sample"
    running(monkeypatch, "/images")
    said = shown(capsys, *plan, "--archive", str(tmp_path))["estimate"]["assumptions"][0]
    assert f"does not serve {tmp_path} yet" in said
    assert not asked
    running(monkeypatch, "/images", host="empty")
    estimate = shown(capsys, *plan)["estimate"]
    assert estimate["assumptions"][0].startswith(f"{AVERAGE}the embedded cloud serves none of these yet")
    assert asked == ["http://empty:1/stac"]


def test_plan_takes_what_changes_the_plan_as_submit_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--canary", "--all", "--by", "month", "--date1", "2024-05-01", "--date2", "2024-06-30"]
    plan, submit = (shown(capsys, *verb, *words, "--archive", str(tmp_path)) for verb in VERBS)
    assert plan["units_after_canary"] == submit["units_after_canary"] == 7
    assert plan["manifest"]["slots"] == submit["manifest"]["slots"]
    assert len(plan["submit_job"]) == len(submit["submit_job"])
    assert run(["batch", "plan", "--canary", "--measured-by", "a-run"]) == 64
    assert "--canary and --measured-by exclude each other" in capsys.readouterr().err
