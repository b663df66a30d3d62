"""Which units a retry takes, what it gives them, and how it cuts them into arrays."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from runs_samples import NOW, some_manifest

from glacierflow.errors import UsageError
from glacierflow.model.manifest import ArrayRange
from glacierflow.runs.retry import RETRIED_UNASKED, Conditions, Standing, build_retry, parse_only, plan_retry
from glacierflow.runs.states import FAILURE_CLASSES, FailureClass

SMALL = Conditions(7500, on_demand=False, timeout_s=None)


def standing(slot: int, failure: Any, had: Conditions = SMALL, **more: Any) -> Standing:
    return Standing(slot, failure, more.pop("live", False), had, more.pop("ran_with_timeout_s", 7200), **more)


@pytest.mark.parametrize(
    ("failure", "gets"),
    [
        ("oom", Conditions(15_500, on_demand=False, timeout_s=None)),
        ("spot", Conditions(7500, on_demand=True, timeout_s=None)),
        ("capacity", Conditions(7500, on_demand=True, timeout_s=None)),
        ("timeout", Conditions(7500, on_demand=False, timeout_s=14_400)),
        *((one, SMALL) for one in ("start", "service", "killed", "data", "bug", "missing")),
    ],
)
def test_each_class_gets_what_it_lacked(failure: Any, gets: Conditions) -> None:
    (unit,) = plan_retry([standing(3, failure)], RETRIED_UNASKED).units
    assert (unit.slot, unit.failure, unit.had, unit.gets) == (3, failure, SMALL, gets)


def test_what_a_unit_was_given_stays_with_it() -> None:
    had = Conditions(31_500, on_demand=True, timeout_s=14_400)
    gets = {
        failure: plan_retry([standing(0, failure, had, ran_with_timeout_s=14_400)], [failure]).units[0].gets
        for failure in ("oom", "timeout", "data")
    }
    assert gets == {
        "oom": Conditions(63_200, on_demand=True, timeout_s=14_400),
        "timeout": Conditions(31_500, on_demand=True, timeout_s=28_800),
        "data": had,
    }


def test_above_the_largest_class_there_is_nothing_and_it_says_so() -> None:
    had = Conditions(63_200, on_demand=False, timeout_s=None)
    plan = plan_retry([standing(0, "oom", had), standing(1, "bug", had)], RETRIED_UNASKED)
    assert [unit.slot for unit in plan.units] == [1]
    assert [(left.slot, left.reason) for left in plan.left] == [
        (0, "there is no memory class above 63200 MiB")
    ]


def test_a_function_is_as_it_is_so_units_go_on_as_before_and_what_lacked_memory_is_left() -> None:
    failures: list[FailureClass] = ["timeout", "spot", "oom", "missing"]
    standings = [standing(slot, failure) for slot, failure in enumerate(failures)]
    plan = plan_retry(standings, RETRIED_UNASKED, "lambda")
    assert [(unit.slot, unit.gets) for unit in plan.units] == [(0, SMALL), (1, SMALL), (3, SMALL)]
    assert [left.slot for left in plan.left] == [2]
    assert "--service batch" in plan.left[0].reason


def test_good_and_living_units_are_not_touched() -> None:
    standings = [standing(0, None), standing(1, "spot", live=True), standing(2, None, live=True)]
    plan = plan_retry(standings, RETRIED_UNASKED)
    assert (plan.units, plan.left, plan.live) == ((), (), 2)


def test_wrong_settings_would_be_wrong_again_and_are_left_unless_named() -> None:
    plan = plan_retry([standing(0, "config")], RETRIED_UNASKED)
    assert plan.units == ()
    assert "--only config" in plan.left[0].reason
    assert plan_retry([standing(0, "config")], parse_only("config")).units[0].gets == SMALL


def test_what_somebody_ended_stays_ended_unless_named() -> None:
    plan = plan_retry([standing(0, "cancelled")], RETRIED_UNASKED)
    assert plan.units == ()
    assert "--only cancelled" in plan.left[0].reason
    assert plan_retry([standing(0, "cancelled")], parse_only("cancelled")).units[0].gets == SMALL


def test_only_names_classes_and_the_rest_is_told() -> None:
    plan = plan_retry([standing(0, "oom"), standing(1, "spot"), standing(2, "data")], parse_only("spot, oom"))
    assert {unit.slot for unit in plan.units} == {0, 1}
    assert [(left.slot, left.reason) for left in plan.left] == [(2, "not named by --only")]
    assert plan.classes == {"spot": 1, "oom": 1}


@pytest.mark.parametrize("text", ["", ",", "ram", "oom,disk"])
def test_unknown_classes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--only = .* is not accepted") as refusal:
        parse_only(text)
    assert refusal.value.next_step is not None
    assert all(one in refusal.value.next_step for one in FAILURE_CLASSES)


def test_units_alike_share_an_array_and_the_remap_is_dense() -> None:
    root = some_manifest(8)
    failures = {1: "oom", 2: "spot", 4: "timeout", 5: "oom", 7: "data"}
    plan = plan_retry([standing(slot, failures.get(slot)) for slot in range(8)], RETRIED_UNASKED)
    retry = build_retry(root, plan, now=NOW + dt.timedelta(hours=1))
    assert retry.root_run_id == root.run_id
    assert retry.arrays == (
        ArrayRange(first_slot=0, size=2, memory_mib=15_500),
        ArrayRange(first_slot=2, size=1, memory_mib=7500),
        ArrayRange(first_slot=3, size=1, memory_mib=7500, timeout_s=14_400),
        ArrayRange(first_slot=4, size=1, memory_mib=7500, on_demand=True),
    )
    assert retry.origin_slots == (1, 5, 7, 4, 2)
    assert [retry.slots[own] for own in range(5)] == [root.slots[slot] for slot in retry.origin_slots]
    assert sorted(retry.regions) == [
        "001_made_up",
        "002_made_up",
        "004_made_up",
        "005_made_up",
        "007_made_up",
    ]
    assert retry.settings == root.settings
    assert retry.run_id != root.run_id


def test_no_array_is_larger_than_aws_takes() -> None:
    root = some_manifest(1)
    root = root.model_copy(update={"slots": root.slots * 10_001})
    plan = plan_retry([standing(slot, "bug") for slot in range(10_001)], RETRIED_UNASKED)
    assert [array.size for array in build_retry(root, plan).arrays] == [10_000, 1]


def test_damaged_products_are_named_to_be_made_again() -> None:
    plan = plan_retry([standing(0, "missing", remake=("a.tif", "b.tif"))], RETRIED_UNASKED)
    assert build_retry(some_manifest(1), plan).remake == ("a.tif", "b.tif")


def test_nothing_to_do_is_no_run() -> None:
    with pytest.raises(UsageError, match="nothing to try again"):
        build_retry(some_manifest(1), plan_retry([standing(0, None)], RETRIED_UNASKED))


def test_the_image_of_the_retry_is_the_one_it_runs_in() -> None:
    plan = plan_retry([standing(0, "bug")], RETRIED_UNASKED)
    root = some_manifest(1).model_copy(update={"image_digest": "sha256:old"})
    assert build_retry(root, plan, image="repo@sha256:new").image_digest == "sha256:new"
    assert build_retry(root, plan, image="repo:tag").image_digest is None
    assert build_retry(root, plan).image_digest == "sha256:old"
