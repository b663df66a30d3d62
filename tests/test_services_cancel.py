"""Cancelling runs whose children really run."""

from __future__ import annotations

import pytest
from embedded import wait_for
from family_bench import INDEX, FamilyBench

from glacierflow.errors import UsageError
from glacierflow.live.retry import CANCEL_REASON, Cancelled, cancel_family, find_retry, submit_retry
from glacierflow.local.control import Endpoint
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.runs.retry import RETRIED_UNASKED

pytestmark = pytest.mark.embedded

SLEEPS = f"case {INDEX} in 0) exit 0 ;; *) exec sleep 60 ;; esac"


@pytest.fixture
def bench(cloud_endpoint: Endpoint) -> FamilyBench:
    return FamilyBench(cloud_endpoint)


def cancel(bench: FamilyBench, manifest: Manifest, *regions: str) -> list[Cancelled]:
    family = bench.family(manifest)
    return cancel_family(family, bench.store, bench.cloud, bench.places, regions=regions)


def first_ended(bench: FamilyBench, manifest: Manifest) -> None:
    bench.no_data(manifest, 0)
    wait_for(lambda: not bench.standings(manifest)[0].live)


def test_a_whole_run_is_ended_and_what_was_done_is_told(bench: FamilyBench) -> None:
    bench.define(SLEEPS, attempts=3)
    root = bench.submit(3)
    first_ended(bench, root)
    assert cancel(bench, root) == [Cancelled(root.run_id, (1, 2), {"no_data": 1}, 0)]
    bench.ended(root)
    assert bench.failures(root) == [None, "cancelled", "cancelled"]
    (job,) = bench.batch.list_jobs(
        jobQueue="glacierflow-spot", filters=[{"name": "JOB_NAME", "values": [f"gf-{root.run_id}-0"]}]
    )["jobSummaryList"]
    child = bench.described(f"{job['jobId']}:1")
    assert child["statusReason"] == CANCEL_REASON
    assert len(child["attempts"]) <= 1
    # again: there is nothing left to end
    assert cancel(bench, root) == [Cancelled(root.run_id, (), {"failed": 2, "no_data": 1}, 0)]


def test_one_region_is_ended_and_the_others_go_on(bench: FamilyBench) -> None:
    bench.define(SLEEPS)
    root = bench.submit(3)
    first_ended(bench, root)
    (cancelled,) = cancel(bench, root, "001_made_up")
    assert (cancelled.ended, cancelled.before) == ((1,), {})
    wait_for(lambda: bench.failures(root)[1] == "cancelled")
    assert bench.standings(root)[2].live
    cancel(bench, root)


def test_a_job_that_was_never_recorded_is_ended_too(bench: FamilyBench) -> None:
    bench.define("exec sleep 60")
    root = bench.submit(1, on_demand=True)
    bench.store._client.delete_object(Bucket=bench.name, Key=RunLayout(root.run_id).job(0))
    (cancelled,) = cancel(bench, root)
    assert cancelled.ended == (0,)
    bench.ended(root)
    assert bench.failures(root) == ["cancelled"]


def test_retries_are_ended_with_their_run(bench: FamilyBench) -> None:
    bench.define("exit 65")
    root = bench.submit(2)
    bench.ended(root)
    bench.define("exec sleep 60")
    plan = find_retry(bench.family(root), bench.store, bench.cloud, bench.places, RETRIED_UNASKED)
    retry, _ = submit_retry(bench.family(root), plan, bench.store, bench.launcher)
    cancelled = cancel(bench, root)
    assert [(one.run_id, one.ended) for one in cancelled] == [(retry.run_id, (0, 1)), (root.run_id, ())]
    bench.ended(root)
    assert bench.failures(root) == ["cancelled", "cancelled"]


def test_a_run_that_was_never_submitted_has_nothing_to_end(bench: FamilyBench) -> None:
    bench.define("exit 0")
    root = bench.submit(1)
    bench.ended(root)
    unsent = root.model_copy(update={"run_id": f"{root.run_id}-unsent"})
    bench.store.put(RunLayout(unsent.run_id).manifest, unsent.model_dump_json().encode())
    assert cancel(bench, unsent) == [Cancelled(unsent.run_id, (), {}, 1)]


def test_an_unknown_region_is_refused_before_anything_is_ended(bench: FamilyBench) -> None:
    bench.define("exec sleep 60")
    root = bench.submit(1)
    with pytest.raises(UsageError, match="has no region 777_nowhere"):
        cancel(bench, root, "000_made_up", "777_nowhere")
    assert bench.standings(root)[0].live
    cancel(bench, root)
