"""Several runs taken as one: a canary and its rest, runs that share units, and what cannot be one."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import pytest
from batch_fake import BatchFake
from big_run import FakeCloud
from PIL import Image
from runs_samples import DATE1, DATE2, NOW, put_attempt, some_regions
from test_verify import a_retry, put_manifest, put_product

from glacierflow.aws.names import find_places
from glacierflow.cli.app import run
from glacierflow.cli.batch import runs
from glacierflow.cli.context import CommandLine
from glacierflow.errors import RunError
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts
from glacierflow.model.records import StepSettings
from glacierflow.runs.family import check_alike, read_joined
from glacierflow.runs.plan import build_manifest, plan_slots
from glacierflow.runs.records import latest_run
from glacierflow.runs.verify import verify_run
from glacierflow.settings import load_settings
from glacierflow.store import LocalStore

HOUR = dt.timedelta(hours=1)


def a_run_of(store: LocalStore, first: int, count: int, *, hours: int = 0, **changes: Any) -> Manifest:
    """Regions ``first .. first + count - 1`` for July 2024, one slot each."""
    regions = some_regions(count, first)
    manifest = build_manifest(
        plan_slots("sentinel2", regions, DATE1, DATE2),
        regions,
        StepSettings(),
        catalogue_sha256="c",
        store=str(store.root),
        now=NOW + hours * HOUR,
    ).model_copy(update=changes)
    put_manifest(store, manifest)
    return manifest


def finish(store: LocalStore, manifest: Manifest, slot: int) -> str:
    """One image, from five items in an hour; its key."""
    product = put_product(store, manifest, slot)
    put_attempt(
        store, manifest, slot, "done", products=(product,), counts=Counts(found=5), ended_at=NOW + HOUR
    )
    return product.key


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A directory in the place of the bucket, whose latest run is the rest."""
    store = LocalStore(tmp_path / "store")
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")

    # AWS Batch has forgotten all of it
    cloud = FakeCloud(embedded=True, clients={"batch": BatchFake()})

    def locate(name: str, _line: CommandLine) -> runs.Located:
        loaded = load_settings(environ={})
        run_id = latest_run(store) if name == "latest" else name
        return runs.Located(run_id, store, cloud, loaded, find_places(loaded, None))

    monkeypatch.setattr(runs, "locate_run", locate)
    return store


@pytest.fixture
def pair(store: LocalStore) -> tuple[Manifest, Manifest]:
    """A canary of region 0 and the rest, regions 1 and 2: of each unit one image in an hour."""
    canary = a_run_of(store, 0, 1)
    rest = a_run_of(store, 1, 2, hours=1, canary_run_id=canary.run_id)
    for manifest in (canary, rest):
        for slot in range(len(manifest.slots)):
            finish(store, manifest, slot)
    return canary, rest


@pytest.mark.parametrize("named", ["both", "reversed", "rest", "latest", "both and latest"])
def test_a_canary_and_its_rest_are_one_matrix_one_sum_and_one_paragraph(
    store: LocalStore,
    pair: tuple[Manifest, Manifest],
    named: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    canary, rest = (one.run_id for one in pair)
    ids = {
        "both": [canary, rest],
        "reversed": [rest, canary],
        "rest": [rest],
        "latest": [],
        "both and latest": [canary, rest, "latest"],
    }[named]
    table, picture, costs, out = (tmp_path / name for name in ("v.csv", "v.png", "c.csv", "methods"))
    assert run(["batch", "verify", *ids, "--json", "--csv", str(table), "--png", str(picture)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["runs"], facts["states"], facts["products"]) == ([canary, rest], {"complete": 3}, 3)
    places = [(unit["run_id"], unit["slot"], unit["unit"]["region"]) for unit in facts["units"]]
    assert places == [(canary, 0, "000_made_up"), (rest, 0, "001_made_up"), (rest, 1, "002_made_up")]
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["region"][:3] for row in rows] == ["000", "001", "002"]
    with Image.open(picture) as opened:
        assert opened.format == "PNG"

    assert run(["batch", "cost", *ids, "--json", "--csv", str(costs)]) == 0
    facts = json.loads(capsys.readouterr().out)
    hours = list(csv.DictReader(io.StringIO(costs.read_text())))
    assert [(row["run_id"], row["slot"], row["hours"]) for row in hours] == [
        (canary, "0", "1.0"),
        (rest, "0", "1.0"),
        (rest, "1", "1.0"),
    ]
    assert (facts["runs"], facts["products"], len(facts["regions"])) == ([canary, rest], 3, 3)
    assert facts["usd"] == pytest.approx(sum(float(row["usd"]) for row in hours))

    assert run(["batch", "methods", *ids, "--out", str(out)]) == 0
    text = (out / "methods.md").read_text()
    assert f"# Methods of {canary} and {rest}" in text
    assert "images of 3 regions" in text
    assert "returned 15 items, which made 3 images; 3 items" in text
    assert len((out / "scenes.csv").read_text().splitlines()) == 1 + 3
    assert len((out / "exclusions.csv").read_text().splitlines()) == 1 + 3


def test_the_canary_alone_is_itself(
    pair: tuple[Manifest, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", "verify", pair[0].run_id]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"run {pair[0].run_id}\n")
    assert "1 complete; products: 1 new, 0 already there, 1 in all" in said


def test_the_worst_decides_and_is_named_with_its_run(
    store: LocalStore, pair: tuple[Manifest, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    (image,) = list(store.list("1_download_merge_and_clip/sentinel2/clipped/000_made_up/"))
    (store.root / image.key).unlink()
    canary, rest = (one.run_id for one in pair)
    assert run(["batch", "verify", rest]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"run {canary}\nrun {rest}\n")
    assert f"missing   slot 0 of {canary}  000_made_up" in said
    assert "2 complete, 1 missing" in said


def test_a_unit_of_two_runs_counts_once_by_its_latest_good_attempt(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regions 0 and 1, of which 1 failed; then 1 and 2, of which 2 failed and a retry made it."""
    first, second = a_run_of(store, 0, 2), a_run_of(store, 1, 2, hours=1)
    finish(store, first, 0)
    put_attempt(store, first, 1, "failed", error="x", exit_code=70, ended_at=NOW + HOUR)
    finish(store, second, 0)
    put_attempt(store, second, 1, "failed", error="x", exit_code=70)
    retry = a_retry(store, second, (1,), minutes=90)
    finish(store, retry, 0)
    ids = [second.run_id, first.run_id]
    report = verify_run(read_joined(store, ids), store)
    assert report.states == {"complete": 3}
    assert (report.runs, report.retries) == ((first.run_id, second.run_id), (retry.run_id,))
    assert [(unit.run_id, unit.slot) for unit in report.units] == [
        (first.run_id, 0),
        (second.run_id, 0),
        (second.run_id, 1),
    ]
    assert run(["batch", "methods", *ids]) == 0
    said = capsys.readouterr().out
    assert "returned 15 items, which made 3 images" in said
    assert "Of 3 units of work 3 were completed" in said
    # money was spent on every attempt, also of the unit that both runs had
    assert run(["batch", "cost", *ids, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (len(facts["attempts"]), facts["products"]) == (5, 3)
    # an hour of half an r6i.large of 12.6 cents, spot at 45 %, failed; the other failure took no time
    assert facts["wasted"] == pytest.approx({"bug": 0.02835})


@pytest.mark.parametrize("verb", ["verify", "cost", "methods"])
def test_a_run_that_is_not_there_is_named(
    pair: tuple[Manifest, Manifest], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", verb, pair[0].run_id, "sentinel2-nothing"]) == 64
    assert "there is no run sentinel2-nothing" in capsys.readouterr().err


def test_a_canary_whose_records_are_gone_is_named(store: LocalStore) -> None:
    rest = a_run_of(store, 0, 1, canary_run_id="gone")
    with pytest.raises(RunError, match="there is no run gone"):
        read_joined(store, [rest.run_id])


def test_units_packed_in_different_ways_are_refused(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    loose = a_run_of(store, 0, 2)
    packed = a_run_of(store, 0, 2, hours=1, slots=((*loose.slots[0], *loose.slots[1]),))
    for verb in ("verify", "cost", "methods"):
        assert run(["batch", verb, loose.run_id, packed.run_id]) == 64
        assert "pack the unit 000_made_up 2024-07-01" in capsys.readouterr().err


def test_runs_made_in_different_ways_get_no_common_paragraph(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    cubic = a_run_of(store, 0, 1)
    other = a_run_of(store, 1, 1, hours=1, settings=StepSettings(resampling="nearest", base_path="elsewhere"))
    for manifest in (cubic, other):
        finish(store, manifest, 0)
    assert run(["batch", "methods", cubic.run_id, other.run_id]) == 64
    assert f"{cubic.run_id} and {other.run_id} differ in resampling" in capsys.readouterr().err
    # each image is looked for where its run put it
    assert run(["batch", "verify", cubic.run_id, other.run_id]) == 0


def test_runs_that_differ_in_what_changes_no_image_are_alike(store: LocalStore) -> None:
    first = a_run_of(store, 0, 1)
    second = a_run_of(store, 1, 1, hours=1, settings=StepSettings(reprocess=True, request_attempts=9))
    check_alike(read_joined(store, [first.run_id, second.run_id]))
