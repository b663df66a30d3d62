"""Why a slot is as it is: one paragraph that names the cause, in every case a user meets."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from batch_fake import NOW_MS
from big_run import BigRun, FakeCloud
from botocore.exceptions import ClientError
from logs_fake import LogsFake

from glacierflow.errors import UsageError
from glacierflow.live.slot import explain_slot, find_slot
from glacierflow.model.receipt import Counts
from glacierflow.runs.why import Explanation

EXITED = "Essential container in task exited"
RECLAIM = "Host EC2 (instance i-0f1e2d3c4b5a69788) terminated."


class Case:
    """A run of three slots, of which slot 1 is the case."""

    def __init__(self) -> None:
        self.run = BigRun(3)
        self.logs = LogsFake(page=100)
        self.quotas: dict[str, float] = {}
        self.routes: list[dict[str, Any]] = []
        """By code; one that is not here is refused."""
        self.run.batch.add_environment("spot-x86")
        self.run.batch.add_queue("queue", "spot-x86")

    def ends(self, status: str = "FAILED", *attempts: dict[str, Any], **fields: Any) -> None:
        self.run.batch.set_child("job-0", 1, status=status, attempts=list(attempts), **fields)

    def why(self, region: str | None = "001_made_up", slot: int | None = None, **more: Any) -> Explanation:
        quotas = SimpleNamespace(get_service_quota=self.quota)
        clients = {"batch": self.run.batch, "s3": self.run.s3, "logs": self.logs, "service-quotas": quotas}
        subnet = {"SubnetId": "subnet-1", "VpcId": "vpc-1", "MapPublicIpOnLaunch": True}
        endpoints = SimpleNamespace(paginate=lambda **_: [{"VpcEndpoints": []}])
        clients["ec2"] = SimpleNamespace(
            describe_subnets=lambda **_: {"Subnets": [subnet]},
            describe_route_tables=lambda **_: {"RouteTables": [{"Routes": self.routes}]},
            get_paginator=lambda _: endpoints,
        )
        cloud = FakeCloud(clients=clients)
        look = self.run.open()
        return explain_slot(look, find_slot(look.now(quick=True), region=region, slot=slot), cloud, **more)

    def quota(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:  # noqa: N803
        assert ServiceCode == "ec2"
        if QuotaCode not in self.quotas:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetServiceQuota")
        return {"Quota": {"Value": self.quotas[QuotaCode]}}


@pytest.fixture
def case() -> Case:
    return Case()


def attempt(status_reason: str, minutes: float = 10, **container: Any) -> dict[str, Any]:
    return {
        "statusReason": status_reason,
        "startedAt": NOW_MS,
        "stoppedAt": NOW_MS + int(minutes * 60_000),
        "container": {"logStreamName": "glacierflow/default/1"} | container,
    }


def test_reclaims_that_used_up_all_attempts(case: Case) -> None:
    case.run.attempt(1, "interrupted", 1, exit_code=75)
    case.run.attempt(1, None, 2)
    case.ends("FAILED", attempt(RECLAIM, exitCode=75), attempt(RECLAIM), statusReason=RECLAIM)
    found = case.why()
    assert found.failure == "spot"
    assert found.paragraph.startswith(
        "001_made_up (slot 1, Sentinel-2, 2024-07-01 to 2024-07-31) went wrong: its machine was taken back "
        "in 2 of its 2 attempts (a spot reclaim, or a lost host)."
    )
    assert "Attempt 2 ended after 10 min without a receipt, Batch says: Host EC2" in found.paragraph
    assert "on-demand queue" in (found.next_step or "")


def test_out_of_memory(case: Case) -> None:
    case.run.attempt(1, None)
    reason = "OutOfMemoryError: Container killed due to memory usage"
    case.ends(
        "FAILED",
        attempt(EXITED, exitCode=137, reason=reason),
        statusReason=EXITED,
        container={"exitCode": 137, "reason": reason},
    )
    found = case.why()
    assert found.failure == "oom"
    assert "it ran out of memory" in found.paragraph
    assert "next larger memory class" in (found.next_step or "")


def test_a_timeout_tells_how_long_it_ran(case: Case) -> None:
    case.run.attempt(1, None)
    timeout = "Job attempt duration exceeded timeout"
    case.ends("FAILED", attempt(timeout, 120, exitCode=137), statusReason=timeout)
    found = case.why()
    assert found.failure == "timeout"
    assert "stopped at its time limit after 120 minutes" in found.paragraph


def test_a_container_that_never_started_has_no_log_and_batchs_reason(case: Case) -> None:
    reason = "CannotPullContainerError: image Manifest does not contain descriptor matching platform"
    start = {"statusReason": "Task failed to start", "container": {"reason": reason}}
    case.ends("FAILED", start, statusReason="Task failed to start", container={"reason": reason})
    found = case.why()
    assert found.failure == "config"
    assert "built for another processor architecture" in found.paragraph
    assert "Attempt 1 never started a container" in found.paragraph
    assert case.logs.calls.total() == 0


def test_bad_data_names_the_image_and_shows_the_last_lines(case: Case) -> None:
    case.run.attempt(1, "failed", exit_code=65, error="band 8 of S2A_x is not a TIFF")
    case.ends("FAILED", attempt(EXITED, exitCode=65), statusReason=EXITED, container={"exitCode": 65})
    case.run.batch.children["job-0"][1]["attempts"][0]["container"]["logStreamName"] = "s"
    said = "12:00:00 ERROR failed: band 8 of S2A_x is not a TIFF"
    case.logs.write("/aws/batch/job", "s", "one", "two", "three", "ERROR band 8", said)
    found = case.why()
    assert found.failure == "data"
    assert found.paragraph.count("band 8 of S2A_x is not a TIFF") == 1
    assert "The last lines of its log are: two / three / ERROR band 8." in found.paragraph


def test_a_log_of_which_no_record_says_the_group_is_read_from_the_usual_one(case: Case) -> None:
    case.run.attempt(1, "failed", exit_code=65, error="band 8 of S2A_x is not a TIFF")
    case.ends("FAILED", attempt(EXITED, exitCode=65), statusReason=EXITED, container={"exitCode": 65})
    case.run.batch.children["job-0"][1]["attempts"][0]["container"]["logStreamName"] = "s"
    case.logs.write("/ours", "s", "one", "two", "three", "four")
    assert "The last lines of its log are: two / three / four." in case.why(usual_group="/ours").paragraph
    assert "last lines" not in case.why().paragraph


def test_nothing_to_process_is_done_with_the_receipts_reason(case: Case) -> None:
    case.run.attempt(1, "no_data", counts=Counts())
    case.ends("SUCCEEDED")
    found = case.why()
    assert found.failure is None
    assert found.next_step is None
    assert "is done, and there was nothing to process: the archive has no scene" in found.paragraph


def test_scenes_that_were_all_left_out_are_counted_by_reason(case: Case) -> None:
    case.run.attempt(1, "no_data", counts=Counts(found=5))
    case.ends("SUCCEEDED")
    assert "none of 5 scenes was usable (1 low coverage)" in case.why().paragraph


def test_a_done_slot_says_what_it_made(case: Case) -> None:
    case.run.attempt(1, "done")
    case.ends("SUCCEEDED")
    assert "is done: 2 products written, 1 were there already" in case.why().paragraph


def test_stuck_for_lack_of_capacity(case: Case) -> None:
    reason = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested"
    case.run.batch.set_child("job-0", 0, statusReason=reason)
    arn = "arn:aws:batch:us-west-2:1:job/job-0:0"
    case.run.batch.snapshots["queue"] = {
        "frontOfQueue": {"jobs": [{"jobArn": arn, "earliestTimeAtPosition": NOW_MS}]}
    }
    found = case.why()
    assert found.failure == "capacity"
    assert "is waiting: AWS had no machine of the allowed types to give" in found.paragraph
    assert "job-0:0 stands at the head of the queue and blocks it" in found.paragraph


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - x", "more memory or vCPUs than any allowed instance"),
        ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - x", "maxvCpus"),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS - x", "service role lacks a permission"),
    ],
)
def test_a_misconfigured_job_is_told_from_a_full_queue(case: Case, reason: str, words: str) -> None:
    case.run.batch.set_child("job-0", 1, statusReason=reason)
    found = case.why()
    assert found.failure == "config"
    assert words in found.paragraph


def test_environments_that_cannot_take_jobs_explain_why_it_waits(case: Case) -> None:
    case.run.batch.add_environment("spot-x86", status="INVALID", statusReason="CLIENT_ERROR - no role")
    found = case.why()
    assert found.failure == "config"
    assert "no compute environment of the queue queue can take jobs" in found.paragraph
    assert "CLIENT_ERROR - no role" in found.paragraph


@pytest.mark.parametrize("reason", ["", "UNDETERMINED - Batch job is blocked"])
@pytest.mark.parametrize(
    ("kind", "code", "lifecycle"), [("SPOT", "L-34B43A08", "spot"), ("EC2", "L-1216C47A", "on-demand")]
)
def test_more_vcpus_wanted_than_the_account_may_have(
    case: Case, reason: str, kind: str, code: str, lifecycle: str
) -> None:
    resources = {"type": kind, "maxvCpus": 256, "desiredvCpus": 96}
    case.run.batch.add_environment("spot-x86", computeResources=resources)
    case.run.batch.set_child("job-0", 1, statusReason=reason)
    case.quotas[code] = 64.0
    found = case.why()
    assert found.failure == "config"
    assert f"wants machines for 96 vCPUs, and the {lifecycle} vCPU quota is 64" in found.paragraph
    assert found.next_step == f"ask for more: Service Quotas, EC2, {code}, in us-west-2"
    case.quotas[code] = 96.0
    assert case.why().failure == ("capacity" if reason else None)


def test_a_quota_that_may_not_be_asked_for_is_said_and_concludes_nothing(case: Case) -> None:
    resources = {"type": "SPOT", "maxvCpus": 256, "desiredvCpus": 96}
    case.run.batch.add_environment("spot-x86", computeResources=resources)
    found = case.why()
    assert found.failure is None
    assert "The spot vCPU quota could not be asked: you are not allowed to" in found.paragraph


@pytest.mark.parametrize("reason", ["", "UNDETERMINED - Batch job is blocked"])
def test_machines_that_start_and_cannot_reach_aws_batch(case: Case, reason: str) -> None:
    """The usual stuck job: desired vCPUs, nothing starts, and Batch does not say why."""
    resources = {"type": "SPOT", "maxvCpus": 256, "desiredvCpus": 16, "subnets": ["subnet-1"]}
    case.run.batch.add_environment("spot-x86", computeResources=resources)
    case.run.batch.set_child("job-0", 1, statusReason=reason)
    job = {"jobArn": "arn:aws:batch:us-west-2:1:job/job-0:0", "earliestTimeAtPosition": NOW_MS}
    case.run.batch.snapshots["queue"] = {"frontOfQueue": {"jobs": [job], "lastUpdatedAt": NOW_MS}}
    case.quotas["L-34B43A08"] = 64.0
    case.routes = []
    found = case.why()
    assert found.failure == "config"
    assert "subnet-1 has no way out" in found.paragraph
    assert found.next_step is not None
    assert "use a public subnet or a NAT gateway" in found.next_step
    case.routes = [{"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}]
    found = case.why()
    assert found.failure == ("capacity" if reason else None)
    assert "the routes of its subnets look right" in found.paragraph
    case.run.batch.jobs["job-0"]["jobQueue"] = "queue"
    case.run.batch.set_child("job-0", 0, status="RUNNING")
    assert "routes of its subnets" not in case.why().paragraph


def test_what_batch_itself_is_certain_of_comes_before_the_quota(case: Case) -> None:
    resources = {"type": "SPOT", "maxvCpus": 256, "desiredvCpus": 96}
    case.run.batch.add_environment("spot-x86", computeResources=resources)
    case.run.batch.set_child("job-0", 1, statusReason="MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - x")
    case.quotas["L-34B43A08"] = 64.0
    assert "more memory or vCPUs than any allowed instance" in case.why().paragraph


def test_a_slot_that_waits_its_turn_is_not_called_wrong(case: Case) -> None:
    found = case.why()
    assert found.failure is None
    assert "is RUNNABLE: it waits for its turn or for a machine" in found.paragraph
    assert "The queue queue has" in found.paragraph


def test_a_running_slot_after_a_reclaim(case: Case) -> None:
    case.run.attempt(1, "interrupted", 1, exit_code=75)
    case.run.attempt(1, None, 2)
    case.ends("RUNNING", attempt(RECLAIM, exitCode=75), container={"logStreamName": "s2"})
    found = case.why()
    assert found.failure is None
    assert "is running for" in found.paragraph
    assert "Attempt 1 ended after" in found.paragraph
    assert "Attempt 2 has not ended" in found.paragraph
    assert [story.failure for story in found.attempts] == ["spot", None]


def test_what_batch_has_forgotten_is_explained_from_what_was_kept(case: Case) -> None:
    test_out_of_memory(case)
    case.run.batch.forgotten = True
    assert case.why().failure == "oom"


def test_a_bug_asks_for_a_report(case: Case) -> None:
    case.run.attempt(1, "failed", exit_code=70, error="a bug in glacierflow: KeyError: 'b8'")
    case.ends("FAILED", attempt(EXITED, exitCode=70), statusReason=EXITED, container={"exitCode": 70})
    found = case.why()
    assert found.failure == "bug"
    assert "KeyError: 'b8'" in found.paragraph
    assert "report it" in (found.next_step or "")


@pytest.mark.parametrize(
    ("region", "slot", "sentence", "step"),
    [
        ("001_made_upp", None, "the region 001_made_upp is not in the run", "did you mean 001_made_up"),
        (None, 9, "the run has no slot 9", "slots 0 to 2"),
        (None, None, "name one slot", "--slot N"),
        ("001_made_up", 1, "exclude each other", "--slot N"),
    ],
)
def test_a_slot_that_cannot_be_found_is_refused(
    case: Case, region: str | None, slot: int | None, sentence: str, step: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        case.why(region, slot)
    assert step in (caught.value.next_step or "")


def test_of_several_slots_of_a_region_the_one_that_went_wrong(case: Case) -> None:
    case.run.finish(failed=1)
    assert case.why(None, 2).failure == "oom"
    assert dt.date(2024, 7, 1) == find_slot(case.run.open().now(), region=None, slot=2).date1
