"""A queue's depth, head and environments: from the fake with AWS's rules, and from the embedded cloud."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from batch_fake import NOW_MS, BatchFake, refused
from big_run import FakeCloud
from embedded import BatchBench

from glacierflow.aws.queues import QueueReport, look_at_queue
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.local.control import Endpoint

NOW = dt.datetime.fromtimestamp(NOW_MS / 1000 + 600, dt.UTC)
STUCK = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - The job requires more vCPUs than maxvCpus."


@pytest.fixture
def batch() -> BatchFake:
    fake = BatchFake()
    fake.add_environment("spot-x86")
    fake.add_queue("glacierflow-spot", "spot-x86")
    return fake


def look(batch: BatchFake, name: str = "glacierflow-spot") -> QueueReport:
    return look_at_queue(name, FakeCloud(clients={"batch": batch}), now=NOW)


def front(batch: BatchFake, job_id: str, since: int = NOW_MS + 300_000) -> None:
    arn = f"arn:aws:batch:us-west-2:123456789012:job/{job_id}"
    jobs = [{"jobArn": arn, "earliestTimeAtPosition": since}]
    batch.snapshots["glacierflow-spot"] = {"frontOfQueue": {"jobs": jobs, "lastUpdatedAt": NOW_MS}}


def test_children_are_counted_not_their_parents(batch: BatchFake) -> None:
    batch.add_array("a", ["RUNNABLE"] * 9_990 + ["RUNNING"] * 8 + ["SUCCEEDED"] * 2)
    batch.jobs["plain"] = {
        "jobId": "plain",
        "jobName": "x",
        "status": "STARTING",
        "jobQueue": "glacierflow-spot",
    }
    assert look(batch).depth == {"RUNNABLE": 9_990, "STARTING": 1, "RUNNING": 8}
    assert batch.calls.total() <= 10


def test_vcpus_in_use_are_those_batch_adds_up(batch: BatchFake) -> None:
    batch.add_array("a", ["RUNNING"])
    front(batch, "a:0")
    usage = [{"capacityUnit": "VCPU", "quantity": 12.5}]
    batch.snapshots["glacierflow-spot"]["queueUtilization"] = {"totalCapacityUsage": usage}
    assert look(batch).vcpus_in_use == 12.5


def test_where_batch_adds_up_nothing_the_jobs_tell_what_is_in_use(batch: BatchFake) -> None:
    def wants(vcpus: str) -> dict[str, object]:
        return {"resourceRequirements": [{"type": "VCPU", "value": vcpus}, {"type": "MEMORY", "value": "9"}]}

    batch.add_array("a", ["RUNNING", "STARTING", "RUNNABLE"], container=wants("2"))
    plain = {"jobId": "plain", "jobName": "x", "status": "RUNNING", "jobQueue": "glacierflow-spot"}
    batch.jobs["plain"] = plain | {"container": wants("0.5")}
    assert look(batch).vcpus_in_use == 4.5


def test_more_parents_than_one_call_describes(batch: BatchFake) -> None:
    for number in range(250):
        batch.add_array(f"a{number}", ["RUNNABLE", "RUNNING"])
    assert look(batch).depth == {"RUNNABLE": 250, "RUNNING": 250}


def test_what_blocks_the_head_is_said_plainly(batch: BatchFake) -> None:
    batch.add_array("a", ["RUNNABLE", "RUNNABLE"])
    batch.set_child("a", 1, statusReason=STUCK)
    front(batch, "a:1")
    report = look(batch)
    assert report.head is not None
    assert (report.head.job_id, report.head.age_s, report.head.at_head_s) == ("a:1", 600, 300)
    assert report.head.failure == "config"
    assert "maxvCpus" in (report.head.sentence or "")
    assert not report.healthy


def test_a_head_that_only_waits_its_turn_blocks_nothing(batch: BatchFake) -> None:
    batch.add_array("a", ["RUNNABLE", "RUNNABLE"])
    front(batch, "a:0")
    report = look(batch)
    assert report.head is not None
    assert report.head.failure is None
    assert report.healthy


def test_without_the_snapshot_the_oldest_runnable_child_stands_for_the_head(batch: BatchFake) -> None:
    batch.errors["GetJobQueueSnapshot"] = refused("GetJobQueueSnapshot", "not authorized")
    batch.add_array("late", ["RUNNABLE"] * 2, createdAt=NOW_MS + 5_000)
    batch.add_array("early", ["RUNNING", "RUNNABLE"])
    report = look(batch)
    assert report.head is not None
    assert report.head.job_id == "early:1"
    assert report.head.at_head_s is None
    assert report.notice is not None


def test_an_invalid_environment_is_named_with_batchs_reason(batch: BatchFake) -> None:
    batch.add_environment("spot-x86", status="INVALID", statusReason="CLIENT_ERROR - role does not exist")
    (environment,) = look(batch).environments
    assert not environment.healthy
    assert environment.reason == "CLIENT_ERROR - role does not exist"
    assert not look(batch).healthy


def test_one_usable_environment_is_enough(batch: BatchFake) -> None:
    batch.add_environment("other", state="DISABLED")
    batch.add_queue("glacierflow-spot", "other", "spot-x86")
    report = look(batch)
    assert [one.name for one in report.environments] == ["other", "spot-x86"]
    assert report.healthy


def test_an_unknown_queue_is_a_usage_error(batch: BatchFake) -> None:
    with pytest.raises(UsageError, match="there is no job queue nowhere"):
        look(batch, "nowhere")


@pytest.mark.embedded
def test_the_embedded_cloud_tells_the_head_of_its_queue(cloud_endpoint: Endpoint) -> None:
    bench = BatchBench(cloud_endpoint.url)
    requirements = [{"type": "VCPU", "value": "400"}, {"type": "MEMORY", "value": "500"}]
    job_id = bench.submit(["true"], overrides={"resourceRequirements": requirements})
    cloud = Cloud(endpoint_url=cloud_endpoint.url, embedded=True)
    report = look_at_queue("glacierflow-ondemand", cloud)
    bench.batch.terminate_job(jobId=job_id, reason="seen")
    assert report.notice is None
    assert report.head is not None
    assert report.head.job_id == job_id
    assert report.head.failure == "config"
    assert report.environments[0].max_vcpus is not None
    assert report.vcpus_in_use == 0


@pytest.mark.embedded
def test_the_embedded_cloud_adds_up_the_vcpus_in_use(cloud_endpoint: Endpoint) -> None:
    bench = BatchBench(cloud_endpoint.url)
    job_id = bench.submit(["sleep", "30"])
    cloud = Cloud(endpoint_url=cloud_endpoint.url, embedded=True)
    until = time.monotonic() + 20
    while not (used := look_at_queue("glacierflow-ondemand", cloud).vcpus_in_use):
        assert time.monotonic() < until
        time.sleep(0.1)
    asked = bench.batch.describe_jobs(jobs=[job_id])["jobs"][0]["container"]["resourceRequirements"]
    bench.batch.terminate_job(jobId=job_id, reason="seen")
    assert used == sum(float(one["value"]) for one in asked if one["type"] == "VCPU")
