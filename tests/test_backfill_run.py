"""A whole run that goes wrong in every way at once, put right step by step, as a person would do it.

23 children on the embedded cloud, each of them the task itself. Of one the machine is taken back at every
attempt; one is killed; one has too little memory and one too little time; one has a corrupt source and one no
scenes. The run id is fixed, so that seeded reclaims hit the same children.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from embedded import REGION, wait_for
from http_servers import RangeServer
from samples import make_region, read_item, real_archive

from glacierflow.aws.batch import describe_run
from glacierflow.aws.names import find_places
from glacierflow.cli.app import run as type_command
from glacierflow.cloud import Cloud
from glacierflow.live.family import find_standings
from glacierflow.local import control
from glacierflow.model.manifest import Manifest
from glacierflow.model.records import Region
from glacierflow.runs import plan as plan_module
from glacierflow.runs import units as arrange_module
from glacierflow.runs.family import read_family
from glacierflow.runs.records import read_jobs, read_run_manifest
from glacierflow.runs.states import SlotState
from glacierflow.settings import load_settings
from glacierflow.store import S3Store, open_store

pytestmark = [pytest.mark.embedded, pytest.mark.rehearsal]

CHILDREN = 23
SPECIAL = {0: "slow", 1: "hungry", 5: "killed", 8: "taken", 9: "corrupt", 12: "empty", 21: "plain"}
SLOW, HUNGRY, KILLED, TAKEN, CORRUPT, EMPTY, TRUE = SPECIAL
HELD = (SLOW, KILLED, TAKEN)
"""Their images are on a server that does not answer yet: they run for as long as they are let."""
APART = {SLOW: 30, KILLED: 31, TAKEN: 32, CORRUPT: 33, EMPTY: 35}
"""Places in the last row, which the scenes of all the others do not reach."""
SIDE_M = 1500
"""Side of a region; Berlin's rectangle of the real archive holds 6 x 6 of them."""
RUN_ID = "sentinel2-20160501-20160630-0_22-20261124T150000Z-bacf11"
SEED = 37
"""Of the reclaims: with this run id TAKEN loses every attempt; SLOW, HUNGRY and KILLED not their first."""

ATTEMPTS = 4
"""Of the deployed definitions."""

CLOCK = 60.0
TIME_LIMIT_S = 1440
"""Batch seconds; 24 real ones. Of SLOW's class alone."""
CLASSES = {SLOW: 63_200, HUNGRY: 15_500}
"""Memory classes; all others are of the smallest."""
SCALED_MIB = {7_500: 1_000, 15_500: 64, 31_500: 2_000, 63_200: 1_000}
"""Memory of the classes here: 64 MiB are less than Python with its libraries takes."""


@dataclass
class Backfill:
    """The home of a user who has submitted a run, and what they would type."""

    home: Path
    folder: Path
    manifest: Manifest
    cloud: Cloud
    store: S3Store
    web: RangeServer

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
    """Squares from the north down."""
    place = APART.get(number, number)
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


def write_archive(folder: Path, web: RangeServer) -> None:
    """The two real scenes over the first rows, and one for each region apart: held back, or no image."""
    shutil.copytree(real_archive() / "sentinel-2-l2a", folder / "sentinel-2-l2a")
    paths = sorted(folder.rglob("*.json"))
    assert len(paths) == 2, f"the real archive is not there: {real_archive()}"
    first = paths[0].read_text()
    for path in paths:
        item = read_item(path)
        # a little within the rectangle, so that it does not touch the last row
        item["geometry"] = outline(3525300, -2227200 - 4 * SIDE_M, 3525300 + 6 * SIDE_M, -2227200)
        path.write_text(json.dumps(item))
    for number in (*HELD, CORRUPT):
        day = 10 + number
        item = json.loads(first.replace("20160529", f"201606{day}").replace("2016-05-29", f"2016-06-{day}"))
        xmin, ymin, xmax, ymax = bounds_of(number)
        item["geometry"] = outline(xmin + 100, ymin + 100, xmax - 100, ymax - 100)
        place = folder / "sentinel-2-l2a" / item["id"]
        place.mkdir()
        if number == CORRUPT:
            (place / "B08.tif").write_text("<html>Service unavailable</html>")
        else:
            item["assets"]["nir"]["href"] = f"{web.url}/{number}.tif"
        (place / f"{item['id']}.json").write_text(json.dumps(item))


def redefine(batch: Any) -> None:
    """The deployed definitions with other memory, and SLOW's with a short time; all else of them stays."""
    accepted = batch.meta.service_model.operation_model("RegisterJobDefinition").input_shape.members
    for memory_class, memory_mib in SCALED_MIB.items():
        (deployed,) = batch.describe_job_definitions(
            jobDefinitionName=f"glacierflow-{memory_class}", status="ACTIVE"
        )["jobDefinitions"]
        container = deployed["containerProperties"]
        assert container["command"][-2:] == ["-m", "glacierflow.task"]
        scaled = [one for one in container["resourceRequirements"] if one["type"] != "MEMORY"]
        memory = {"type": "MEMORY", "value": str(memory_mib)}
        request = {key: value for key, value in deployed.items() if key in accepted}
        request["containerProperties"] = container | {"resourceRequirements": [*scaled, memory]}
        if memory_class == CLASSES[SLOW]:
            request["timeout"] = {"attemptDurationSeconds": TIME_LIMIT_S}
        assert request["retryStrategy"]["attempts"] == ATTEMPTS
        batch.register_job_definition(**request)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RangeServer]:
    """One image under a name for each of the held."""
    (tmp_path / "web").mkdir()
    image = next((real_archive() / "sentinel-2-l2a").rglob("B08.tif"))
    for number in HELD:
        (tmp_path / "web" / f"{number}.tif").symlink_to(image)
    web = RangeServer(tmp_path / "web")
    web.answers.clear()
    yield web
    web.answers.set()
    web.server.shutdown()
    web.server.server_close()


@pytest.fixture
def backfill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: RangeServer) -> Iterator[Backfill]:
    monkeypatch.setenv("GLACIERFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.ini").write_text("[IMAGERY]\nquicklooks = 0\n")
    # by name, for the stack's outputs name the revisions it deployed
    (tmp_path / "aws.ini").write_text("[BATCH]\njob_definition = glacierflow\n")
    write_regions(tmp_path / "regions.csv")
    write_archive(tmp_path / "archive", web)
    home = control.default_home()
    endpoint = control.up(
        home,
        archive=tmp_path / "archive",
        vcpus=12,
        clock=CLOCK,
        spot_reclaim=0.3,
        reclaim="kind",
        seed=SEED,
    )
    cloud = Cloud(region=REGION, endpoint_url=endpoint.url, embedded=True)
    redefine(cloud.client("batch"))
    store = open_store(f"s3://{control.DEFAULT_BUCKET}", cloud)
    assert isinstance(store, S3Store)
    yield Backfill(home, tmp_path, submit(tmp_path, store), cloud, store, web)
    control.down(home)


def submit(folder: Path, store: S3Store) -> Manifest:
    """By the command; only its run id and the classes of two regions are ours."""

    def named(*arguments: Any, **more: Any) -> Manifest:
        return build_manifest(*arguments, **more).model_copy(update={"run_id": RUN_ID})

    def class_of(region: Region, *_: Any, **__: Any) -> int:
        return CLASSES.get(region.index, min(SCALED_MIB))

    build_manifest = plan_module.build_manifest
    words = ["--start-end-index", f"0:{CHILDREN}", "--date1", "2016-05-01", "--date2", "2016-06-30"]
    words += ["--order", "largest"]
    files = ["--archive", "archive", "--regions-file", "regions.csv"]
    files += ["--config", "config.ini", "--aws-config", "aws.ini"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "build_manifest", named)
        patch.setattr(arrange_module, "memory_class", class_of)
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


def kill_child(slot: int, first_slot: int, url: str) -> None:
    """SIGKILL to the process of a child, found by its environment."""
    marks = {f"AWS_BATCH_JOB_ARRAY_INDEX={slot - first_slot}", f"AWS_ENDPOINT_URL={url}"}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and marks <= set((entry / "environ").read_text().split("\0")):
                os.kill(int(entry.name), signal.SIGKILL)
                return
    pytest.fail(f"no process of slot {slot}")


def test_a_run_with_every_failure_is_understood_and_put_right(
    backfill: Backfill, capsys: pytest.CaptureFixture[str]
) -> None:
    root = backfill.manifest
    wait_for(lambda: f"/{KILLED}.tif" in backfill.web.paths, 300)
    first_slot = next(array.first_slot for array in root.arrays if array.memory_mib == min(SCALED_MIB))
    kill_child(KILLED, first_slot, str(backfill.cloud.endpoint_url))
    wait_for(lambda: all(one.state in {"SUCCEEDED", "FAILED"} for one in backfill.slots(root).values()), 500)

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
    assert exhausted == {TAKEN}
    assert [
        job["container"].get("exitCode") for job in described if job["jobId"] == states[KILLED].job_id
    ] == [137]

    # the right classes
    wrong = {HUNGRY: "oom", SLOW: "timeout", CORRUPT: "data", KILLED: "killed", TAKEN: "spot"}
    assert backfill.failures() == wrong
    assert typed("status", root.run_id, expect=1)["states"]["FAILED"] == len(wrong)

    # in plain words
    words = {
        HUNGRY: ("oom", "it ran out of memory", "next larger memory class"),
        SLOW: ("timeout", "it was stopped at its time limit", "twice the time"),
        CORRUPT: ("data", "could not be read", "once the archive is mended"),
        EMPTY: (None, "is done, and there was nothing to process", None),
        TAKEN: ("spot", "its machine was taken back", "on-demand queue"),
        KILLED: ("killed", "killed", ""),
        TRUE: (None, "is done: 2 products", None),
    }
    for slot, (failure, sentence, next_step) in words.items():
        by_slot = ("--slot", str(slot)) if slot == TAKEN else (names()[slot],)
        told = typed("why", root.run_id, *by_slot, expect=0)
        assert told["failure"] == failure
        assert sentence in told["paragraph"]
        assert (next_step or "") in (told["next_step"] or "")

    # S3 tells the same
    report = typed("verify", root.run_id, expect=1)
    state_of = {unit["slot"]: unit["state"] for unit in report["units"]}
    assert state_of[EMPTY] == "no_data"
    assert {slot for slot, state in state_of.items() if state == "missing"} >= wrong.keys() - {SLOW}
    assert {state for slot, state in state_of.items() if slot not in {*wrong, EMPTY}} == {"complete"}

    # what it cost, by attempts that left no receipt too: Batch knows when they ended
    cost = typed("cost", root.run_id, expect=0)
    assert set(cost["wasted"]) == {"spot", "oom", "timeout", "data", "killed"}
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
        HUNGRY: usual | {"memory_mib": 31_500},
        SLOW: usual | {"memory_mib": CLASSES[SLOW], "timeout_s": 2 * TIME_LIMIT_S},
        CORRUPT: usual,
        KILLED: usual,
        TAKEN: usual | {"on_demand": True},
    }

    # sources answer and are whole, and no more reclaims, so that the end is certain
    backfill.web.answers.set()
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
