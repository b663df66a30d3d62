"""From regions to slots, arrays, a manifest and SubmitJob requests."""

from __future__ import annotations

import re

import pytest
from runs_samples import DATE1, DATE2, NOW, some_manifest, some_regions

from glacierflow.errors import UsageError
from glacierflow.manifest import Manifest
from glacierflow.model import StepSettings
from glacierflow.runs.plan import build_manifest, cut_arrays, job_name, plan_slots, submit_requests


def requests_of(manifest: Manifest, **options: dict[str, str]) -> list[dict[str, object]]:
    return submit_requests(manifest, job_queue="queue", job_definition="definition:3", **options)


def environment_of(request: dict[str, object]) -> dict[str, str]:
    overrides = request["containerOverrides"]
    assert isinstance(overrides, dict)
    return {entry["name"]: entry["value"] for entry in overrides["environment"]}


def test_slots_stand_in_catalogue_order_one_region_each() -> None:
    regions = some_regions(3, first=65)
    slots = plan_slots("landsat", [regions[2], regions[0], regions[1], regions[0]], DATE1, DATE2)
    assert [[unit.region for unit in slot] for slot in slots] == [
        ["065_made_up"],
        ["066_made_up"],
        ["067_made_up"],
    ]
    assert {(unit.satellite, unit.date1, unit.date2) for slot in slots for unit in slot} == {
        ("landsat", DATE1, DATE2)
    }


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (1, [(0, 1)]),
        (192, [(0, 192)]),
        (10_000, [(0, 10_000)]),
        (10_001, [(0, 10_000), (10_000, 1)]),
        (25_000, [(0, 10_000), (10_000, 10_000), (20_000, 5_000)]),
    ],
)
def test_arrays_hold_at_most_ten_thousand(slots: int, expected: list[tuple[int, int]]) -> None:
    assert [(array.first_slot, array.size) for array in cut_arrays(slots)] == expected


def test_manifest_keeps_only_the_regions_it_names_and_survives_json() -> None:
    regions = some_regions(5)
    slots = plan_slots("sentinel2", regions[1:3], DATE1, DATE2)
    manifest = build_manifest(
        slots, regions, StepSettings(), catalogue_sha256="abc", store="s3://made-up", now=NOW
    )
    assert sorted(manifest.regions) == ["001_made_up", "002_made_up"]
    assert re.fullmatch(r"sentinel2-20240701-20240731-1_2-20240801T120005Z-[0-9a-f]{6}", manifest.run_id), (
        manifest.run_id
    )
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(UsageError, match="no region"):
        build_manifest((), [], StepSettings(), catalogue_sha256="abc", store="s3://made-up")


def test_an_array_job_gets_its_size_and_no_index() -> None:
    (request,) = requests_of(some_manifest(3))
    assert request["arrayProperties"] == {"size": 3}
    assert request["propagateTags"] is True
    run_id = some_manifest(3).run_id
    assert request["jobName"] == f"gf-{run_id}-0"
    assert environment_of(request) == {
        "GLACIERFLOW_MANIFEST": f"s3://made-up/runs/{run_id}/manifest.json",
        "GLACIERFLOW_SLOT_OFFSET": "0",
    }


def test_one_unit_is_a_plain_job_that_is_told_its_index() -> None:
    (request,) = requests_of(some_manifest(1))
    assert "arrayProperties" not in request
    assert environment_of(request)["GLACIERFLOW_INDEX"] == "0"


def test_the_slot_beyond_a_full_array_is_a_plain_job_at_its_offset() -> None:
    first, second = requests_of(some_manifest(10_001))
    assert first["arrayProperties"] == {"size": 10_000}
    assert "arrayProperties" not in second
    assert environment_of(second)["GLACIERFLOW_SLOT_OFFSET"] == "10000"
    assert environment_of(second)["GLACIERFLOW_INDEX"] == "0"


def test_tags_are_made_acceptable() -> None:
    (request,) = requests_of(some_manifest(2), tags={"who?": "a&b," + "x" * 300})
    tags = request["tags"]
    assert isinstance(tags, dict)
    assert tags["who_"].startswith("a_b_xxx")
    assert len(tags["who_"]) == 256
    assert (tags["project"], tags["run"]) == ("glacierflow", some_manifest(2).run_id)


def test_overrides_that_would_fail_later_are_refused_now() -> None:
    with pytest.raises(UsageError, match="8192"):
        requests_of(some_manifest(2, store="s3://" + "x" * 9000))


def test_a_job_name_too_long_for_batch_is_refused() -> None:
    assert len(job_name("r" * 123, 0)) == 128
    with pytest.raises(UsageError, match="129 characters"):
        job_name("r" * 124, 0)
