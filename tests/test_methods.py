"""The methods paragraph and its tables, from a run with a retry."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from runs_samples import put_attempt
from test_verify import a_packed_run, a_retry, a_run, put_product

from glacierflow.model.receipt import Counts, ProductThere, Receipt
from glacierflow.model.records import LeftOut
from glacierflow.runs.family import read_family
from glacierflow.runs.methods import Methods, exclusions_csv, methods_markdown, methods_of, scenes_csv
from glacierflow.store import LocalStore


@pytest.fixture
def methods(tmp_path: Path) -> Methods:
    """Slot 0 partial, then mended by a retry; slot 1 without images; slot 2 never finished."""
    store = LocalStore(tmp_path / "store")
    root = a_run(store, 3)
    first, second = put_product(store, root, 0, "a"), put_product(store, root, 0, "b")
    put_attempt(store, root, 0, "partial", products=(first,), error="x", counts=Counts(found=5, kept=2))
    put_attempt(store, root, 1, "no_data", counts=Counts(found=7))
    put_attempt(store, root, 2, "failed", error="x", exit_code=70)
    retry = a_retry(store, root, (0,))
    there = ProductThere(**first.model_dump(include=set(ProductThere.model_fields)))
    put_attempt(
        store,
        retry,
        0,
        "done",
        products=(second,),
        already_there=(there,),
        counts=Counts(found=5, kept=2, written=1, skipped=1),
    )
    return methods_of(read_family(store, root.run_id))


def test_the_paragraph_has_scenes_dates_versions_and_exclusions(methods: Methods) -> None:
    paragraph = methods_markdown(methods).split("\n\n")[1]
    for fact in (
        "Sentinel-2 Level-2A band 8 (near infrared) images of 3 regions from 2024-07-01 to 2024-07-31",
        "STAC collection sentinel-2-l2a (https://earth-search.aws.element84.com/v1) on 2024-08-01",
        "returned 12 items, which made 2 images; 2 items or acquisitions were left out",
        "by cubic convolution, from its own grid to EPSG:3413 at 10 m",
        "less than 50% of the region",
        "Of 3 units of work 1 were completed, 1 had no usable image and 1 were not finished",
        "glacierflow 0; the region catalogue",
    ):
        assert fact in paragraph


def test_exclusions_are_counted_by_reason_and_regions_have_a_line_each(methods: Methods) -> None:
    text = methods_markdown(methods)
    assert "| low_coverage | 2 | 12 % of the region |" in text
    assert "| 000_made_up | 2 | 2024-07-03 | 2024-07-03 | 1 |" in text
    assert "| 001_made_up | 0 |  |  | 1 |" in text
    assert "| 002_made_up | 0 |  |  | 0 |" in text


def test_every_image_stands_once_with_what_it_was_made_from(methods: Methods) -> None:
    rows = list(csv.DictReader(io.StringIO(scenes_csv(methods))))
    assert [row["region"] for row in rows] == ["000_made_up"] * 2
    assert len({row["key"] for row in rows}) == 2
    assert all(len(row["sha256"]) == 64 and row["sources"] == "x" for row in rows)


def test_every_exclusion_has_its_reason(methods: Methods) -> None:
    rows = list(csv.DictReader(io.StringIO(exclusions_csv(methods))))
    assert [(row["region"], row["item"], row["code"]) for row in rows] == [
        ("000_made_up", "x", "low_coverage"),
        ("001_made_up", "x", "low_coverage"),
    ]


def test_a_run_that_has_not_begun_says_so(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    text = methods_markdown(methods_of(read_family(store, a_run(store).run_id)))
    assert "Of 1 units of work 1 were not finished" in text
    assert "of an unknown version" in text


def test_a_bar_in_a_reason_does_not_break_the_table(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    root = a_run(store)
    put_attempt(store, root, 0, "no_data", counts=Counts(found=1))
    (path,) = tmp_path.rglob("*.no_data.json")
    receipt = Receipt.model_validate_json(path.read_text())
    odd = receipt.model_copy(update={"left_out": (LeftOut(item_id="x", code="c", reason="a|b"),)})
    path.write_text(odd.model_dump_json())
    assert "| c | 1 | a/b |" in methods_markdown(methods_of(read_family(store, root.run_id)))


def test_old_receipts_of_several_units_count_once_for_their_slot(tmp_path: Path) -> None:
    """They do not tell of which unit a scene was; the units are counted all the same."""
    store = LocalStore(tmp_path)
    root = a_packed_run(store)
    put_attempt(
        store, root, 0, "done", products=(put_product(store, root, 0),), counts=Counts(found=5, kept=1)
    )
    methods = methods_of(read_family(store, root.run_id))
    text = methods_markdown(methods)
    assert "Of 3 units of work 1 were completed and 2 had no usable image" in text
    assert "returned 5 items, which made 1 images; 1 items or acquisitions were left out" in text
    (row,) = csv.DictReader(io.StringIO(exclusions_csv(methods)))
    assert row["region"] == "000_made_up+001_made_up+002_made_up"
