"""A whole run that goes wrong in every way at once, put right step by step, as a person would do it.

23 children on the embedded cloud with 30 % simulated reclaims: one runs out of memory, one out of time, one
has a corrupt source and one no scenes. The run id is fixed, so that seeded reclaims hit the same children.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from embedded import REGION, wait_for
from samples import make_region, read_item, real_archive

from glacierflow.aws import Cloud
from glacierflow.cli.app import run as type_command
from glacierflow.local import control
from glacierflow.manifest import Manifest
from glacierflow.runs import plan as plan_module
from glacierflow.runs.family import read_family
from glacierflow.runs.records import read_jobs, read_run_manifest
from glacierflow.runs.states import SlotState
from glacierflow.services.family import find_standings
from glacierflow.services.jobs import describe_run
from glacierflow.services.places import find_places
from glacierflow.settings import load_settings
from glacierflow.store import S3Store, open_store

pytestmark = pytest.mark.embedded

CHILDREN = 23
SPECIAL = {3: "hungry", 7: "slow", 11: "corrupt", 15: "empty", 19: "real"}
HUNGRY, SLOW, CORRUPT, EMPTY, TRUE = SPECIAL
SIDE_M = 1500
"""Side of a region; Berlin's rectangle of the real archive holds 6 x 6 of them."""
RUN_ID = "sentinel2-20160501-20160630-0_22-20261124T150000Z-bacf11"
SEED = 44
"""Of the reclaims: with this run id one child, none of the special ones, loses every attempt."""

ATTEMPTS = 4
"""Of the deployed definitions."""

TIME_LIMIT_S = 1440
"""Batch seconds; 24 real ones."""
CLOCK = 60.0


@dataclass
class Backfill:
    """The home of a user who has submitted a run, and what they would type."""

    home: Path
    folder: Path
    manifest: Manifest
    cloud: Cloud
    store: S3Store

    def types(self, *words: str, expect: int) -> None:
        files = ["--config", str(self.folder / "config.ini"), "--aws-config", str(self.folder / "aws.ini")]
        assert type_command(["batch", *words, "--local", *files]) == expect, words

    def slots(self, manifest: Manifest) -> dict[int, SlotState]:
        return describe_run(read_jobs(self.store, manifest.run_id), self.cloud).slots

    def failures(self) -> dict[int, str]:
        loaded = load_settings(environ={}, aws_config=self.folder / "aws.ini")
        family = read_family(self.store, self.manifest.run_id)
        standings = find_standings(family, self.store, self.cloud, find_places(loaded, None))
        return {one.slot: one.failure for one in standings if one.failure}


def names() -> list[str]:
    return [f"{number:03d}_{SPECIAL.get(number, 'plain')}" for number in range(CHILDREN)]


def bounds_of(number: int) -> tuple[float, float, float, float]:
    """Squares from the north down; the corrupt and the empty one lie apart, in the last row."""
    place = {CORRUPT: 30, EMPTY: 35}.get(number, number)
    xmin, ymax = 3525300 + SIDE_M * (place % 6), -2227200 - SIDE_M * (place // 6)
    return xmin, ymax - SIDE_M, xmin + SIDE_M, ymax


def write_regions(path: Path) -> None:
    with path.open("w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["region", "mgrs_tiles", "xmin", "ymin", "xmax", "ymax"])
        for number, name in enumerate(names()):
            lines.writerow([name, "33UUU", *bounds_of(number)])


def outline(xmin: float, ymin: float, xmax: float, ymax: float) -> dict[str, Any]:
    return make_region(bounds=(xmin, ymin, xmax, ymax)).geometry


def write_archive(folder: Path) -> None:
    """The two real scenes over the first rows, and a third over one region alone whose image is no image."""
    shutil.copytree(real_archive() / "sentinel-2-l2a", folder / "sentinel-2-l2a")
    paths = sorted(folder.rglob("*.json"))
    assert len(paths) == 2, f"the real archive is not there: {real_archive()}"
    for path in paths:
        item = read_item(path)
        # a little within the rectangle, so that it does not touch the last row
        item["geometry"] = outline(3525300, -2227200 - 4 * SIDE_M, 3525300 + 6 * SIDE_M, -2227200)
        path.write_text(json.dumps(item))
    text = paths[0].read_text().replace("20160529", "20160618")
    item = json.loads(text.replace("2016-05-29", "2016-06-18"))
    xmin, ymin, xmax, ymax = bounds_of(CORRUPT)
    item["geometry"] = outline(xmin + 100, ymin + 100, xmax - 100, ymax - 100)
    place = folder / "sentinel-2-l2a" / item["id"]
    place.mkdir()
    (place / f"{item['id']}.json").write_text(json.dumps(item))
    (place / "B08.tif").write_text("<html>Service unavailable</html>")


def redefine(batch: Any) -> None:
    """The deployed definitions, scaled down: 1,000 and 2,000 MiB stand for 7,500 and 15,500.

    Their retry rules stay, and all else but command, memory and time limit.
    """
    child = Path(__file__).with_name("backfill_child.py")
    accepted = batch.meta.service_model.operation_model("RegisterJobDefinition").input_shape.members
    for memory_class, memory_mib in ((7_500, 1_000), (15_500, 2_000)):
        (deployed,) = batch.describe_job_definitions(
            jobDefinitionName=f"glacierflow-{memory_class}", status="ACTIVE"
        )["jobDefinitions"]
        needs = deployed["containerProperties"]["resourceRequirements"]
        scaled = [one for one in needs if one["type"] != "MEMORY"]
        assert len(scaled) == len(needs) - 1
        changes = {
            "command": ["python", str(child)],
            "resourceRequirements": [*scaled, {"type": "MEMORY", "value": str(memory_mib)}],
        }
        request = {key: value for key, value in deployed.items() if key in accepted} | {
            "containerProperties": deployed["containerProperties"] | changes,
            "timeout": {"attemptDurationSeconds": TIME_LIMIT_S},
        }
        assert request["retryStrategy"]["attempts"] == ATTEMPTS
        batch.register_job_definition(**request)


@pytest.fixture
def backfill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backfill]:
    monkeypatch.setenv("GLACIERFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.ini").write_text("[IMAGERY]\nquicklooks = 0\n")
    # by name, for the stack's outputs name the revisions it deployed
    (tmp_path / "aws.ini").write_text("[BATCH]\njob_definition = glacierflow\n")
    write_regions(tmp_path / "regions.csv")
    write_archive(tmp_path / "archive")
    home = control.default_home()
    endpoint = control.up(
        home, archive=tmp_path / "archive", vcpus=12, clock=CLOCK, spot_reclaim=0.3, seed=SEED
    )
    cloud = Cloud(region=REGION, endpoint_url=endpoint.url, embedded=True)
    redefine(cloud.client("batch"))
    store = open_store(f"s3://{control.DEFAULT_BUCKET}", cloud)
    assert isinstance(store, S3Store)
    yield Backfill(home, tmp_path, submit(tmp_path, store), cloud, store)
    control.down(home)


def submit(folder: Path, store: S3Store) -> Manifest:
    """By the command; only its run id is ours."""

    def named(*arguments: Any, **more: Any) -> Manifest:
        return build_manifest(*arguments, **more).model_copy(update={"run_id": RUN_ID})

    build_manifest = plan_module.build_manifest
    words = ["--start-end-index", f"0:{CHILDREN}", "--date1", "2016-05-01", "--date2", "2016-06-30"]
    files = ["--archive", "archive", "--regions-file", "regions.csv"]
    files += ["--config", "config.ini", "--aws-config", "aws.ini"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "build_manifest", named)
        assert type_command(["batch", "submit", *words, *files, "--local", "--quiet"]) == 0
    manifest = read_run_manifest(store, RUN_ID)
    assert [slot[0].region for slot in manifest.slots] == names()
    return manifest


def flip_a_byte(store: S3Store, home: Path, key: str) -> None:
    """Change a byte of an object on the embedded cloud's disk."""
    data = store.get(key)
    assert data is not None
    (path,) = [
        path
        for path in home.rglob("*")
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    ]
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    path.write_bytes(changed)


def test_a_run_with_every_failure_is_understood_and_put_right(
    backfill: Backfill, capsys: pytest.CaptureFixture[str]
) -> None:
    root = backfill.manifest
    wait_for(lambda: all(one.state in {"SUCCEEDED", "FAILED"} for one in backfill.slots(root).values()), 180)

    def typed(*words: str, expect: int) -> Any:
        capsys.readouterr()
        backfill.types(*words, "--json", expect=expect)
        return json.loads(capsys.readouterr().out)

    # what happened, by Batch's own record
    states = backfill.slots(root)
    described = backfill.cloud.client("batch").describe_jobs(
        jobs=[states[slot].job_id for slot in range(CHILDREN)]
    )["jobs"]
    attempts = [[attempt["statusReason"] for attempt in job["attempts"]] for job in described]
    reclaimed = [[reason.startswith("Host EC2") for reason in reasons] for reasons in attempts]
    exhausted = {slot for slot, hits in enumerate(reclaimed) if len(hits) == ATTEMPTS and all(hits)}
    assert sum(map(sum, reclaimed)) >= 5
    assert exhausted
    assert not exhausted & SPECIAL.keys()

    # the right classes
    wrong = {HUNGRY: "oom", SLOW: "timeout", CORRUPT: "data"} | dict.fromkeys(exhausted, "spot")
    assert backfill.failures() == wrong
    assert typed("status", root.run_id, expect=1)["states"]["FAILED"] == len(wrong)

    # in plain words
    words = {
        HUNGRY: ("oom", "it ran out of memory", "next larger memory class"),
        SLOW: ("timeout", "it was stopped at its time limit", "twice the time"),
        CORRUPT: ("data", "could not be read", "once the archive is mended"),
        EMPTY: (None, "is done, and there was nothing to process", None),
        min(exhausted): ("spot", "its machine was taken back", "on-demand queue"),
        TRUE: (None, "is done: 2 products", None),
    }
    for slot, (failure, sentence, next_step) in words.items():
        told = (
            typed("why", root.run_id, names()[slot], expect=0)
            if slot in SPECIAL
            else typed("why", root.run_id, "--slot", str(slot), expect=0)
        )
        assert told["failure"] == failure
        assert sentence in told["paragraph"]
        assert (next_step or "") in (told["next_step"] or "")

    # S3 tells the same
    report = typed("verify", root.run_id, expect=1)
    state_of = {unit["slot"]: unit["state"] for unit in report["units"]}
    assert state_of[EMPTY] == "no_data"
    assert {slot for slot, state in state_of.items() if state == "missing"} >= {HUNGRY, CORRUPT, *exhausted}
    assert {state for slot, state in state_of.items() if slot not in {*wrong, EMPTY}} == {"complete"}

    # what it cost, by attempts that left no receipt too: Batch knows when they ended
    cost = typed("cost", root.run_id, expect=0)
    assert set(cost["wasted"]) == {"spot", "oom", "timeout", "failed"}
    assert all(usd > 0 for usd in cost["wasted"].values())
    assert sum(region["usd"] for region in cost["regions"]) == pytest.approx(cost["usd"])

    # the catalogue of the run, or none
    backfill.types("retry", root.run_id, "--dry-run", expect=64)
    regions = ["--regions-file", str(backfill.folder / "regions.csv")]
    plan = typed("retry", root.run_id, "--dry-run", *regions, expect=0)
    assert {unit["slot"]: unit["failure"] for unit in plan["units"]} == wrong
    gets = {unit["slot"]: unit["gets"] for unit in plan["units"]}
    usual = {"memory_mib": 7500, "on_demand": False, "timeout_s": None}
    assert gets == {
        HUNGRY: usual | {"memory_mib": 15_500},
        SLOW: usual | {"timeout_s": 2 * TIME_LIMIT_S},
        CORRUPT: usual,
        **{slot: usual | {"on_demand": True} for slot in exhausted},
    }

    # the source is mended, and no more reclaims, so that the end is certain
    (broken,) = [path for path in backfill.folder.rglob("B08.tif") if path.stat().st_size < 100]
    shutil.copyfile(next(path for path in broken.parents[1].rglob("B08.tif") if path != broken), broken)
    control.down(backfill.home)
    control.up(backfill.home, archive=backfill.folder / "archive", vcpus=12, clock=CLOCK)
    ended = typed("retry", root.run_id, "--wait", "--quiet", *regions, expect=0)
    assert ended["states"] == {"SUCCEEDED": len(wrong)}
    assert backfill.failures() == {}
    report = typed("verify", root.run_id, expect=0)
    assert report["states"] == {"complete": CHILDREN - 1, "no_data": 1}

    # one byte of a product, and the way back
    (unit,) = [unit for unit in report["units"] if unit["slot"] == TRUE]
    assert unit["products"] == 2
    prefix = f"1_download_merge_and_clip/sentinel2/clipped/{names()[TRUE]}/"
    key = next(entry.key for entry in backfill.store.list(prefix))
    flip_a_byte(backfill.store, backfill.home, key)
    (problem,) = [
        problem for unit in typed("verify", root.run_id, expect=1)["units"] for problem in unit["problems"]
    ]
    assert (problem["key"], problem["kind"]) == (key, "damaged")
    backfill.types("retry", root.run_id, "--wait", "--quiet", *regions, expect=0)
    assert typed("verify", root.run_id, expect=0)["states"] == {"complete": CHILDREN - 1, "no_data": 1}


def test_ten_years_of_every_region_are_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,920 children, of which hardly one starts: there is half a vCPU, and all are ended at once."""
    monkeypatch.setenv("GLACIERFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    home, archive = control.default_home(), real_archive()
    endpoint = control.up(home, archive=archive, vcpus=0.5)

    def typed(*words: str, expect: int = 0) -> Any:
        capsys.readouterr()
        assert type_command(["batch", *words, "--local", "--quiet", "--json"]) == expect
        return json.loads(capsys.readouterr().out)

    try:
        dates = ["--date1", "2016-01-01", "--date2", "2025-12-31", "--by", "year"]
        sent = typed("submit", "--all", "--satellite", "sentinel2", *dates, "--archive", str(archive))
        assert sent["slots"] == 1_920
        batch = Cloud(region=REGION, endpoint_url=endpoint.url, embedded=True).client("batch")

        def jobs() -> list[Any]:
            described = batch.describe_jobs(jobs=[job["job_id"] for job in sent["jobs"]])
            return list(described["jobs"])

        assert sum(job["arrayProperties"]["size"] for job in jobs()) == 1_920
        standing = typed("status", sent["run_id"])
        assert sum(standing["states"].values()) == 1_920
        assert standing["states"]["RUNNABLE"] >= 1_900
        (cancelled,) = typed("cancel", sent["run_id"])
        assert cancelled["ended"] == list(range(1_920))
        wait_for(lambda: all(job["status"] == "FAILED" for job in jobs()))
        assert typed("status", sent["run_id"], expect=1)["states"] == {"FAILED": 1_920}
    finally:
        control.down(home)
