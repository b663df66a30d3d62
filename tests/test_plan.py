"""From regions to slots, arrays, a manifest and SubmitJob requests."""

from __future__ import annotations

import re

import pytest
from botocore.session import Session
from botocore.validate import ParamValidator
from runs_samples import DATE1, DATE2, NOW, some_manifest, some_regions

from glacierflow.errors import UsageError
from glacierflow.model.manifest import ArrayRange, Manifest
from glacierflow.model.records import StepSettings
from glacierflow.runs.plan import Destination, build_manifest, job_name, plan_slots, submit_requests


def requests_of(
    manifest: Manifest, tags: dict[str, str] | None = None, resource: str | None = None
) -> list[dict[str, object]]:
    def destination(array: ArrayRange) -> Destination:
        queue = "ondemand" if array.on_demand else "spot"
        return Destination(queue, f"definition-{array.memory_mib}:3")

    return submit_requests(manifest, destination, tags=tags, consumable_resource=resource)


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


def test_a_manifest_from_before_its_order_was_kept_still_loads() -> None:
    content = some_manifest(3).model_dump(mode="json")
    assert content.pop("order") == "catalogue"
    assert Manifest.model_validate(content).order is None


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
    assert tags["satellite"] == "sentinel2"


def test_each_array_goes_to_its_queue_and_class_with_its_own_timeout() -> None:
    arrays = (
        ArrayRange(first_slot=0, size=1, memory_mib=15_500, on_demand=True, timeout_s=9_000),
        ArrayRange(first_slot=1, size=2, memory_mib=7_500),
    )
    first, second = requests_of(some_manifest(3).model_copy(update={"arrays": arrays}))
    assert (first["jobQueue"], first["jobDefinition"]) == ("ondemand", "definition-15500:3")
    assert (second["jobQueue"], second["jobDefinition"]) == ("spot", "definition-7500:3")
    assert first["timeout"] == {"attemptDurationSeconds": 9_000}
    assert "timeout" not in second


def test_a_consumable_resource_is_held_once_by_each_child() -> None:
    (request,) = requests_of(some_manifest(3), resource="stac")
    validator = ParamValidator()
    shape = Session().get_service_model("batch").operation_model("SubmitJob").input_shape
    assert shape is not None
    assert not validator.validate(request, shape).has_errors()
    override = request["consumableResourcePropertiesOverride"]
    assert override == {"consumableResourceList": [{"consumableResource": "stac", "quantity": 1}]}
    assert "consumableResourcePropertiesOverride" not in requests_of(some_manifest(3))[0]


def test_an_image_by_digest_is_in_the_manifest_and_its_fingerprint() -> None:
    regions = some_regions(1)
    slots = plan_slots("sentinel2", regions, DATE1, DATE2)

    def made(image: str | None) -> Manifest:
        return build_manifest(
            slots, regions, StepSettings(), catalogue_sha256="c", store="s3://x", image=image, now=NOW
        )

    pinned = made("1.dkr.ecr/glacierflow@sha256:ab")
    assert (pinned.image, pinned.image_digest) == ("1.dkr.ecr/glacierflow@sha256:ab", "sha256:ab")
    assert made("1.dkr.ecr/glacierflow:latest").image_digest is None
    assert len({made(image).fingerprint for image in (None, "a:1", "a:2")}) == 3


def test_overrides_that_would_fail_later_are_refused_now() -> None:
    with pytest.raises(UsageError, match="8192"):
        requests_of(some_manifest(2, store="s3://" + "x" * 9000))


def test_a_job_name_too_long_for_batch_is_refused() -> None:
    assert len(job_name("r" * 123, 0)) == 128
    with pytest.raises(UsageError, match="129 characters"):
        job_name("r" * 124, 0)
