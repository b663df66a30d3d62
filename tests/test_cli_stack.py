"""``glacierflow stack`` as typed, against the embedded cloud: made, changed, failed, deleted, made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from embedded import stack_outputs

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.local.control import Endpoint
from glacierflow.stack.templates import load_template

pytestmark = pytest.mark.embedded

OWN = ["--stack", "other", "--local"]
NAMES = ["--set", "BucketName=other-bucket", "--set", "LogGroupName=/other/batch"]
FULL = [
    "--with",
    "network,observability,fargate",
    "--set",
    "BudgetUsd=50",
    "--set",
    "BudgetEmail=a@example.org",
]


@pytest.fixture(autouse=True)
def _own_cloud(at_cloud: Endpoint) -> None:
    for name in ("config.ini", "aws_config.ini"):
        Path(name).touch()


@pytest.fixture
def cloud(cloud_endpoint: Endpoint) -> Cloud:
    return Cloud(endpoint_url=cloud_endpoint.url, embedded=True)


def stack(*words: str) -> int:
    return run(["stack", *words])


def test_a_stack_is_made_changed_and_deleted_and_keeps_its_bucket(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stack("status", *OWN) == 1
    assert "there is no stack other in us-west-2; make it with" in capsys.readouterr().err

    assert stack("deploy", *OWN, *NAMES, *FULL, "--yes") == 0
    told = capsys.readouterr()
    assert "other-network: a new stack" in told.err
    assert "+ SpotQueue  AWS::Batch::JobQueue" in told.err
    assert "SpotQueue: create complete" in told.err
    assert "uses what is there already: ExistingRepository = glacierflow" in told.err
    assert "arn:aws:batch:us-west-2:123456789012:job-queue/other-spot" in told.out

    everywhere = cloud.client("cloudformation")
    for template in ("network", "observability", "fargate"):
        there = everywhere.describe_stack_resources(StackName=f"other-{template}")["StackResources"]
        missing = {"Subnet5", "Subnet5Routes", "Subnet6", "Subnet6Routes"}
        wanted = set(load_template(template).content["Resources"])
        assert {one["LogicalResourceId"] for one in there} == wanted - missing
    network = _outputs(cloud, "other-network")
    found = cloud.client("ec2").describe_subnets(SubnetIds=network["Subnets"].split(","))["Subnets"]
    assert {one["VpcId"] for one in found} == {network["Vpc"]} == {_outputs(cloud, "other")["Vpc"]}
    assert len({one["AvailabilityZone"] for one in found}) == 4
    fargate = cloud.client("batch").describe_job_definitions(jobDefinitionName="other-fargate-7500")
    assert fargate["jobDefinitions"][0]["platformCapabilities"] == ["FARGATE"]
    filters = cloud.client("logs").describe_metric_filters(logGroupName="/other/batch")["metricFilters"]
    assert [one["filterPattern"] for one in filters] == ['"ERROR failed:"']
    alarm = cloud.client("cloudwatch").describe_alarms(AlarmNames=["other-observability-failures"])
    assert [one["Threshold"] for one in alarm["MetricAlarms"]] == [20.0]
    budget = cloud.client("budgets").describe_budget(
        AccountId="123456789012", BudgetName="other-observability"
    )
    assert budget["Budget"]["BudgetLimit"]["Amount"] == "50"

    assert stack("deploy", *OWN, "--yes") == 0
    assert "other: nothing to change" in capsys.readouterr().err
    assert stack("diff", *OWN, "--set", "MaxVcpus=512", "--json") == 0
    changes = json.loads(capsys.readouterr().out)["other"]
    assert {one["resource"] for one in changes} == {"SpotEnvironment", "OnDemandEnvironment"}
    assert _most_vcpus(cloud) == {"256"}
    image = "--set", "Image=images/glacierflow@sha256:1"
    assert stack("deploy", *OWN, "--set", "MaxVcpus=512", *image, "--quiet", "--yes") == 0
    assert _most_vcpus(cloud) == {"512"}
    batch = cloud.client("batch")
    newest = _outputs(cloud, "other")["JobDefinition7500"]
    assert newest.endswith("other-7500:2")
    both = batch.describe_job_definitions(jobDefinitionName="other-7500", status="ACTIVE")["jobDefinitions"]
    assert {one["revision"] for one in both} == {1, 2}, "a run on its way names the first revision"
    assert stack("status", *OWN) == 0

    cloud.client("s3").create_bucket(
        Bucket="theirs", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    for name in ("another-bucket", "theirs", "other-bucket"):
        assert stack("deploy", *OWN, "--set", f"BucketName={name}", "--yes") == 0
        assert _outputs(cloud, "other")["Bucket"] == name
        assert _may_read(cloud, "other-job-us-west-2") == name
        assert cloud.client("s3").head_bucket(Bucket="other-bucket"), "the first one stays"

    capsys.readouterr()
    cloud.client("s3").put_object(Bucket="other-bucket", Key="runs/x/manifest.json", Body=b"{}")
    assert stack("delete", *OWN, "--yes") == 0
    assert "kept: the bucket other-bucket with everything in it" in capsys.readouterr().out
    assert cloud.client("s3").get_object(Bucket="other-bucket", Key="runs/x/manifest.json")
    assert not batch.describe_job_queues(jobQueues=["other-spot"])["jobQueues"]
    assert stack("status", *OWN) == 1
    assert stack("deploy", *OWN, *NAMES, "--yes") == 0
    assert "uses what is there already: ExistingBucket = other-bucket" in capsys.readouterr().err
    assert _outputs(cloud, "other")["Bucket"] == "other-bucket"
    assert stack("delete", *OWN, "--yes") == 0


def _outputs(cloud: Cloud, name: str) -> dict[str, str]:
    return stack_outputs(cloud.client("cloudformation"), name)


def _may_read(cloud: Cloud, role: str) -> str:
    policy = cloud.client("iam").get_role_policy(RoleName=role, PolicyName="job")["PolicyDocument"]
    resource: str = next(one for one in policy["Statement"] if one["Sid"] == "ListBucket")["Resource"]
    return resource.rpartition(":")[2]


def _most_vcpus(cloud: Cloud) -> set[str]:
    found = cloud.client("batch").describe_compute_environments(
        computeEnvironments=["other-spot", "other-ondemand"]
    )["computeEnvironments"]
    return {str(one["computeResources"]["maxvCpus"]) for one in found}


def test_a_failure_is_explained_and_taken_back(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """A role of that name is there already, which the account's administrator made by hand."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    names = ["--set", "BucketName=broken-bucket", "--set", "LogGroupName=/broken/batch"]
    own = ["--stack", "broken", "--local"]
    cloud.client("iam").create_role(RoleName="broken-execution-us-west-2", AssumeRolePolicyDocument=trust)
    assert stack("deploy", *own, *names, "--yes") == 1
    told = capsys.readouterr().err
    assert "the stack broken: could not be made; what was begun was taken back (ROLLBACK_COMPLETE)" in told
    assert "ExecutionRole: something of that name is there already" in told
    assert "next: use it (--set ExistingBucket=NAME" in told
    assert "JobRole: delete complete" in told
    assert stack("deploy", *own, *names, "--yes") == 64
    assert "next: run `glacierflow stack delete --stack broken`" in capsys.readouterr().err
    assert stack("delete", *own, "--yes") == 0
    role = "ExistingExecutionRole=arn:aws:iam::123456789012:role/broken-execution-us-west-2"
    assert stack("deploy", *own, *names, "--set", role, "--yes") == 0

    capsys.readouterr()
    assert stack("deploy", *own, "--set", "InstanceTypes=r99", "--yes") == 1
    told = capsys.readouterr().err
    assert "the stack broken: in place as before: the last change failed and was taken back" in told
    assert stack("status", *own) == 1
    assert stack("delete", *own, "--yes") == 0


def test_nothing_is_changed_without_a_yes(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--set", "BucketName=asked-bucket", "--set", "LogGroupName=/asked/batch"]
    assert stack("deploy", "--stack", "asked", "--local", *names) == 64
    assert "next: add --yes" in capsys.readouterr().err
    assert stack("status", "--stack", "asked", "--local") == 1
    assert "asked-bucket" not in {one["Name"] for one in cloud.client("s3").list_buckets()["Buckets"]}


@pytest.mark.parametrize(
    ("words", "sentence", "way"),
    [
        (["deploy", "--set", "MaxVcpu=3"], "no template to be deployed has a parameter MaxVcpu", "MaxVcpus"),
        (["deploy", "--set", "MaxVcpus"], "--set MaxVcpus is not NAME=VALUE", "--set MaxVcpus=512"),
        (["deploy", "--with", "netwrok"], "there is no template netwrok", "network"),
        (["outputs", "--stack", "none", "--local"], "there is no stack none in us-west-2", "stack deploy"),
    ],
)
def test_what_is_typed_wrong_is_refused_before_anything_is_done(
    words: list[str], sentence: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stack(*words) == 64
    told = capsys.readouterr().err
    assert sentence in told
    assert way in told


def test_policies_are_written_without_asking_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cloud, "client", lambda *_: pytest.fail("AWS was asked"))
    sets = ["--set", "BucketName=ours", "--set", "RepositoryName=images"]
    assert stack("policies", "out", "--account", "111122223333", *sets, "--quiet") == 0
    names = {path.name for path in Path("out").iterdir()}
    roles = {f"{role}-role" for role in ("job", "execution", "instance", "submitter")}
    assert names == {f"{role}.trust.json" for role in roles} | {
        "job-role.policy.json",
        "execution-role.policy.json",
        "submitter-role.policy.json",
        "lambda-minimal.policy.json",
        "README.md",
    }
    for path in Path("out").glob("*.json"):
        document = json.loads(path.read_text())
        assert document["Version"] == "2012-10-17"
        assert "${" not in path.read_text()
        assert "<" not in path.read_text(), "everything is worked out"
    job = json.loads(Path("out/job-role.policy.json").read_text())["Statement"]
    assert job[1]["Resource"] == [
        f"arn:aws:s3:::ours/{prefix}/*" for prefix in ("1_download_merge_and_clip", "runs")
    ]
    pulls = json.loads(Path("out/execution-role.policy.json").read_text())["Statement"]
    assert pulls[1]["Resource"] == "arn:aws:ecr:us-west-2:111122223333:repository/images"
    function = json.loads(Path("out/lambda-minimal.policy.json").read_text())["Statement"]
    assert {one["Sid"] for one in function} == {"Products", "ListProducts", "RequesterPaysSources", "Log"}
    assert "AmazonEC2ContainerServiceforEC2Role" in Path("out/README.md").read_text()
