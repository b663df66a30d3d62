"""What a child of a run is replayed with, whatever service it ran on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from runs_samples import some_job, some_manifest

from glacierflow.cloud import Cloud
from glacierflow.image import push
from glacierflow.image.run import ChildRun, StartedWith, started_with
from glacierflow.model.manifest import Service
from glacierflow.runs.records import write_job
from glacierflow.store import LocalStore


class NoCloud:
    """Whoever asks it anything fails."""

    def client(self, service: str) -> Any:
        raise AssertionError(f"{service} was asked")


@pytest.mark.parametrize("service", ["lambda", "ecs", "fargate", "stepfunctions"])
def test_aws_batch_is_asked_only_about_jobs_of_its_own(service: Service, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    cloud: Any = NoCloud()
    manifest = some_manifest(2).model_copy(update={"image": "registry/glacierflow-lambda"})
    record = some_job(0, 2).model_copy(update={"service": service, "memory_mib": 15_500})
    write_job(store, manifest.run_id, record)
    assert started_with(manifest, 1, store, cloud) == StartedWith(
        image="registry/glacierflow-lambda", environment={}, memory_mib=15_500, vcpus=None
    )


def test_the_definition_of_a_forgotten_job_is_found_on_any_page_though_retired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("batch", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(Cloud, "client", lambda _self, _service: client)
    manifest, store = some_manifest(2), LocalStore(tmp_path)
    record = some_job(0, 2).model_copy(update={"job_definition": "glacierflow-7500:2"})
    write_job(store, manifest.run_id, record)
    with Stubber(client) as stubber:
        stubber.add_response("describe_jobs", {"jobs": []})
        asked = {"jobDefinitionName": "glacierflow-7500"}
        stubber.add_response("describe_job_definitions", pages_of(1, "old", "t"), asked)
        stubber.add_response("describe_job_definitions", pages_of(2, "new"), asked | {"nextToken": "t"})
        assert started_with(manifest, 1, store, Cloud()).image == "new"


def test_a_definition_whose_newest_revision_is_on_the_second_page_gets_no_other_for_the_same_image() -> None:
    client = boto3.client("batch", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    asked = {"jobDefinitionName": "mine", "status": "ACTIVE"}
    with Stubber(client) as stubber:
        stubber.add_response("describe_job_definitions", pages_of(1, "old", "t"), asked)
        stubber.add_response("describe_job_definitions", pages_of(2, "new"), asked | {"nextToken": "t"})
        push._new_revision(client, "mine", "new")
        stubber.assert_no_pending_responses()


def pages_of(revision: int, image: str, token: str | None = None) -> dict[str, Any]:
    definition = {
        "jobDefinitionName": "mine",
        "jobDefinitionArn": f"arn:mine:{revision}",
        "revision": revision,
        "type": "container",
        "containerProperties": {"image": image},
    }
    return {"jobDefinitions": [definition], **({"nextToken": token} if token else {})}


def test_a_child_is_started_by_its_module_in_lambdas_image_too() -> None:
    """That image's own entry point waits for events, and it has no writable volume."""
    child = ChildRun(
        manifest=some_manifest(1),
        slot=0,
        cloud=Cloud(embedded=True, endpoint_url="http://127.0.0.1:1"),
        image="glacierflow-lambda",
        memory_mib=7500,
        vcpus=1,
    )
    words = child.spec().create_arguments()
    image = words.index("glacierflow-lambda")
    assert words[image + 1 :] == ["-m", "glacierflow.task"]
    assert words[words.index("--entrypoint") + 1] == "python"
    assert words[words.index("--volume") + 1] == "/tmp"
