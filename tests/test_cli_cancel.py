"""``batch cancel`` as typed, on children that really run: exit code, words, and how the run stands after."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from embedded import wait_for
from family_bench import INDEX, FamilyBench

from glacierflow.cli.app import run
from glacierflow.local.control import Endpoint
from glacierflow.model.manifest import Manifest

pytestmark = pytest.mark.embedded

SLEEPS = f"case {INDEX} in 0) exit 0 ;; *) exec sleep 60 ;; esac"
Typed = Callable[..., str]


@pytest.fixture
def bench(cloud_endpoint: Endpoint) -> FamilyBench:
    return FamilyBench(cloud_endpoint)


@pytest.fixture
def typed(bench: FamilyBench, at_cloud: Endpoint, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a verb of ``batch`` about the bench's bucket; what it prints."""

    def type_it(*words: str, expect: int = 0) -> str:
        capsys.readouterr()
        assert run(["batch", *words, "--local", "--quiet", "--s3-bucket", bench.name]) == expect
        said = capsys.readouterr()
        return said.out if expect != 64 else said.err

    return type_it


def one_done_two_asleep(bench: FamilyBench) -> Manifest:
    bench.define(SLEEPS, attempts=3)
    manifest = bench.submit(3)
    bench.no_data(manifest, 0)
    wait_for(lambda: not bench.standings(manifest)[0].live)
    return manifest


def test_a_cancelled_run_ends_with_its_children_called_cancelled(bench: FamilyBench, typed: Typed) -> None:
    manifest = one_done_two_asleep(bench)
    assert typed("cancel", manifest.run_id).splitlines() == [
        f"run {manifest.run_id}",
        "  cancelled 2; had ended before: 1 no_data",
    ]
    bench.ended(manifest)
    status = json.loads(typed("status", manifest.run_id, "--json", expect=1))
    assert (status["finished"], status["states"]) == (True, {"SUCCEEDED": 1, "FAILED": 2})
    assert [one["failure"] for one in status["slots"]] == [None, "cancelled", "cancelled"]
    (again,) = json.loads(typed("cancel", manifest.run_id, "--json"))
    assert (again["ended"], again["never_submitted"]) == ([], 0)


def test_of_a_run_one_region_is_cancelled_and_an_unknown_one_ends_nothing(
    bench: FamilyBench, typed: Typed
) -> None:
    manifest = one_done_two_asleep(bench)
    said = typed("cancel", manifest.run_id, "--region", "777_nowhere", expect=64)
    assert "has no region 777_nowhere" in said
    assert [one.live for one in bench.standings(manifest)] == [False, True, True]
    (one,) = json.loads(typed("cancel", manifest.run_id, "--region", "002_made_up", "--json"))
    assert (one["run_id"], one["ended"]) == (manifest.run_id, [2])
    wait_for(lambda: bench.failures(manifest)[2] == "cancelled")
    assert bench.standings(manifest)[1].live
    typed("cancel", manifest.run_id)
    bench.ended(manifest)
    assert bench.failures(manifest) == [None, "cancelled", "cancelled"]


def test_a_run_nobody_knows_cannot_be_cancelled(typed: Typed) -> None:
    assert "there is no run" in typed("cancel", "20000101T000000-nobody", expect=64)
