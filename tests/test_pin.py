"""A pushed image in the definitions of every stack that starts it, on the embedded cloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.image import push
from glacierflow.image.push import pin_definitions
from glacierflow.launch.ecs import find_cluster
from glacierflow.local.control import Endpoint
from glacierflow.settings import load_settings
from glacierflow.stack.deploy import describe
from glacierflow.stack.templates import load_template

pytestmark = pytest.mark.embedded

FIRST, SECOND = (f"images/glacierflow@sha256:{digit * 64}" for digit in "ab")
OWN = ("--stack", "pinned", "--local", "--yes", "--quiet")


@pytest.fixture
def cloud(at_cloud: Endpoint) -> Iterator[Cloud]:
    """A stack of its own, without the ones beside it."""
    names = ("--set", "BucketName=pinned-bucket", "--set", "LogGroupName=/pinned/batch")
    assert run(["stack", "deploy", *OWN, *names]) == 0
    yield Cloud(endpoint_url=at_cloud.url, embedded=True)
    assert run(["stack", "delete", *OWN]) == 0


def image_of_tasks(cloud: Cloud) -> set[str]:
    """What the task definitions that a run is sent to name."""
    launcher = find_cluster(cloud, "pinned", "fargate", tags={})
    ecs = cloud.client("ecs")
    named = {
        ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["containerDefinitions"][0]["image"]
        for arn in launcher.definitions.values()
    }
    assert len(launcher.definitions) == len(MEMORY_CLASSES_MIB)
    return named | {str(launcher.image)}


def test_the_stacks_beside_the_main_one_follow_the_image_that_was_pushed(cloud: Cloud) -> None:
    settings = load_settings(environ={}, overrides={"BATCH.stack": "pinned"})
    assert pin_definitions(FIRST, settings, cloud)[7500].startswith("pinned-7500:")
    for template in ("ecs", "fargate"):
        assert describe(cloud, f"pinned-{template}") is None, "a push makes no stack"

    # a stack that is deployed after the push starts with what was pushed
    assert run(["stack", "deploy", *OWN, "--with", "ecs,fargate"]) == 0
    assert image_of_tasks(cloud) == {FIRST}

    pin_definitions(SECOND, settings, cloud)
    assert image_of_tasks(cloud) == {SECOND}
    by_hand = {"BATCH.stack": "pinned", "BATCH.job_definition": "pinned-fargate"}
    fargate = load_settings(environ={}, overrides=by_hand)
    definitions = pin_definitions(SECOND, fargate, cloud)
    assert {name.partition(":")[0] for name in definitions.values()} == {
        f"pinned-fargate-{memory}" for memory in MEMORY_CLASSES_MIB
    }
    definitions = pin_definitions(FIRST, fargate, cloud)
    assert {name.partition(":")[2] for name in definitions.values()} == {"3"}


def test_a_stack_that_would_change_in_more_than_its_definitions_is_left_alone(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(environ={}, overrides={"BATCH.stack": "pinned"})
    assert run(["stack", "deploy", *OWN, "--with", "ecs"]) == 0
    template = load_template("ecs")
    newer = replace(template, body=template.body.replace("nothing in, HTTPS out", "of another version"))
    monkeypatch.setattr(push, "load_template", lambda name: newer if name == "ecs" else load_template(name))
    with pytest.raises(UsageError, match="pinned-ecs was made from another template") as caught:
        pin_definitions(FIRST, settings, cloud)
    assert "stack deploy --with ecs --set Image=" in str(caught.value.next_step)
    assert FIRST not in image_of_tasks(cloud)
