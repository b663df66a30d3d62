"""What the template's roles may do, under enforced policies.

Each refusal has two controls: what the role may call itself, and the very same call made by an administrator,
whom nothing is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from embedded import stack_outputs

from glacierflow.aws.names import find_places
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.doctor import data, jobs
from glacierflow.doctor.patient import Patient, run_check
from glacierflow.local import control
from glacierflow.local.control import Endpoint
from glacierflow.model.records import StepSettings
from glacierflow.settings import load_settings

pytestmark = pytest.mark.embedded

BUCKET = "greenland-glacier-data"
PRODUCTS = "1_download_merge_and_clip"
SETTINGS = "scripts/greenland-glacier-flow/config.ini"
FUNCTION = "glacierflow-lambda"
ADMIN = "arn:aws:iam::123456789012:role/admin"
DENIED = {"AccessDenied", "AccessDeniedException", "403", "UnauthorizedOperation"}
Client = Callable[[str], Any]
"""Service -> a client with the role's credentials."""

REFUSED: list[tuple[str, str, dict[str, Any]]] = []
"""Service, call and request of what was refused."""


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
    _deploy_services(home, owner)
    for bucket, key in (("sentinel-cogs", "a/B08.tif"), ("usgs-landsat", "a/B8.TIF"), ("private", "secret")):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        s3.put_object(Bucket=bucket, Key=key, Body=b"pixels", RequestPayer="requester")
    for key in ("runs/r/manifest.json", f"{PRODUCTS}/landsat/x.tif", "scripts/config.ini", SETTINGS):
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
        for role in ("submitter", "job", "execution", "lambda-function", "schedule-function")
    }
    administrator = _client_of(endpoint, _make_administrator(iam), owner)
    enforce(endpoint.url, True)
    try:
        yield clients
        # last, for what an administrator may do leaves little
        for service, call, request in REFUSED:
            code = code_of(getattr(administrator(service), call), request)
            assert code not in DENIED, (
                f"{service} {call} {request} is refused whoever asks: nothing of a role"
            )
    finally:
        enforce(endpoint.url, False)
        control.down(home)


def _make_administrator(iam: Any) -> str:
    """A role that may do everything."""
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    arn: str = iam.create_role(RoleName="administrator", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName="administrator", PolicyName="everything", PolicyDocument=policy)
    return arn


def _deploy_services(home: Path, owner: Cloud) -> None:
    """The stacks of the other services, and in each service something that is not ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "default_home", lambda: home)
        patch.chdir(home)
        for key in ("scheduler.zip", "scheduler-layer.zip"):
            owner.client("s3").put_object(Bucket=BUCKET, Key=f"scripts/glacierflow/{key}", Body=b"none")
        stacks = "lambda,ecs,schedule,stepfunctions"
        assert run(["stack", "deploy", "--local", "--with", stacks, "--yes", "--quiet"]) == 0
        # a change of the submitter's role leaves to it what the other stacks attached
        owners = "SubmitterPrincipals=arn:aws:iam::123456789012:root"
        assert run(["stack", "deploy", "--local", "--set", owners, "--yes", "--quiet"]) == 0
    fargate: Any = {"capacityProvider": "FARGATE"}
    owner.client("ecs").create_cluster(
        clusterName="foreign", capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=[fargate]
    )
    owner.client("ecs").register_task_definition(
        family="glacierflow-ecs-forged",
        containerDefinitions=[{"name": "child", "image": "x", "memory": 500}],
        taskRoleArn=ADMIN,
    )
    owner.client("ecs").register_task_definition(
        family="foreign", containerDefinitions=[{"name": "child", "image": "x", "memory": 500}]
    )


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
    assert "SignatureDoesNotMatch" not in str(caught.value), "refused for what it may, not for how it asked"
    # Any: a bound method of a client that botocore makes at run time
    method: Any = call
    REFUSED.append((method.__self__.meta.service_model.service_name, method.__name__, request))


def code_of(call: Callable[..., Any], request: dict[str, Any]) -> str:
    """The code of an error, whatever it is; empty where the call succeeds."""
    try:
        call(**request)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


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
    batch.terminate_job(jobId=single, reason="seen")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/")["Contents"]
    assert {one["Key"] for one in found} >= {"runs/r/manifest.json", "runs/r2/manifest.json"}
    assert s3.get_object(Bucket=BUCKET, Key=f"{PRODUCTS}/landsat/x.tif")["Body"].read() == b"{}"
    client("logs").describe_log_streams(logGroupName="/glacierflow/batch")
    topic = next(one["OutputValue"] for one in names if one["OutputKey"] == "Topic")
    assert client("sns").publish(TopicArn=topic, Subject="a run", Message="has ended")["MessageId"]


def test_the_doctor_asks_nothing_of_bucket_and_queues_that_the_submitter_may_not(
    enforced: dict[str, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cloud, "client", lambda _, service: enforced["submitter"](service))
    loaded = load_settings(overrides={"STORAGE.s3_bucket": BUCKET}, environ={})
    patient = Patient(loaded, StepSettings(), Cloud(embedded=True), find_places(loaded, None))
    for check in (data.check_bucket, jobs.check_queues, jobs.check_environments):
        assert {found.verdict for found in run_check("it", check, patient)} == {"ok"}


def test_the_submitter_uses_the_function_and_reads_its_log(enforced: dict[str, Client]) -> None:
    client = enforced["submitter"]
    functions, logs = client("lambda"), client("logs")
    assert functions.get_function(FunctionName=FUNCTION)["Configuration"]["FunctionName"] == FUNCTION
    called = functions.invoke(FunctionName=FUNCTION, InvocationType="DryRun", Payload=b"{}")
    assert called["StatusCode"] == 204
    assert "logStreams" in logs.describe_log_streams(logGroupName=f"/aws/lambda/{FUNCTION}")

    sqs, told = client("sqs"), stack_outputs(client("cloudformation"), "glacierflow-lambda")
    counts: Any = {"AttributeNames": ["ApproximateNumberOfMessages"]}
    failures = told["FailuresQueue"]
    assert sqs.get_queue_attributes(QueueUrl=failures, **counts)["Attributes"]

    refused(sqs.get_queue_attributes, QueueUrl=failures.replace("glacierflow", "foreign"), **counts)
    refused(sqs.receive_message, QueueUrl=failures)
    refused(functions.get_function, FunctionName="glacierflow-schedule")
    refused(functions.invoke, FunctionName="glacierflow-schedule", Payload=b"{}")
    refused(functions.update_function_code, FunctionName=FUNCTION, ImageUri="forged")
    refused(functions.delete_function, FunctionName=FUNCTION)
    refused(logs.describe_log_streams, logGroupName="/aws/lambda/glacierflow-schedule")
    refused(logs.delete_log_group, logGroupName=f"/aws/lambda/{FUNCTION}")


def task(told: dict[str, str], **changes: Any) -> dict[str, Any]:
    network = {"subnets": told["TaskSubnets"].split(","), "securityGroups": [told["TaskSecurityGroup"]]}
    return {
        "cluster": told["Cluster"],
        "taskDefinition": told["TaskDefinition7500"],
        "networkConfiguration": {"awsvpcConfiguration": network},
        "tags": [{"key": "project", "value": "glacierflow"}],
    } | changes


def test_the_submitter_runs_watches_and_stops_tasks_of_our_cluster(enforced: dict[str, Client]) -> None:
    client = enforced["submitter"]
    ecs, told = client("ecs"), stack_outputs(client("cloudformation"), "glacierflow-ecs")
    assert ecs.describe_task_definition(taskDefinition=told["TaskDefinition7500"])["taskDefinition"]
    arn = ecs.run_task(**task(told))["tasks"][0]["taskArn"]
    assert ecs.describe_tasks(cluster=told["Cluster"], tasks=[arn])["tasks"]
    assert arn in ecs.list_tasks(cluster=told["Cluster"])["taskArns"]
    assert ecs.stop_task(cluster=told["Cluster"], task=arn, reason="seen")["task"]

    refused(ecs.list_tasks, cluster="foreign")
    refused(ecs.run_task, **task(told, cluster="foreign"))
    refused(ecs.run_task, **task(told, taskDefinition="foreign"))
    # of a name that is ours, with a role that may more
    refused(ecs.run_task, **task(told, taskDefinition="glacierflow-ecs-forged"))
    refused(ecs.describe_tasks, cluster="foreign", tasks=[arn.replace(told["Cluster"], "foreign")])
    refused(ecs.stop_task, cluster="foreign", task=arn)
    refused(ecs.register_task_definition, family="glacierflow-ecs-7500", containerDefinitions=[])
    refused(ecs.delete_cluster, cluster=told["Cluster"])


def test_the_submitter_starts_watches_and_stops_the_machine(enforced: dict[str, Client]) -> None:
    client = enforced["submitter"]
    states = client("stepfunctions")
    machine = stack_outputs(client("cloudformation"), "glacierflow-stepfunctions")["StateMachine"]
    started = states.start_execution(stateMachineArn=machine, name="one", input="{}")["executionArn"]
    assert states.describe_execution(executionArn=started)["executionArn"] == started
    assert states.list_executions(stateMachineArn=machine)["executions"]
    states.stop_execution(executionArn=started, cause="seen")

    foreign = machine.replace("glacierflow-stepfunctions", "foreign")
    refused(states.list_executions, stateMachineArn=foreign)
    refused(states.start_execution, stateMachineArn=foreign, input="{}")
    other = started.replace("glacierflow-stepfunctions", "foreign")
    refused(states.describe_execution, executionArn=other)
    refused(states.stop_execution, executionArn=other)
    refused(states.update_state_machine, stateMachineArn=machine, definition="{}")
    refused(states.delete_state_machine, stateMachineArn=machine)


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
    ):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"x"
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/r/")["KeyCount"] == 2
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="runs/r/not-there-yet")


def test_the_job_role_does_nothing_else(enforced: dict[str, Client]) -> None:
    client = enforced["job"]
    s3 = client("s3")
    refused(s3.put_object, Bucket=BUCKET, Key="scripts/config.ini", Body=b"changed")
    refused(s3.put_object, Bucket=BUCKET, Key="stac/sentinel2/049/x.json", Body=b"nobody writes there")
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


def test_the_functions_role_reads_settings_and_sources_writes_its_prefixes_invokes_itself_and_no_more(
    enforced: dict[str, Client],
) -> None:
    client = enforced["lambda-function"]
    s3 = client("s3")
    assert s3.get_object(Bucket=BUCKET, Key=SETTINGS)["Body"].read() == b"{}"
    assert s3.get_object(Bucket="sentinel-cogs", Key="a/B08.tif")["Body"].read() == b"pixels"
    s3.put_object(Bucket=BUCKET, Key="runs/r3/attempts/0/1.done.json", Body=b"x")
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/r3/")["KeyCount"] == 1

    refused(s3.put_object, Bucket=BUCKET, Key=SETTINGS, Body=b"changed")
    refused(s3.get_object, Bucket=BUCKET, Key="scripts/config.ini")
    refused(s3.get_object, Bucket="private", Key="secret")
    refused(s3.list_objects_v2, Bucket="sentinel-cogs")
    refused(s3.delete_object, Bucket=BUCKET, Key="runs/r3/attempts/0/1.done.json")
    refused(client("batch").submit_job, **submission())
    # itself, for what its deadline left, and no other function
    itself = client("lambda").invoke(FunctionName=FUNCTION, InvocationType="DryRun", Payload=b"{}")
    assert itself["StatusCode"] == 204
    refused(client("lambda").invoke, FunctionName="glacierflow-schedule", Payload=b"{}")


def test_the_schedulers_role_reads_settings_submits_and_does_nothing_else(
    enforced: dict[str, Client],
) -> None:
    client = enforced["schedule-function"]
    s3, batch, functions = client("s3"), client("batch"), client("lambda")
    assert s3.get_object(Bucket=BUCKET, Key=SETTINGS)["Body"].read() == b"{}"
    s3.put_object(Bucket=BUCKET, Key="runs/r4/manifest.json", Body=b"{}")
    submitted = batch.submit_job(**submission())["jobId"]
    assert batch.describe_jobs(jobs=[submitted])["jobs"]
    refused(batch.terminate_job, jobId=submitted, reason="people do that")
    enforced["submitter"]("batch").terminate_job(jobId=submitted, reason="seen")
    assert functions.get_function(FunctionName=FUNCTION)["Configuration"]

    refused(s3.put_object, Bucket=BUCKET, Key=SETTINGS, Body=b"changed")
    refused(s3.put_object, Bucket=BUCKET, Key=f"{PRODUCTS}/landsat/x.tif", Body=b"forged")
    refused(s3.get_object, Bucket="sentinel-cogs", Key="a/B08.tif")
    refused(s3.delete_object, Bucket=BUCKET, Key="runs/r4/manifest.json")
    refused(batch.submit_job, **submission(jobDefinition="foreign"))
    refused(functions.invoke, FunctionName=FUNCTION, InvocationType="DryRun", Payload=b"{}")
    refused(functions.update_function_code, FunctionName=FUNCTION, ImageUri="forged")
    refused(client("ecs").describe_task_definition, taskDefinition="foreign")


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
