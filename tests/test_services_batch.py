"""Submitting to AWS Batch and asking it how things are, against moto and a strict fake."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from batch_fake import BatchFake, refused
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from moto import mock_aws
from refusals import refusal
from runs_samples import NOW, some_job, some_manifest, submit_run

from glacierflow.aws.batch import describe_run, find_lost_jobs
from glacierflow.aws.names import Places, find_targets
from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, GlacierflowError, UnavailableError, UsageError
from glacierflow.live.look import RunLook
from glacierflow.model.layout import RunLayout
from glacierflow.runs.records import read_jobs, read_run_manifest
from glacierflow.runs.states import BatchView
from glacierflow.store import S3Store

CLOUD = Cloud(embedded=True)


@pytest.fixture
def aws() -> Iterator[Any]:
    """A bucket, a queue and two revisions of a definition; jobs succeed without running."""
    with mock_aws(config={"batch": {"use_docker": False}}):
        session = CLOUD.session()
        session.client("s3").create_bucket(
            Bucket="made-up", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        role = session.client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"][
            "Arn"
        ]
        batch = session.client("batch")
        environment = batch.create_compute_environment(
            computeEnvironmentName="spot", type="UNMANAGED", state="ENABLED", serviceRole=role
        )["computeEnvironmentArn"]
        batch.create_job_queue(
            jobQueueName="glacierflow-spot",
            state="ENABLED",
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
        )
        for _ in range(2):
            batch.register_job_definition(
                jobDefinitionName="glacierflow-7500",
                type="container",
                containerProperties={
                    "image": "glacierflow",
                    "resourceRequirements": [
                        {"type": "VCPU", "value": "1"},
                        {"type": "MEMORY", "value": "512"},
                    ],
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {"awslogs-group": "/aws/glacier-processing"},
                    },
                },
            )
        yield batch


def places(**changes: str) -> Places:
    definition = changes.pop("job_definition", "glacierflow-7500")
    return Places(
        bucket="made-up",
        spot_queue=changes.pop("spot_queue", "glacierflow-spot"),
        ondemand_queue="glacierflow-ondemand",
        log_group="",
        job_definition=definition,
        job_definitions={7_500: definition},
    )


def submitted(count: int, **changes: str) -> Any:
    manifest = some_manifest(count)
    store = S3Store("made-up", CLOUD)
    targets = find_targets(CLOUD, places(**changes), manifest.arrays)
    return manifest, store, submit_run(manifest, CLOUD, store, targets=targets)


def test_an_array_job_is_submitted_and_recorded(aws: Any) -> None:
    manifest, store, (record,) = submitted(3)
    assert read_run_manifest(store, manifest.run_id) == manifest
    assert read_jobs(store, manifest.run_id) == [record]
    assert (record.first_slot, record.size, record.log_group) == (0, 3, "/aws/glacier-processing")
    assert record.job_definition == "glacierflow-7500:2"
    (job,) = aws.describe_jobs(jobs=[record.job_id])["jobs"]
    assert job["jobName"] == f"gf-{manifest.run_id}-0"
    assert job["arrayProperties"]["size"] == 3
    assert job["jobDefinition"].endswith("glacierflow-7500:2")


def test_one_unit_goes_as_a_plain_job(aws: Any) -> None:
    _, _, (record,) = submitted(1)
    (job,) = aws.describe_jobs(jobs=[record.job_id])["jobs"]
    assert not job.get("arrayProperties", {}).get("size")
    assert {"name": "GLACIERFLOW_INDEX", "value": "0"} in job["container"]["environment"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"spot_queue": "nowhere"}, "there is no job queue nowhere"),
        ({"job_definition": "nothing"}, "there is no active job definition nothing"),
        ({"job_definition": "glacierflow-7500:9"}, "there is no active job definition glacierflow-7500:9"),
    ],
)
def test_a_missing_target_is_a_usage_error_and_nothing_is_written(
    aws: Any, changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        submitted(2, **changes)
    assert caught.value.next_step is not None
    assert list(S3Store("made-up", CLOUD).list("")) == []


def test_a_disabled_queue_is_refused(aws: Any) -> None:
    aws.update_job_queue(jobQueue="glacierflow-spot", state="DISABLED")
    with pytest.raises(UsageError, match="disabled"):
        submitted(2)


@pytest.mark.parametrize("prefix", ["", "arn:aws:batch:us-west-2:123456789012:job-definition/"])
def test_an_exact_revision_is_kept(aws: Any, prefix: str) -> None:
    _, _, (record,) = submitted(2, job_definition=f"{prefix}glacierflow-7500:1")
    assert record.job_definition == "glacierflow-7500:1"


def test_the_same_run_is_not_submitted_twice(aws: Any) -> None:
    submitted(2)
    with pytest.raises(UsageError, match="a moment ago"):
        submitted(2)


def test_a_run_that_never_left_receipts_is_looked_at_whole(aws: Any) -> None:
    manifest, store, _ = submitted(2)
    look = RunLook.of(manifest, store, CLOUD, job_queue="glacierflow-spot")
    status = look.now()
    assert len(status.rows) == 2
    assert look.receipts() == []


def asked(batch: BatchFake) -> list[str]:
    """What was asked, a word each, pages one by one; and from then on anew."""
    told = [
        f"describe {len(request['jobs'])}" if "jobs" in request else f"list {request.get('jobStatus')}"
        for _, request in batch.log
    ]
    batch.log.clear()
    return told


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> BatchFake:
    fake = BatchFake()
    monkeypatch.setattr(Cloud, "client", lambda _self, service: {"batch": fake}[service])
    return fake


def states_of(view: BatchView) -> list[str]:
    return [view.slots[slot].state for slot in sorted(view.slots)]


def test_ten_thousand_alike_children_take_one_call(batch: BatchFake) -> None:
    batch.add_array("job-0", ["SUCCEEDED"] * 10_000)
    view = describe_run([some_job(0, 10_000)], CLOUD)
    assert asked(batch) == ["describe 1"]
    assert Counter(states_of(view)) == {"SUCCEEDED": 10_000}


def test_only_the_rarer_states_are_listed(batch: BatchFake) -> None:
    states = ["RUNNABLE"] * 6 + ["RUNNING", "SUCCEEDED", "SUCCEEDED"]
    batch.add_array("job-0", states)
    batch.page_size = 1
    assert states_of(describe_run([some_job(0, 9)], CLOUD)) == states
    assert asked(batch) == ["describe 1", "list RUNNING", "list SUCCEEDED", "list SUCCEEDED"]


def test_a_child_on_its_way_back_for_a_retry_has_not_ended(
    batch: BatchFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch.add_array("job-0", ["SUCCEEDED"] * 3 + ["RUNNING"])
    describe = batch.describe_jobs

    def then_reclaimed(**request: Any) -> Any:
        answer = describe(**request)
        batch.set_child("job-0", 3, status="RUNNABLE")
        return answer

    monkeypatch.setattr(batch, "describe_jobs", then_reclaimed)
    assert states_of(describe_run([some_job(0, 4)], CLOUD)) == ["SUCCEEDED"] * 3 + ["RUNNING"]


def test_failed_children_are_described_in_hundreds_and_only_once(batch: BatchFake) -> None:
    batch.add_array("job-0", ["FAILED"] * 250 + ["SUCCEEDED"] * 260)
    for index in range(250):
        batch.set_child(
            "job-0",
            index,
            statusReason="Host EC2 (instance i-1) terminated.",
            attempts=[{"container": {}}, {"container": {"exitCode": 137, "reason": "OutOfMemoryError"}}],
        )
    records = [some_job(0, 510)]
    view = describe_run(records, CLOUD)
    assert asked(batch) == ["describe 1", "list FAILED", "describe 100", "describe 100", "describe 50"]
    failed = view.slots[249]
    assert (failed.state, failed.exit_code, len(failed.attempts)) == ("FAILED", 137, 2)
    assert failed.reason == "Host EC2 (instance i-1) terminated; OutOfMemoryError"
    assert describe_run(records, CLOUD, known=view) == view
    assert asked(batch) == ["describe 1", "list FAILED"]


def test_slots_of_later_jobs_start_at_their_offset(batch: BatchFake) -> None:
    batch.add_array("job-0", ["SUCCEEDED", "RUNNING"])
    batch.jobs["job-1"] = {"jobId": "job-1", "jobName": "x", "status": "STARTING"}
    view = describe_run([some_job(0, 2), some_job(2, 1, number=1)], CLOUD)
    assert states_of(view) == ["SUCCEEDED", "RUNNING", "STARTING"]
    assert view.slots[1].job_id == "job-0:1"


def test_a_parent_whose_children_are_not_there_yet_lends_them_its_state(batch: BatchFake) -> None:
    batch.add_array("job-0", [])
    batch.jobs["job-0"]["status"] = "SUBMITTED"
    assert states_of(describe_run([some_job(0, 2)], CLOUD)) == ["SUBMITTED", "SUBMITTED"]


def test_an_old_job_batch_does_not_know_is_left_out_a_new_one_is_submitted(batch: BatchFake) -> None:
    assert describe_run([some_job(0, 2, submitted_at=NOW)], CLOUD).slots == {}
    fresh = some_job(0, 2, submitted_at=dt.datetime.now(dt.UTC))
    assert states_of(describe_run([fresh], CLOUD)) == ["SUBMITTED", "SUBMITTED"]


def test_a_job_sent_without_a_record_is_found_by_its_name(batch: BatchFake) -> None:
    manifest = some_manifest(10_001)
    batch.add_array("lost", ["RUNNING"], jobName=f"gf-{manifest.run_id}-1", jobQueue="queue")
    (found,) = find_lost_jobs(manifest, [some_job(0, 10_000)], CLOUD, job_queue="queue")
    assert (found.number, found.job_id, found.first_slot, found.size) == (1, "lost", 10_000, 1)


client_error = partial(refusal, "DescribeJobs")


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (NoCredentialsError(), CredentialsError, "there are no AWS credentials to describe jobs"),
        (client_error("ExpiredTokenException", 403), CredentialsError, "AWS refuses your credentials"),
        (client_error("AccessDeniedException", 403), UsageError, "you are not allowed to describe jobs"),
        (client_error("ClientException", 400, "bad id"), UsageError, "would not describe jobs: bad id"),
        (client_error("ServerException", 500), UnavailableError, "could not describe jobs"),
        (EndpointConnectionError(endpoint_url="https://x"), UnavailableError, "could not be reached"),
    ],
)
def test_what_boto3_raises_becomes_a_sentence(
    batch: BatchFake, error: Exception, kind: type[GlacierflowError], sentence: str
) -> None:
    batch.errors["DescribeJobs"] = error
    with pytest.raises(kind, match=sentence):
        describe_run([some_job(0, 2)], CLOUD)


def test_records_written_before_a_refusal_stay(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two jobs is refused: the first is on its way and recorded."""
    client = CLOUD.client("batch")
    real = client.submit_job
    sent: list[dict[str, Any]] = []

    def refuse_the_second(**request: Any) -> Any:
        if sent:
            raise refused("SubmitJob", "queue is full")
        sent.append(request)
        return real(**{**request, "arrayProperties": {"size": 2}})

    monkeypatch.setattr(client, "submit_job", refuse_the_second)
    s3 = boto3.client("s3", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(Cloud, "client", lambda _self, service: {"batch": client, "s3": s3}[service])
    manifest, store = some_manifest(10_001), S3Store("made-up", CLOUD)
    with pytest.raises(UsageError, match="queue is full"):
        submit_run(manifest, CLOUD, store, targets=find_targets(CLOUD, places(), manifest.arrays))
    assert [job.number for job in read_jobs(store, manifest.run_id)] == [0]
    assert store.exists(RunLayout(manifest.run_id).manifest)
