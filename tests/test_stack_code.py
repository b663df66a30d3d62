"""Stacks whose code no stack makes: refused until it is there, then deployed together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glacierflow.cli.app import run
from glacierflow.cloud import EMBEDDED_ACCESS_KEY, Cloud
from glacierflow.functions.scheduler.planning import open_office
from glacierflow.local.control import Endpoint
from glacierflow.stack import deploy

pytestmark = pytest.mark.embedded

FOUR = "lambda,ecs,stepfunctions,schedule"
ARGUMENTS = ["stack", "deploy", "--stack", "four", "--with", FOUR, "--yes"]
NAMES = ["--set", "BucketName=four-bucket", "--set", "LogGroupName=/four/batch"]
OWN = ["--set", "FunctionName=four-processing", "--set", "RepositoryName=four"]


@pytest.fixture
def cloud(cloud_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    """The embedded cloud, spoken to as if it were AWS, where a function needs an image."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud_endpoint.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, EMBEDDED_ACCESS_KEY)
    monkeypatch.setattr(deploy, "_AWS_INTERVAL_S", 0.1)
    monkeypatch.chdir(tmp_path)
    for name in ("config.ini", "aws_config.ini"):
        Path(name).touch()
    return Cloud()


def stacks(cloud: Cloud) -> set[str]:
    found = cloud.client("cloudformation").describe_stacks()["Stacks"]
    return {one["StackName"] for one in found if one["StackName"].startswith("four")}


def test_all_four_wait_for_image_and_zips_and_then_are_made_together(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*ARGUMENTS, *NAMES, *OWN]
    assert run(arguments) == 64
    told = capsys.readouterr().err
    assert (
        "what four-lambda and four-schedule would run is not there yet: the image four:0.1.0-lambda" in told
    )
    assert "s3://four-bucket/scripts/glacierflow/scheduler.zip" in told
    assert "s3://four-bucket/scripts/glacierflow/scheduler-layer.zip" in told
    assert "run `glacierflow lambda deploy`, `glacierflow lambda package --zip dist --push`" in told
    assert stacks(cloud) == {"four"}, "nothing that would have to be taken back was begun"

    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": "sha256:1"}, "layers": []}
    cloud.client("ecr").put_image(
        repositoryName="four", imageManifest=json.dumps(manifest), imageTag="0.1.0-lambda"
    )
    assert run(arguments) == 64
    told = capsys.readouterr().err
    assert "what four-schedule would run" in told
    assert "four:0.1.0-lambda" not in told

    for key in ("scheduler.zip", "scheduler-layer.zip"):
        cloud.client("s3").put_object(Bucket="four-bucket", Key=f"scripts/glacierflow/{key}", Body=b"x")
    assert run(arguments) == 0
    assert stacks(cloud) == {"four", *(f"four-{name}" for name in FOUR.split(","))}
    told = cloud.client("lambda").get_function_configuration(FunctionName="four-schedule")
    with monkeypatch.context() as environment:
        for name, value in told["Environment"]["Variables"].items():
            environment.setenv(name, value)
        queue = open_office().places.spot_queue
    assert queue.endswith("job-queue/four-spot"), "the scheduler asks its own stack"
    # what is deployed stays as it is, whatever became of what it was made from
    cloud.client("s3").delete_object(Bucket="four-bucket", Key="scripts/glacierflow/scheduler.zip")
    assert run(arguments) == 0
    assert run(["stack", "delete", "--stack", "four", "--yes"]) == 0
