"""What earlier runs have finished for good."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws
from runs_samples import DATE1, DATE2, put_attempt, some_manifest

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import ProductRecord, UnitEnd
from glacierflow.model.records import Unit
from glacierflow.runs.plan import find_done
from glacierflow.runs.records import read_run_manifest
from glacierflow.store import LocalStore, S3Store, Store

LATER = dt.datetime(2024, 9, 15, tzinfo=dt.UTC)
"""More than a month after the last day of the units."""


def product(manifest: Manifest, slot: int) -> ProductRecord:
    region = manifest.slots[slot][0].region
    return ProductRecord(
        unit=0,
        key=f"{manifest.settings.base_path}/sentinel2/clipped/{region}/S2A.tif",
        acquisition="a",
        datetime=LATER,
        size=3,
        sha256="0",
        coverage=1.0,
        sources=("x",),
    )


def earlier_run(store: Store, *, ended_at: dt.datetime = LATER, **settings: Any) -> Manifest:
    """Slot 0 done with its product in place, 1 no data, 2 partial, 3 started only, 4 never."""
    manifest = some_manifest(5)
    manifest = manifest.model_copy(
        update={"settings": manifest.settings.model_copy(update=settings)} if settings else {}
    )
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    made = product(manifest, 0)
    store.put(made.key, b"tif")
    put_attempt(store, manifest, 0, "done", ended_at=ended_at, products=(made,))
    put_attempt(store, manifest, 1, "no_data", ended_at=ended_at)
    put_attempt(store, manifest, 2, "partial", ended_at=ended_at)
    put_attempt(store, manifest, 3)
    return manifest


def done(store: Store, manifest: Manifest, units: list[Unit] | None = None) -> list[str]:
    wanted = units or [slot[0] for slot in manifest.slots]
    return sorted(
        unit.region for unit in find_done(store, [manifest.run_id], wanted, some_manifest(1).settings)
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path)


def test_done_and_no_data_count_and_nothing_else(store: Store) -> None:
    assert done(store, earlier_run(store)) == ["000_made_up", "001_made_up"]


def test_a_product_that_is_gone_makes_its_unit_missing(store: Store, tmp_path: Path) -> None:
    manifest = earlier_run(store)
    (tmp_path / product(manifest, 0).key).unlink()
    assert done(store, manifest) == ["001_made_up"]


def test_of_units_in_one_slot_each_is_judged_by_its_own_products(store: Store, tmp_path: Path) -> None:
    """Of the four: two done, the second only just after its last day, and one whose product is gone."""
    manifest = some_manifest(4)
    packed = [slot[0] for slot in manifest.slots]
    packed[1] = packed[1].model_copy(update={"date2": LATER.date()})
    manifest = manifest.model_copy(update={"slots": (tuple(packed),)})
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    made = [product(some_manifest(4), number).model_copy(update={"unit": number}) for number in range(3)]
    for one in made:
        store.put(one.key, b"tif")
    (tmp_path / made[2].key).unlink()
    put_attempt(store, manifest, 0, "done", ended_at=LATER, products=tuple(made))
    assert done(store, manifest, packed) == ["000_made_up", "003_made_up"]
    assert done(store, manifest, packed[:1]) == ["000_made_up"]


def test_units_that_a_partial_or_cut_slot_finished_are_done(store: Store) -> None:
    apart = some_manifest(4)
    packed = [slot[0] for slot in apart.slots]
    manifest = apart.model_copy(update={"slots": (tuple(packed),)})
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    made = product(apart, 0)
    store.put(made.key, b"tif")
    first = [UnitEnd(outcome=outcome) for outcome in ("done", "partial", "interrupted", "interrupted")]
    put_attempt(store, manifest, 0, "interrupted", ended_at=LATER, products=(made,), unit_ends=tuple(first))
    assert done(store, manifest, packed) == ["000_made_up"]
    second = [UnitEnd(outcome=outcome) for outcome in ("failed", "partial", "no_data", "failed")]
    put_attempt(store, manifest, 0, "partial", attempt=2, ended_at=LATER, unit_ends=tuple(second))
    assert done(store, manifest, packed) == ["000_made_up", "002_made_up"]


def test_a_partial_slot_whose_receipt_does_not_tell_its_units_apart_is_not_done(store: Store) -> None:
    apart = some_manifest(2)
    packed = [slot[0] for slot in apart.slots]
    manifest = apart.model_copy(update={"slots": (tuple(packed),)})
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    put_attempt(store, manifest, 0, "partial", ended_at=LATER)
    assert done(store, manifest, packed) == []


def test_what_ended_before_all_scenes_were_published_is_missing(store: Store) -> None:
    assert done(store, earlier_run(store, ended_at=dt.datetime(2024, 8, 29, tzinfo=dt.UTC))) == []


def test_products_of_other_settings_do_not_count_but_those_of_other_servers_do(store: Store) -> None:
    assert done(store, earlier_run(store, resampling="nearest")) == []
    assert done(store, earlier_run(store, sentinel2_stac_url="http://x", quicklooks=False)) != []


def test_a_part_of_what_was_done_is_done_and_more_is_not(store: Store) -> None:
    manifest = earlier_run(store)
    unit = manifest.slots[0][0]
    day = dt.timedelta(days=1)
    part = unit.model_copy(update={"date1": DATE1 + day})
    more = unit.model_copy(update={"date2": DATE2 + day})
    other = unit.model_copy(update={"satellite": "landsat"})
    assert find_done(store, [manifest.run_id], [part, more, other], manifest.settings) == {part}


def test_submit_sends_only_what_is_missing_and_says_when_nothing_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    aws = FakeAws(monkeypatch)
    words = ["batch", "submit", "--start-end-index", "0:3", "--s3-bucket", "made-up"]
    assert run(words) == 0
    for job in aws.jobs.values():
        job["status"] = "SUCCEEDED"
    store = S3Store("made-up", Cloud(embedded=True))
    (run_id,) = {key.split("/")[1] for key in aws.objects}
    first = read_run_manifest(store, run_id)
    for slot in range(2):
        put_attempt(store, first, slot, "no_data", ended_at=LATER)
    capsys.readouterr()
    assert run([*words, "--missing", "--dry-run"]) == 0
    assert "1 units in 1 slots" in capsys.readouterr().out
    assert run([*words, "--missing"]) == 0
    assert "2 of 3 units are done and in place" in capsys.readouterr().err
    (second,) = {key.split("/")[1] for key in aws.objects} - {run_id}
    assert read_run_manifest(store, second).slots == (first.slots[2],)
    put_attempt(store, first, 2, "no_data", ended_at=LATER)
    assert run([*words, "--missing"]) == 0
    assert "nothing is missing" in capsys.readouterr().err
    assert run([*words, "--missing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run_id": None, "slots": 0, "jobs": []}
    assert len(aws.jobs) == 2
