"""Batch in the embedded cloud: dependencies, queues, listing, cancelling, spot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from embedded import BatchBench, wait_for

from glacierflow.local import control
from glacierflow.local.control import Endpoint

pytestmark = pytest.mark.embedded

ONE_VCPU = {"resourceRequirements": [{"type": "VCPU", "value": "1"}]}


@pytest.fixture(scope="module")
def reclaiming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    home = tmp_path_factory.mktemp("reclaiming-cloud")
    yield control.up(home, clock=60, vcpus=2, spot_reclaim=1.0, seed=7)
    control.down(home)


@pytest.fixture
def bench(reclaiming: Endpoint) -> BatchBench:
    return BatchBench(reclaiming.url)


def test_jobs_beyond_the_vcpu_cap_wait_their_turn(bench: BatchBench) -> None:
    parent = bench.shell("sleep 0.3", overrides=ONE_VCPU, arrayProperties={"size": 6})
    most = 0

    def finished() -> bool:
        nonlocal most
        job = bench.describe(parent)
        summary = job["arrayProperties"]["statusSummary"]
        most = max(most, summary["RUNNING"] + summary["STARTING"])
        return bool(job["status"] == "SUCCEEDED")

    wait_for(finished)
    assert most == 2


def test_a_job_bigger_than_the_machine_runs_alone(bench: BatchBench) -> None:
    big = {"resourceRequirements": [{"type": "VCPU", "value": "16"}]}
    assert bench.wait(bench.submit(["true"], overrides=big))["status"] == "SUCCEEDED"


def test_a_job_bigger_than_its_environment_stays_runnable(bench: BatchBench) -> None:
    job_id = bench.submit(["true"], overrides={"resourceRequirements": [{"type": "VCPU", "value": "512"}]})
    job = bench.wait(job_id, "RUNNABLE")
    assert job["statusReason"].startswith("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE")
    bench.batch.cancel_job(jobId=job_id, reason="too big")
    cancelled = bench.wait(job_id)
    assert (cancelled["status"], cancelled["statusReason"]) == ("FAILED", "too big")
    assert cancelled["isCancelled"] is True
    assert cancelled["attempts"] == []


def test_a_dependent_waits_and_then_runs(bench: BatchBench) -> None:
    first = bench.shell("sleep 0.5")
    second = bench.submit(["true"], dependsOn=[{"jobId": first}])
    assert bench.describe(second)["status"] == "PENDING"
    done = bench.wait(second)
    assert done["status"] == "SUCCEEDED"
    assert done["startedAt"] >= bench.describe(first)["stoppedAt"]


def test_a_dependent_of_a_failed_array_fails_without_starting(bench: BatchBench) -> None:
    array = bench.shell("exit $AWS_BATCH_JOB_ARRAY_INDEX", arrayProperties={"size": 2})
    after = bench.submit(["true"], dependsOn=[{"jobId": array}])
    job = bench.wait(after)
    assert (job["status"], job["attempts"]) == ("FAILED", [])
    assert job["statusReason"] == "Dependent Job failed"
    late = bench.wait(bench.submit(["true"], dependsOn=[{"jobId": array}]))
    assert late["status"] == "FAILED"


def test_sequential_children_run_in_order_and_stop_at_a_failure(bench: BatchBench) -> None:
    parent = bench.shell(
        "test $AWS_BATCH_JOB_ARRAY_INDEX -lt 2",
        arrayProperties={"size": 5},
        dependsOn=[{"type": "SEQUENTIAL"}],
    )
    assert bench.wait(parent)["status"] == "FAILED"
    children = [bench.describe(f"{parent}:{index}") for index in range(5)]
    assert [child["status"] for child in children] == ["SUCCEEDED"] * 2 + ["FAILED"] * 3
    assert children[0]["stoppedAt"] <= children[1]["startedAt"]
    assert [len(child["attempts"]) for child in children] == [1, 1, 1, 0, 0]


def test_n_to_n_children_wait_for_their_partner_only(bench: BatchBench) -> None:
    first = bench.shell("test $AWS_BATCH_JOB_ARRAY_INDEX != 0 || exec sleep 30", arrayProperties={"size": 2})
    pair = [{"jobId": first, "type": "N_TO_N"}]
    second = bench.submit(["true"], arrayProperties={"size": 2}, dependsOn=pair)
    assert bench.wait(f"{second}:1")["status"] == "SUCCEEDED"
    assert bench.describe(f"{second}:0")["status"] == "PENDING"
    bench.batch.terminate_job(jobId=f"{first}:0", reason="stop")
    assert bench.wait(f"{second}:0")["status"] == "FAILED"
    assert bench.wait(second)["status"] == "FAILED"
    with pytest.raises(ClientError, match="same size"):
        bench.submit(["true"], arrayProperties={"size": 3}, dependsOn=pair)


def test_cancel_ends_what_waits_and_leaves_what_runs(bench: BatchBench) -> None:
    parent = bench.shell("sleep 0.7", overrides=ONE_VCPU, arrayProperties={"size": 5})
    wait_for(lambda: bench.describe(parent)["arrayProperties"]["statusSummary"]["RUNNING"] == 2)
    bench.batch.cancel_job(jobId=parent, reason="changed my mind")
    summary = bench.wait(parent)["arrayProperties"]["statusSummary"]
    assert (summary["SUCCEEDED"], summary["FAILED"]) == (2, 3)
    assert bench.describe(f"{parent}:4")["statusReason"] == "changed my mind"


def test_terminate_is_not_retried(bench: BatchBench) -> None:
    job_id = bench.shell("sleep 30", retryStrategy={"attempts": 5})
    bench.wait(job_id, "RUNNING")
    bench.batch.terminate_job(jobId=job_id, reason="enough")
    job = bench.wait(job_id)
    assert (job["status"], job["statusReason"], len(job["attempts"])) == ("FAILED", "enough", 1)
    assert job["container"]["exitCode"] == 143
    with pytest.raises(ClientError, match="does not exist"):
        bench.batch.terminate_job(jobId="nothing", reason="x")


def test_listing_shows_running_unless_told_otherwise(bench: BatchBench) -> None:
    done = bench.submit(["true"], jobName="listed-done")
    bench.wait(done)
    running = bench.shell("sleep 30", jobName="listed-running")
    bench.wait(running, "RUNNING")
    queue = "glacierflow-ondemand"
    ids = [one["jobId"] for one in bench.batch.list_jobs(jobQueue=queue)["jobSummaryList"]]
    assert running in ids
    assert done not in ids
    ended = bench.batch.list_jobs(jobQueue=queue, jobStatus="SUCCEEDED")["jobSummaryList"]
    assert done in [one["jobId"] for one in ended]
    assert running not in [one["jobId"] for one in ended]
    by_name = [{"name": "JOB_NAME", "values": ["LISTED-*"]}]
    found = bench.batch.list_jobs(jobQueue=queue, filters=by_name)["jobSummaryList"]
    assert {one["jobId"] for one in found} == {done, running}
    created = str(bench.describe(done)["createdAt"])
    later = [{"name": "AFTER_CREATED_AT", "values": [created]}]
    found = bench.batch.list_jobs(jobQueue=queue, filters=later)["jobSummaryList"]
    assert running in {one["jobId"] for one in found}
    assert done not in {one["jobId"] for one in found}
    bench.batch.terminate_job(jobId=running, reason="seen")
    bench.wait(running)


def test_children_are_listed_page_by_page(bench: BatchBench) -> None:
    parent = bench.submit(["true"], arrayProperties={"size": 7})
    bench.wait(parent)
    pages = list(
        bench.batch.get_paginator("list_jobs").paginate(
            arrayJobId=parent, jobStatus="SUCCEEDED", PaginationConfig={"PageSize": 3}
        )
    )
    assert [len(page["jobSummaryList"]) for page in pages] == [3, 3, 1]
    seen = [one["arrayProperties"]["index"] for page in pages for one in page["jobSummaryList"]]
    assert seen == list(range(7))
    assert pages[0]["jobSummaryList"][0]["container"]["exitCode"] == 0
    assert bench.batch.list_jobs(arrayJobId=parent)["jobSummaryList"] == []


def test_listing_needs_exactly_one_place_and_describing_at_most_100(bench: BatchBench) -> None:
    with pytest.raises(ClientError, match="Exactly one"):
        bench.batch.list_jobs()
    with pytest.raises(ClientError, match="Exactly one"):
        bench.batch.list_jobs(jobQueue="glacierflow-spot", arrayJobId="x")
    with pytest.raises(ClientError, match="at most 100"):
        bench.batch.describe_jobs(jobs=[f"job-{n}" for n in range(101)])
    assert bench.batch.describe_jobs(jobs=["nothing"])["jobs"] == []


LISTENS = """
import os, threading
from glacierflow.host import stop_when_told
stop = threading.Event()
stop_when_told(stop)
raise SystemExit(0 if os.environ["AWS_BATCH_JOB_ATTEMPT"] == "2" else 75 if stop.wait(60) else 1)
"""


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchBench]:
    """Two minutes last twelve seconds: for Python to start on a busy machine."""
    home = tmp_path_factory.mktemp("slower-cloud")
    yield BatchBench(control.up(home, clock=10, vcpus=2, spot_reclaim=1.0, seed=7).url)
    control.down(home)


def test_who_looks_for_the_notice_saves_and_is_retried_by_our_rules(slower: BatchBench) -> None:
    command = ["python", "-c", LISTENS]
    job = slower.wait(
        slower.submit(command, jobQueue="glacierflow-spot", jobDefinition="glacierflow-7500"), timeout_s=120
    )
    assert job["status"] == "SUCCEEDED"
    reclaimed = job["attempts"][0]
    # it left by itself, so that Batch says nothing of its instance: exit code 75 is what it goes by
    assert reclaimed["statusReason"] == "Essential container in task exited"
    assert reclaimed["container"]["exitCode"] == 75
    assert len(job["attempts"]) == 2


def test_the_machine_goes_after_two_minutes_without_a_word_and_follows_the_seed(bench: BatchBench) -> None:
    script = "trap 'exit 75' TERM; while :; do sleep 0.1; done"
    request = {"jobQueue": "glacierflow-spot", "jobName": "seeded", "retryStrategy": {"attempts": 1}}
    ids = [bench.shell(script, **request) for _ in range(2)]
    jobs = [bench.wait(job_id) for job_id in ids]
    assert jobs[0]["statusReason"] == jobs[1]["statusReason"]
    assert jobs[0]["container"]["exitCode"] == 137
    # 120 s of notice last two seconds here
    assert jobs[0]["stoppedAt"] - jobs[0]["startedAt"] >= 2000


def test_on_demand_environments_are_never_reclaimed(bench: BatchBench) -> None:
    assert len(bench.wait(bench.shell("sleep 3.2"))["attempts"]) == 1


def test_a_disabled_queue_takes_no_jobs(bench: BatchBench) -> None:
    bench.batch.update_job_queue(jobQueue="glacierflow-spot", state="DISABLED")
    with pytest.raises(ClientError, match="DISABLED"):
        bench.submit(["true"], jobQueue="glacierflow-spot")
    bench.batch.update_job_queue(jobQueue="glacierflow-spot", state="ENABLED")
