"""A run that an earlier version made is understood by this one: the same answers, and its children go on."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded import BatchBench
from http_servers import Api

from glacierflow.cli.app import run
from glacierflow.local.control import Endpoint

pytestmark = pytest.mark.embedded

RECORDED = Path(__file__).with_name("recorded")
RUNS = RECORDED / "bucket" / "runs"
RETRY, ROOT = sorted((path.name for path in RUNS.iterdir()), key=lambda name: "_n4-" in name)
BUCKET = "made-by-an-earlier-version"


@pytest.fixture(scope="module")
def bucket(cloud_endpoint: Endpoint) -> str:
    s3 = BatchBench(cloud_endpoint.url).s3
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for path in RUNS.rglob("*"):
        if path.is_file():
            key = path.relative_to(RECORDED / "bucket").as_posix()
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    return BUCKET


def answer(verb: str, *words: str, capsys: pytest.CaptureFixture[str], expect: int = 0) -> Any:
    capsys.readouterr()
    code = run([verb, *words, "--local", "--quiet", "--s3-bucket", BUCKET, "--json"])
    said = capsys.readouterr()
    assert code == expect, said
    return json.loads(said.out)


def recorded(name: str) -> Any:
    return json.loads((RECORDED / "answers" / name).read_text())


def repriced(attempt: dict[str, Any]) -> float:
    """Dollars of an attempt today: 0.1.0 assumed spot at 40 % of on-demand, this version at 45 %."""
    usd: float = attempt["usd"]
    return usd * 45 / 40 if attempt["lifecycle"] == "spot" else usd


def test_status_of_an_earlier_version_s_run_is_the_same(
    at_cloud: Endpoint, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    now, then = answer("status", ROOT, capsys=capsys), recorded("status.json")
    assert set(then) <= set(now)
    costs = now["cost"].pop("usd"), then["cost"].pop("usd")
    # 0.1.0 did not tell its new images from others, and missed reclaims that left no word
    assert (now.pop("new"), now.pop("already_there")) == (then["products"], 0)
    assert (now.pop("reclaims"), then.pop("reclaims")) == (6, 2)
    attempts = [slot["attempts"] for slot in then["slots"]]
    for slot, earlier, made in zip(now["slots"], then["slots"], attempts, strict=True):
        assert slot.pop("new") == earlier["products"]
        assert slot.pop("reclaims") == max(earlier.pop("reclaims"), made - 1)
    assert now == then
    assert costs[0] == pytest.approx(sum(repriced(one) for one in recorded("cost.json")["attempts"]))


def test_cost_why_and_methods_are_the_same(
    at_cloud: Endpoint, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    now, then = answer("cost", ROOT, capsys=capsys), recorded("cost.json")
    for attempt, earlier in zip(now["attempts"], then["attempts"], strict=True):
        assert attempt["usd"] == pytest.approx(repriced(earlier))
        for money in ("usd", "usd_hour", "price_source"):
            assert attempt.pop(money)
            del earlier[money]
        assert attempt == earlier
    assert now["usd"] == pytest.approx(sum(repriced(one) for one in recorded("cost.json")["attempts"]))
    assert (set(now["wasted"]), now["products"]) == (set(then["wasted"]), then["products"])
    assert answer("why", ROOT, "130_yngvarnielson", capsys=capsys) == recorded("why.json")
    capsys.readouterr()
    assert run(["methods", ROOT, "--local", "--quiet", "--s3-bucket", BUCKET]) == 0
    assert capsys.readouterr().out == (RECORDED / "answers" / "methods.md").read_text()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.items = []
    yield api
    api.server.shutdown()
    api.server.server_close()


def test_a_child_of_a_run_in_flight_goes_on_after_an_upgrade(api: Api, tmp_path: Path) -> None:
    """The old manifest, and the old attempts beside it; only where it searches and writes is another."""
    shutil.copytree(RUNS, tmp_path / "runs")
    path = tmp_path / "runs" / ROOT / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["settings"]["sentinel2_stac_url"] = api.url
    manifest["store"] = str(tmp_path)
    path.write_text(json.dumps(manifest))
    environment = {
        **os.environ,
        "GLACIERFLOW_MANIFEST": str(path),
        "AWS_BATCH_JOB_ARRAY_INDEX": "0",
        "AWS_BATCH_JOB_ATTEMPT": "2",
    }
    # as the old job definition starts it
    child = subprocess.run(
        [sys.executable, "-m", "glacierflow.task"], env=environment, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stdout + child.stderr
    attempts = path.parent / "attempts" / "0"
    # attempt 2 is that of the old version, whose record stays
    assert (attempts / "2.interrupted.json").read_bytes() == (
        RUNS / ROOT / "attempts" / "0" / "2.interrupted.json"
    ).read_bytes()
    receipt = json.loads((attempts / "3.no_data.json").read_text())
    assert (receipt["attempt"], receipt["slot"], receipt["run_id"]) == (3, 0, ROOT)


@pytest.mark.parametrize(
    "handler",
    ["glacierflow.services.lambda_handler.handler", "glacierflow.services.scheduler.handler.handler"],
)
def test_functions_that_are_deployed_find_their_handlers_after_an_upgrade(handler: str) -> None:
    module, _, name = handler.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
