"""Products compared with receipts: what is there, whole, unchanged, and what is not."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from embedded import REGION
from runs_samples import NOW, make_receipt, put_attempt, some_manifest

from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError, UsageError
from glacierflow.local.control import Endpoint
from glacierflow.model.layout import Layout, RunLayout, parse_product
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Counts, ProductRecord, ProductThere, UnitEnd
from glacierflow.model.records import Note
from glacierflow.runs.family import RetryMark, read_family
from glacierflow.runs.verify import Depth, UnitCheck, VerifyReport, verify_run
from glacierflow.search.availability import why_all_left_out
from glacierflow.store import Entry, LocalStore, S3Store, Store

PIXELS = b"II*\0" + bytes(range(256)) * 4


def product_key(manifest: Manifest, slot: int, stem: str = "a") -> str:
    unit = manifest.slots[slot][0]
    layout = Layout(manifest.settings.base_path, manifest.settings.folder_structure)
    return layout.product(unit.satellite, unit.region, stem)


def put_product(
    store: Store, manifest: Manifest, slot: int, stem: str = "a", data: bytes = PIXELS
) -> ProductRecord:
    """A product in the store, as the step puts it, and what a receipt says of it."""
    key = product_key(manifest, slot, stem)
    source = Path(os.environ["GLACIERFLOW_HOME"]) / "image.tif"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(data)
    etag = store.put_file(key, source)
    return ProductRecord(
        unit=0,
        key=key,
        acquisition=f"S2A_{stem}",
        datetime=dt.datetime(2024, 7, 3, tzinfo=dt.UTC),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        coverage=0.9,
        sources=("x",),
        etag=etag,
    )


def put_manifest(store: Store, manifest: Manifest) -> None:
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())


def a_run(store: Store, slots: int = 1) -> Manifest:
    manifest = some_manifest(slots, store.uri("").rstrip("/"))
    put_manifest(store, manifest)
    return manifest


def a_retry(store: Store, root: Manifest, origins: tuple[int, ...], minutes: int = 1) -> Manifest:
    created = NOW + dt.timedelta(minutes=minutes)
    retry = root.model_copy(
        update={
            "run_id": f"{root.run_id}-r{minutes}",
            "created_at": created,
            "root_run_id": root.run_id,
            "slots": tuple(root.slots[origin] for origin in origins),
            "origin_slots": origins,
        }
    )
    put_manifest(store, retry)
    mark = RetryMark(run_id=retry.run_id, created_at=created, origin_slots=origins)
    store.put(RunLayout(root.run_id).retry(retry.run_id), mark.model_dump_json().encode())
    return retry


def check(store: Store, manifest: Manifest, depth: Depth = "recorded") -> VerifyReport:
    return verify_run(read_family(store, manifest.run_id), store, depth=depth)


def only(report: VerifyReport) -> UnitCheck:
    (unit,) = report.units
    return unit


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


STEM = "S2A_MSIL2A_20240703T151911_N0510_R068"


def put_item(store: Store, product: ProductRecord, data: bytes, *sources: str) -> None:
    """A product's STAC item, as far as it tells of bytes and sources."""
    place = parse_product(product.key)
    assert place is not None
    item = {
        "properties": {"glacierflow:sources": [{"item": name, "name": name} for name in sources]},
        "assets": {
            "image": {"file:size": len(data), "file:checksum": "1220" + hashlib.sha256(data).hexdigest()}
        },
    }
    key = place.layout.stac_item(place.satellite, place.region, place.stem)
    store.put(key, json.dumps(item).encode())


@pytest.mark.parametrize("depth", ["quick", "recorded", "read"])
def test_a_product_that_a_later_run_completed_is_as_it_should_be(store: LocalStore, depth: Depth) -> None:
    manifest = a_run(store)
    product = put_product(store, manifest, 0, STEM)
    put_attempt(store, manifest, 0, products=(product,), outcome="done")
    longer = PIXELS * 2
    put_product(store, manifest, 0, STEM, longer)
    assert only(check(store, manifest, depth)).state == "damaged", "no item says why"
    for sources, state in ((("x",), "damaged"), (("y", "z"), "damaged"), (("x", "y"), "complete")):
        put_item(store, product, longer, *sources)
        assert only(check(store, manifest, depth)).state == state, sources
    put_product(store, manifest, 0, STEM, longer + b"!")
    assert only(check(store, manifest, depth)).state == "damaged", "other bytes than the item says"
    key = next(one.key for one in store.list("") if one.key.endswith(f"{STEM}.json"))
    store.put(key, b"no item")
    assert only(check(store, manifest, depth)).state == "damaged"


def test_all_there_and_unchanged_is_complete(store: LocalStore) -> None:
    manifest = a_run(store, 2)
    for slot in (0, 1):
        put_attempt(store, manifest, slot, products=(put_product(store, manifest, slot),), outcome="done")
    report = check(store, manifest)
    assert report.states == {"complete": 2}
    assert (report.products, report.exit_code) == (2, 0)


@pytest.mark.parametrize("depth", ["recorded", "read"])
def test_one_flipped_byte_of_the_same_size_is_found(store: LocalStore, depth: Depth) -> None:
    manifest = a_run(store)
    product = put_product(store, manifest, 0)
    put_attempt(store, manifest, 0, "done", products=(product,))
    flip_a_byte(store.root / product.key)
    unit = only(check(store, manifest, depth))
    assert unit.state == "damaged"
    assert unit.reason is not None
    assert unit.reason.startswith(f"{product.key}: its bytes are not those of its receipt")
    assert check(store, manifest, depth).exit_code == 1
    assert check(store, manifest, "quick").exit_code == 0


def test_another_size_is_found_without_reading(store: LocalStore) -> None:
    manifest = a_run(store)
    product = put_product(store, manifest, 0)
    put_attempt(store, manifest, 0, "done", products=(product,))
    (store.root / product.key).write_bytes(PIXELS[:-1])
    assert only(check(store, manifest, "quick")).reason == f"{product.key}: it has 1027 bytes, not 1028"


def test_a_product_that_is_gone_is_missing_and_named(store: LocalStore) -> None:
    manifest = a_run(store)
    products = tuple(put_product(store, manifest, 0, stem) for stem in ("a", "b", "c"))
    put_attempt(store, manifest, 0, "done", products=products)
    for product in products[:2]:
        (store.root / product.key).unlink()
    unit = only(check(store, manifest))
    assert (unit.state, unit.products) == ("missing", 3)
    assert unit.reason == f"{products[0].key}: it is not there (and 1 more)"
    assert [problem.key for problem in unit.problems] == [products[0].key, products[1].key]


def test_damage_is_worse_than_absence(store: LocalStore) -> None:
    manifest = a_run(store)
    products = tuple(put_product(store, manifest, 0, stem) for stem in ("a", "b"))
    put_attempt(store, manifest, 0, "done", products=products)
    (store.root / products[0].key).unlink()
    flip_a_byte(store.root / products[1].key)
    assert only(check(store, manifest)).state == "damaged"


def test_nothing_to_process_is_an_answer_with_its_reason(store: LocalStore) -> None:
    manifest = a_run(store, 3)
    night = Note(code="polar_night", text="the sun does not rise")
    useless = why_all_left_out(1, make_receipt(manifest, 1).left_out)
    put_attempt(store, manifest, 0, "no_data", counts=Counts(found=0), notes=(night,))
    put_attempt(store, manifest, 1, "no_data", counts=Counts(found=1), notes=(night, useless))
    put_attempt(store, manifest, 2, "no_data", counts=Counts(found=0))
    report = check(store, manifest)
    assert report.states == {"no_data": 3}
    assert report.exit_code == 0
    reasons = [unit.reason for unit in report.units]
    assert reasons == [
        "the sun does not rise",
        "the sun does not rise; 1 STAC items found, none became an image: 1 low_coverage",
        "nothing was found",
    ]


def test_units_without_a_good_attempt_are_missing_and_say_why(store: LocalStore) -> None:
    manifest = a_run(store, 4)
    put_attempt(store, manifest, 1)
    put_attempt(store, manifest, 2, "failed", error="no scene could be read", exit_code=65)
    put_attempt(store, manifest, 3, "partial", error="1 of 3 acquisitions could not be read: B08.tif")
    report = check(store, manifest)
    assert [(unit.state, unit.reason) for unit in report.units] == [
        ("missing", "no attempt has started"),
        ("missing", "no attempt finished; one started and left no receipt"),
        ("missing", "no attempt finished; the last ended failed: no scene could be read"),
        ("partial", "1 of 3 acquisitions could not be read: B08.tif"),
    ]
    assert report.exit_code == 1


def test_products_of_an_interrupted_attempt_count_with_those_of_the_next(store: LocalStore) -> None:
    manifest = a_run(store)
    first, second = (put_product(store, manifest, 0, stem) for stem in ("a", "b"))
    put_attempt(store, manifest, 0, "interrupted", products=(first,), exit_code=75)
    there = ProductThere(**first.model_dump(include=set(ProductThere.model_fields)))
    put_attempt(store, manifest, 0, "done", attempt=2, products=(second,), already_there=(there,))
    assert only(check(store, manifest)).products == 2
    flip_a_byte(store.root / first.key)
    assert only(check(store, manifest)).state == "damaged"


def test_of_two_attempts_that_wrote_the_same_product_either_may_have_been_last(store: LocalStore) -> None:
    manifest = a_run(store)
    first = put_product(store, manifest, 0)
    second = put_product(store, manifest, 0, data=PIXELS + b"longer")
    put_attempt(store, manifest, 0, "done", products=(second,))
    put_attempt(store, manifest, 0, "done", attempt=2, products=(first,))
    assert only(check(store, manifest)).state == "complete"
    put_product(store, manifest, 0)
    assert only(check(store, manifest)).state == "complete"


def test_a_retry_makes_good_what_the_run_did_not(store: LocalStore) -> None:
    root = a_run(store, 3)
    put_attempt(store, root, 0, "done", products=(put_product(store, root, 0),))
    put_attempt(store, root, 1, "failed", error="x", exit_code=65)
    put_attempt(store, root, 2)
    retry = a_retry(store, root, (2, 1))
    put_attempt(store, retry, 0, "no_data", counts=Counts(found=0))
    put_attempt(store, retry, 1, "partial", error="one of two")
    assert [unit.state for unit in check(store, root).units] == ["complete", "partial", "no_data"]
    second = a_retry(store, root, (1,), minutes=2)
    put_attempt(store, second, 0, "done", products=(put_product(store, root, 1),))
    report = check(store, retry)
    assert (report.run_id, report.exit_code) == (root.run_id, 0)
    assert report.retries == (retry.run_id, second.run_id)


def test_a_failed_retry_does_not_undo_what_was_good(store: LocalStore) -> None:
    root = a_run(store)
    put_attempt(store, root, 0, "partial", error="one of two", products=(put_product(store, root, 0),))
    retry = a_retry(store, root, (0,))
    put_attempt(store, retry, 0, "failed", error="again", exit_code=70)
    assert only(check(store, root)).state == "partial"


def test_a_retry_killed_before_it_had_a_manifest_is_not_in_the_way(store: LocalStore) -> None:
    root = a_run(store)
    put_attempt(store, root, 0, "no_data", counts=Counts())
    mark = RetryMark(run_id="never-made", created_at=NOW, origin_slots=(0,))
    store.put(RunLayout(root.run_id).retry("never-made"), mark.model_dump_json().encode())
    assert check(store, root).retries == ()


def test_a_broken_mark_is_named(store: LocalStore) -> None:
    root = a_run(store)
    store.put(RunLayout(root.run_id).retry("x"), b"{")
    with pytest.raises(StoreError, match=r"retries/x\.json is not the mark of a retry"):
        read_family(store, root.run_id)


def test_an_unknown_run_is_refused(store: LocalStore) -> None:
    with pytest.raises(UsageError, match="there is no run nothing"):
        read_family(store, "nothing")


def a_packed_run(store: Store, units: int = 3) -> Manifest:
    """One slot with all units."""
    apart = some_manifest(units, store.uri("").rstrip("/"))
    packed = apart.model_copy(update={"slots": (tuple(unit for slot in apart.slots for unit in slot),)})
    put_manifest(store, packed)
    return packed


def test_of_units_in_a_slot_each_counts_by_the_latest_attempt_that_was_good_for_it(store: LocalStore) -> None:
    manifest = a_packed_run(store)
    first = put_product(store, manifest, 0)
    ends = [
        UnitEnd(outcome="done"),
        UnitEnd(outcome="partial", error="B08.tif"),
        UnitEnd(outcome="interrupted"),
    ]
    put_attempt(store, manifest, 0, "interrupted", products=(first,), exit_code=75, unit_ends=tuple(ends))
    ends = [
        UnitEnd(outcome="failed", error="x"),
        UnitEnd(outcome="no_data"),
        UnitEnd(outcome="failed", error="y"),
    ]
    retry = a_retry(store, manifest, (0,))
    put_attempt(store, retry, 0, "failed", exit_code=65, unit_ends=tuple(ends))
    assert [(unit.state, unit.reason) for unit in check(store, manifest).units] == [
        ("complete", None),
        ("no_data", "nothing was found"),
        ("missing", "no attempt finished; the last ended failed: y"),
    ]


def test_a_receipt_that_does_not_tell_its_units_apart_names_no_culprit(store: LocalStore) -> None:
    """As earlier versions wrote it."""
    manifest = a_packed_run(store)
    put_attempt(store, manifest, 0, "partial", products=(put_product(store, manifest, 0),), error="B08.tif")
    said = "of one or more of the slot's 3 units, the receipt does not say of which: B08.tif"
    assert [(unit.state, unit.reason) for unit in check(store, manifest).units] == [("partial", said)] * 3
    put_attempt(store, manifest, 0, "done", attempt=2, products=(put_product(store, manifest, 0),))
    assert [(unit.state, unit.reason) for unit in check(store, manifest).units] == [
        ("complete", None),
        ("no_data", "unit 1 of its slot has no products"),
        ("no_data", "unit 2 of its slot has no products"),
    ]


class Unreadable(LocalStore):
    def sha256(self, key: str) -> str | None:
        raise StoreError(f"{key} cannot be read: Input/output error")


def test_what_cannot_be_read_is_unchecked_and_exits_2(tmp_path: Path) -> None:
    store = Unreadable(tmp_path / "store")
    manifest = a_run(store, 2)
    put_attempt(store, manifest, 0, "done", products=(put_product(store, manifest, 0),))
    put_attempt(store, manifest, 1, "no_data", counts=Counts())
    report = check(store, manifest)
    assert report.states == {"no_data": 1, "unchecked": 1}
    assert report.exit_code == 2
    put_attempt(store, manifest, 1, "failed", attempt=2, error="x")
    manifest_2 = a_retry(store, manifest, (1,))
    put_attempt(store, manifest_2, 0, "partial", error="x")
    assert check(store, manifest).exit_code == 1


class Counting:
    """A bucket that counts what is asked of it."""

    def __init__(self, store: S3Store) -> None:
        self.calls: list[str] = []
        store._client.meta.events.register("before-call.s3", lambda model, **_: self.calls.append(model.name))


@pytest.fixture
def bucket(cloud_endpoint: Endpoint, request: pytest.FixtureRequest) -> S3Store:
    cloud = Cloud(region=REGION, endpoint_url=cloud_endpoint.url, embedded=True)
    name = f"verify-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    cloud.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return S3Store(name, cloud)


@pytest.mark.embedded
def test_on_s3_unchanged_products_cost_one_listing_a_region(bucket: S3Store) -> None:
    manifest = a_run(bucket, 2)
    for slot in (0, 1):
        products = tuple(put_product(bucket, manifest, slot, stem) for stem in "abcde")
        put_attempt(bucket, manifest, slot, "done", products=products)
    family = read_family(bucket, manifest.run_id)
    family.receipts()
    asked = Counting(bucket)
    assert verify_run(family, bucket).states == {"complete": 2}
    assert sorted(asked.calls) == ["ListObjectsV2"] * 2


@pytest.mark.embedded
def test_on_s3_an_object_put_again_is_compared(bucket: S3Store) -> None:
    manifest = a_run(bucket, 2)
    products = [put_product(bucket, manifest, slot) for slot in (0, 1)]
    for slot in (0, 1):
        put_attempt(bucket, manifest, slot, "done", products=(products[slot],))
    changed = bytearray(PIXELS)
    changed[500] ^= 1
    bucket.put(products[0].key, bytes(changed))
    assert [unit.state for unit in check(bucket, manifest).units] == ["damaged", "complete"]


@pytest.mark.embedded
def test_bytes_changed_behind_s3_are_found_by_reading(bucket: S3Store, cloud_endpoint: Endpoint) -> None:
    manifest = a_run(bucket, 2)
    mark = hashlib.sha256(bucket.bucket.encode()).digest()
    products = [put_product(bucket, manifest, slot, data=PIXELS + mark + bytes([slot])) for slot in (0, 1)]
    there = ProductThere(**products[1].model_dump(include=set(ProductThere.model_fields)))
    put_attempt(bucket, manifest, 0, "done", products=(products[0],))
    # a killed attempt wrote it, so that no receipt knows its hash; S3 does
    put_attempt(bucket, manifest, 1, "done", already_there=(there,))
    assert check(bucket, manifest, "read").states == {"complete": 2}
    objects = [path for path in Path(cloud_endpoint.home).rglob("*") if path.is_file()]
    changed = [path for path in objects if path.stat().st_size == 1061 and mark in path.read_bytes()]
    assert len(changed) == 2
    for path in changed:
        flip_a_byte(path)
    report = check(bucket, manifest, "read")
    assert report.states == {"damaged": 2}
    assert all("is not what was put: its bytes changed" in str(unit.reason) for unit in report.units)
    assert check(bucket, manifest, "quick").exit_code == 0


def test_a_store_that_lists_a_tag_of_another_write_is_read(tmp_path: Path) -> None:
    class Tagged(LocalStore):
        def list(self, prefix: str) -> Any:
            return (Entry(entry.key, entry.size, '"new"') for entry in super().list(prefix))

    store = Tagged(tmp_path / "store")
    manifest = a_run(store)
    product = put_product(store, manifest, 0).model_copy(update={"etag": '"old"'})
    put_attempt(store, manifest, 0, "done", products=(product,))
    assert only(check(store, manifest)).state == "complete"
    flip_a_byte(store.root / product.key)
    assert only(check(store, manifest)).state == "damaged"
