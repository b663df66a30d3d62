"""What the template's roles may do, under enforced policies; each refusal stands beside what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from glacierflow.aws import Cloud
from glacierflow.local import conditions, control
from glacierflow.local.control import Endpoint
from glacierflow.local.enforcement import permissions_of

pytestmark = pytest.mark.embedded

BUCKET = "greenland-glacier-data"
PRODUCTS = "1_download_merge_and_clip"
DENIED = {"AccessDenied", "AccessDeniedException", "403", "UnauthorizedOperation"}
Client = Callable[[str], Any]
"""Service -> a client with the role's credentials."""


def enforce(url: str, on: bool) -> None:
    count = b"0" if on else b"inf"
    # as a form the body would be parsed, and moto wants it whole
    answer = urllib3.request("POST", f"{url}/moto-api/reset-auth", body=count, timeout=10)
    assert answer.status == 200


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """A cloud of its own in which policies count: clients by role."""
    home = tmp_path_factory.mktemp("enforcing-cloud")
    endpoint = control.up(home, clock=60, vcpus=2)
    owner = Cloud(endpoint_url=endpoint.url, embedded=True)
    s3, iam = owner.client("s3"), owner.client("iam")
    for bucket, key in (("sentinel-cogs", "a/B08.tif"), ("usgs-landsat", "a/B8.TIF"), ("private", "secret")):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        s3.put_object(Bucket=bucket, Key=key, Body=b"pixels", RequestPayer="requester")
    for key in ("runs/r/manifest.json", f"{PRODUCTS}/landsat/x.tif", "scripts/config.ini"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    owner.client("batch").register_job_definition(
        jobDefinitionName="foreign",
        type="container",
        containerProperties={"image": "x", "command": ["true"], "vcpus": 1, "memory": 500},
    )
    clients = {
        role: _client_of(
            endpoint, iam.get_role(RoleName=f"glacierflow-{role}-us-west-2")["Role"]["Arn"], owner
        )
        for role in ("submitter", "job", "execution")
    }
    enforce(endpoint.url, True)
    yield clients
    enforce(endpoint.url, False)
    control.down(home)


def _client_of(endpoint: Endpoint, role: str, owner: Cloud) -> Client:
    got = owner.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    session = boto3.Session(
        aws_access_key_id=got["AccessKeyId"],
        aws_secret_access_key=got["SecretAccessKey"],
        aws_session_token=got["SessionToken"],
        region_name="us-west-2",
    )
    config = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
    # Any: the service is a name here, and the stubs want a literal
    make: Any = session.client
    return lambda service: make(service, endpoint_url=endpoint.url, config=config)


def refused(call: Callable[..., Any], **request: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**request)
    assert caught.value.response["Error"]["Code"] in DENIED, caught.value


def submission(**changes: Any) -> dict[str, Any]:
    return {
        "jobName": "gf-test",
        "jobQueue": "glacierflow-spot",
        "jobDefinition": "glacierflow-7500",
        "containerOverrides": {"command": ["sleep", "30"]},
        "tags": {"project": "glacierflow"},
    } | changes


def test_the_submitter_submits_watches_and_cancels(enforced: dict[str, Client]) -> None:
    client = enforced["submitter"]
    batch, s3 = client("batch"), client("s3")
    names = client("cloudformation").describe_stacks(StackName="glacierflow")["Stacks"][0]["Outputs"]
    assert names
    assert batch.describe_job_queues(jobQueues=["glacierflow-spot"])["jobQueues"]
    assert batch.describe_job_definitions(jobDefinitionName="glacierflow-7500")["jobDefinitions"]
    assert batch.describe_compute_environments()["computeEnvironments"]
    s3.head_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="runs/r2/manifest.json", Body=b"{}")
    array = batch.submit_job(**submission(arrayProperties={"size": 2}))["jobId"]
    single = batch.submit_job(
        **submission(jobQueue="glacierflow-ondemand", jobDefinition="glacierflow-63200:1")
    )["jobId"]
    assert len(batch.describe_jobs(jobs=[array, single])["jobs"]) == 2
    batch.list_jobs(arrayJobId=array, jobStatus="RUNNABLE")
    batch.list_jobs(jobQueue="glacierflow-spot")
    batch.terminate_job(jobId=f"{array}:1", reason="one child")
    batch.terminate_job(jobId=array, reason="seen")
    batch.cancel_job(jobId=single, reason="seen")
    batch.terminate_job(jobId=single, reason="seen")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/")["Contents"]
    assert {one["Key"] for one in found} >= {"runs/r/manifest.json", "runs/r2/manifest.json"}
    assert s3.get_object(Bucket=BUCKET, Key=f"{PRODUCTS}/landsat/x.tif")["Body"].read() == b"{}"
    client("logs").describe_log_streams(logGroupName="/glacierflow/batch")
    topic = next(one["OutputValue"] for one in names if one["OutputKey"] == "Topic")
    assert client("sns").publish(TopicArn=topic, Subject="a run", Message="has ended")["MessageId"]


def test_the_submitter_does_nothing_else(enforced: dict[str, Client]) -> None:
    client = enforced["submitter"]
    batch, s3 = client("batch"), client("s3")
    refused(batch.submit_job, **submission(jobDefinition="foreign"))
    refused(batch.submit_job, **submission(jobQueue="foreign"))
    container = {"image": "x", "command": ["x"], "vcpus": 1, "memory": 4}
    refused(
        batch.register_job_definition,
        jobDefinitionName="glacierflow-7500",
        type="container",
        containerProperties=container,
    )
    refused(batch.deregister_job_definition, jobDefinition="glacierflow-7500:1")
    refused(batch.update_compute_environment, computeEnvironment="glacierflow-spot", state="DISABLED")
    refused(batch.update_job_queue, jobQueue="glacierflow-spot", state="DISABLED")
    refused(s3.put_object, Bucket=BUCKET, Key=f"{PRODUCTS}/landsat/x.tif", Body=b"forged")
    refused(s3.delete_object, Bucket=BUCKET, Key="runs/r/manifest.json")
    refused(s3.get_object, Bucket="private", Key="secret")
    refused(s3.list_objects_v2, Bucket="private")
    refused(s3.delete_bucket, Bucket=BUCKET)
    refused(client("logs").get_log_events, logGroupName="/other", logStreamName="x")
    refused(client("logs").delete_log_group, logGroupName="/glacierflow/batch")
    refused(client("cloudformation").delete_stack, StackName="glacierflow")
    refused(client("iam").create_user, UserName="mallory")
    sns = client("sns")
    refused(sns.list_topics)
    refused(sns.publish, TopicArn="arn:aws:sns:us-west-2:123456789012:foreign", Message="x")
    refused(sns.delete_topic, TopicArn="arn:aws:sns:us-west-2:123456789012:glacierflow-runs")


def test_the_job_role_reads_sources_and_writes_its_prefixes(enforced: dict[str, Client]) -> None:
    s3 = enforced["job"]("s3")
    assert s3.get_object(Bucket="sentinel-cogs", Key="a/B08.tif")["Body"].read() == b"pixels"
    paid = s3.get_object(Bucket="usgs-landsat", Key="a/B8.TIF", RequestPayer="requester")
    assert paid["Body"].read() == b"pixels"
    assert s3.head_object(Bucket=BUCKET, Key="runs/r/manifest.json")
    for key in (
        "runs/r/attempts/0/1.done.json",
        f"{PRODUCTS}/sentinel2/clipped/049/x.tif",
        "stac/sentinel2/049/x.json",
    ):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"x"
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/r/")["KeyCount"] == 2
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="runs/r/not-there-yet")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="runs/r/large")["UploadId"]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="runs/r/large", UploadId=upload)


def test_the_job_role_does_nothing_else(enforced: dict[str, Client]) -> None:
    client = enforced["job"]
    s3 = client("s3")
    refused(s3.put_object, Bucket=BUCKET, Key="scripts/config.ini", Body=b"changed")
    refused(s3.get_object, Bucket=BUCKET, Key="scripts/config.ini")
    refused(s3.put_object, Bucket=BUCKET, Key=f"{PRODUCTS}-other/x.tif", Body=b"x")
    refused(s3.delete_object, Bucket=BUCKET, Key="runs/r/manifest.json")
    refused(s3.put_object, Bucket="sentinel-cogs", Key="a/B08.tif", Body=b"forged")
    refused(s3.get_object, Bucket="private", Key="secret")
    refused(s3.list_objects_v2, Bucket="usgs-landsat", RequestPayer="requester")
    refused(s3.put_bucket_versioning, Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    refused(client("batch").submit_job, **submission())
    refused(client("batch").describe_jobs, jobs=["x"])
    refused(client("iam").list_roles)
    refused(client("sns").list_topics)


def test_the_execution_role_pulls_and_logs_and_does_nothing_else(enforced: dict[str, Client]) -> None:
    client = enforced["execution"]
    logs = client("logs")
    assert client("ecr").get_authorization_token()["authorizationData"]
    logs.create_log_stream(logGroupName="/glacierflow/batch", logStreamName="s")
    event = [{"timestamp": 1, "message": "x"}]
    logs.put_log_events(logGroupName="/glacierflow/batch", logStreamName="s", logEvents=event)
    refused(logs.create_log_stream, logGroupName="/other", logStreamName="s")
    refused(logs.get_log_events, logGroupName="/glacierflow/batch", logStreamName="s")
    refused(client("ecr").delete_repository, repositoryName="glacierflow")
    refused(client("s3").get_object, Bucket=BUCKET, Key="runs/r/manifest.json")


def test_a_submission_needs_queue_definition_and_tagging() -> None:
    place = "arn:aws:batch:us-west-2:123456789012"
    request = {"jobQueue": "q", "jobDefinition": f"{place}:job-definition/d:3", "tags": {"a": "b"}}
    assert permissions_of("batch", "submitjob", request, "us-west-2") == [
        ("SubmitJob", f"{place}:job-queue/q"),
        ("SubmitJob", f"{place}:job-definition/d:3"),
        ("TagResource", f"{place}:job/new"),
    ]
    assert permissions_of("batch", "listjobs", {"jobQueue": "q"}, "us-west-2") == [("ListJobs", "*")]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"StringLike": {"s3:prefix": ["x/*", "runs/*"]}}, True),
        ({"StringLike": {"s3:prefix": "products/*"}}, False),
        ({"StringEquals": {"aws:SourceAccount": "123456789012", "never:known": "x"}}, False),
        ({"DateGreaterThan": {"s3:prefix": "runs/r"}}, False),
        ({"ArnLike": {"aws:SourceArn": "arn:*:rule/a"}, "StringEquals": {"s3:prefix": "runs/r"}}, True),
    ],
)
def test_conditions_hold_only_where_they_are_known_to(condition: Any, holds: bool) -> None:
    values = {"s3:prefix": "runs/r", "aws:SourceArn": "arn:aws:events:us-west-2:1:rule/a"}
    assert conditions.holds(condition, values) is holds
