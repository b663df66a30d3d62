"""Retries of children that really ended badly, and submitters killed in between."""

from __future__ import annotations

from typing import Any

import pytest
from embedded import wait_for
from family_bench import INDEX, FamilyBench
from runs_samples import put_attempt
from test_verify import put_product

from glacierflow.errors import UnavailableError, UsageError
from glacierflow.launch.batch import JobLauncher
from glacierflow.live.retry import check_catalogue, find_retry, submit_retry
from glacierflow.local.control import Endpoint
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import ArrayRange
from glacierflow.model.receipt import UnitEnd
from glacierflow.runs.records import read_jobs
from glacierflow.runs.retry import RETRIED_UNASKED, RetryPlan, parse_only

pytestmark = pytest.mark.embedded

HOG = "python -c 'import time; hog = bytearray(200 << 20); hog[::4096] = hog[::4096]; time.sleep(60)'"
ENDS = f"""case {INDEX} in
  0|4) exit 0 ;;
  1) exit 65 ;;
  2) exec sleep 60 ;;
  3) exec {HOG} ;;
  5) exit 70 ;;
esac"""


@pytest.fixture
def bench(cloud_endpoint: Endpoint) -> FamilyBench:
    return FamilyBench(cloud_endpoint)


def plan_of(bench: FamilyBench, manifest: Any, only: str | None = None) -> RetryPlan:
    classes = parse_only(only) if only else RETRIED_UNASKED
    return find_retry(bench.family(manifest), bench.store, bench.cloud, bench.places, classes)


def test_children_that_ended_badly_are_tried_again_with_what_they_lacked(bench: FamilyBench) -> None:
    bench.define(ENDS, timeout_s=240)
    root = bench.submit(6)
    bench.no_data(root, 0)
    bench.ended(root)
    assert bench.failures(root) == [None, "data", "timeout", "oom", "missing", "bug"]
    plan = plan_of(bench, root)
    assert plan.classes == {"oom": 1, "timeout": 1, "data": 1, "bug": 1, "missing": 1}
    bench.define("exit 0", timeout_s=240)
    retry, jobs = submit_retry(bench.family(root), plan, bench.store, bench.launcher)
    assert retry.origin_slots == (3, 1, 4, 5, 2)
    # each keeps its job definition: the larger class, the same one, and the same with twice its 240 s
    definitions = [job.job_definition.rpartition(":")[0] for job in jobs]
    assert definitions == [f"{bench.name}-15500", f"{bench.name}-7500", f"{bench.name}-7500"]
    limits = [bench.described(job.job_id)["timeout"]["attemptDurationSeconds"] for job in jobs]
    assert limits == [240, 240, 480]
    assert [job.size for job in jobs] == [1, 3, 1]
    bench.ended(root)
    for own in range(5):
        bench.no_data(retry, own)
    assert bench.failures(root) == [None] * 6
    assert plan_of(bench, root).units == ()


def test_the_second_retry_builds_on_the_first(bench: FamilyBench) -> None:
    bench.define(f"exec {HOG}")
    root = bench.submit(2)
    bench.ended(root)
    assert bench.failures(root) == ["oom", "oom"]
    bench.define("exit 65")
    submit_retry(bench.family(root), plan_of(bench, root), bench.store, bench.launcher)
    bench.ended(root)
    first = bench.standings(root)[0]
    assert (first.failure, first.had.memory_mib) == ("data", 15_500)
    retry, jobs = submit_retry(bench.family(root), plan_of(bench, root), bench.store, bench.launcher)
    assert retry.root_run_id == root.run_id
    assert [job.memory_mib for job in jobs] == [15_500]
    assert len(bench.family(root).members) == 3
    # a look at a retry is a look at the first run
    assert bench.family(retry).root == root


def test_a_living_unit_is_not_submitted_twice(bench: FamilyBench) -> None:
    bench.define(f"case {INDEX} in 0) exit 65 ;; *) exec sleep 60 ;; esac")
    root = bench.submit(2)
    bench.no_data(root, 1)
    wait_for(lambda: bool(plan_of(bench, root).units))
    plan = plan_of(bench, root)
    assert ([unit.slot for unit in plan.units], plan.live) == ([0], 1)


@pytest.mark.parametrize("sent", [0, 1])
def test_a_retry_killed_while_submitting_is_no_try_and_can_be_repeated(
    bench: FamilyBench, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    """Killed before its first job, or between its first and its second."""
    bench.define(f"case {INDEX} in 0) exit 65 ;; *) exec {HOG} ;; esac")
    root = bench.submit(2)
    bench.ended(root)
    before = plan_of(bench, root)
    assert len(before.units) == 2
    real = JobLauncher.launch

    def die(launcher: JobLauncher, manifest: Any, store: Any) -> Any:
        real(launcher, manifest.model_copy(update={"arrays": manifest.arrays[:sent]}), store)
        raise UnavailableError("killed")

    monkeypatch.setattr(JobLauncher, "launch", die)
    with pytest.raises(UnavailableError):
        submit_retry(bench.family(root), before, bench.store, bench.launcher)
    monkeypatch.undo()
    bench.ended(root)
    after = plan_of(bench, root)
    # what was sent has been tried: alone it is index 0, which ends with 65; what was not is as it was
    stand = {unit.slot: (unit.failure, unit.had.memory_mib) for unit in after.units}
    assert stand == {0: ("data", 7_500), 1: ("data", 15_500) if sent else ("oom", 7_500)}
    retry, jobs = submit_retry(bench.family(root), after, bench.store, bench.launcher)
    assert sorted(retry.origin_slots) == sorted(unit.slot for unit in after.units)
    assert len(jobs) == len(retry.arrays)


def test_a_job_that_was_sent_and_not_recorded_is_a_try(bench: FamilyBench) -> None:
    bench.define("exit 65")
    root = bench.submit(2)
    bench.ended(root)
    retry, (job,) = submit_retry(bench.family(root), plan_of(bench, root), bench.store, bench.launcher)
    bench.store._client.delete_object(Bucket=bench.name, Key=RunLayout(retry.run_id).job(0))
    assert read_jobs(bench.store, retry.run_id) == []
    bench.standings(root)
    assert [found.job_id for found in read_jobs(bench.store, retry.run_id)] == [job.job_id]


def test_damaged_products_are_made_again_and_gone_ones_too(bench: FamilyBench) -> None:
    bench.define("exit 0")
    root = bench.submit(3)
    products = [put_product(bench.store, root, slot) for slot in range(3)]
    for slot in range(3):
        put_attempt(bench.store, root, slot, "done", products=(products[slot],))
    bench.ended(root)
    assert plan_of(bench, root).units == ()
    bench.store.put(products[0].key, b"x" * products[0].size)
    bench.store._client.delete_object(Bucket=bench.name, Key=products[1].key)
    plan = plan_of(bench, root, "missing")
    assert [(unit.slot, unit.failure, unit.remake) for unit in plan.units] == [
        (0, "missing", (products[0].key,)),
        (1, "missing", ()),
    ]
    retry, _ = submit_retry(bench.family(root), plan, bench.store, bench.launcher)
    assert retry.remake == (products[0].key,)


def test_of_a_slot_with_several_units_the_plan_names_those_that_are_not_done(bench: FamilyBench) -> None:
    bench.define("exit 0")
    root = bench.submit_packed(3)
    ends = UnitEnd(outcome="done"), UnitEnd(outcome="partial", error="B08.tif"), UnitEnd(outcome="no_data")
    product = put_product(bench.store, root, 0)
    put_attempt(bench.store, root, 0, "partial", products=(product,), error="B08.tif", unit_ends=ends)
    bench.ended(root)
    (unit,) = plan_of(bench, root).units
    assert (unit.slot, unit.failure, unit.lacking) == (0, "data", (root.slots[0][1],))
    (unseen,) = plan_of(bench, root, "data").units
    assert unseen.lacking is None
    bench.store._client.delete_object(Bucket=bench.name, Key=product.key)
    (unit,) = plan_of(bench, root).units
    assert unit.lacking == root.slots[0][:2]


def test_a_job_that_was_never_sent_is_missing(bench: FamilyBench) -> None:
    bench.define("exit 65")
    whole = bench.submit(4, arrays=(ArrayRange(first_slot=0, size=2), ArrayRange(first_slot=2, size=2)))
    bench.ended(whole)
    # as if the submitter had died between its two jobs
    lost = whole.model_copy(update={"run_id": f"{whole.run_id}-lost"})
    bench.store.put(RunLayout(lost.run_id).manifest, lost.model_dump_json().encode())
    first = read_jobs(bench.store, whole.run_id)[0]
    bench.store.put(RunLayout(lost.run_id).job(0), first.model_dump_json().encode())
    assert bench.failures(lost) == ["data", "data", "missing", "missing"]


def test_another_catalogue_is_refused(bench: FamilyBench) -> None:
    bench.define("exit 0")
    root = bench.submit(1)
    check_catalogue(root, root.catalogue_sha256)
    with pytest.raises(UsageError, match="was planned with another region catalogue"):
        check_catalogue(root, "0" * 64)
