"""ECS of the embedded cloud: tasks really run, end, are stopped and taken back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError
from embedded import wait_for

from glacierflow.cloud import Cloud
from glacierflow.local import control
from glacierflow.local.batch.attempt import Ended, start_ticks
from glacierflow.local.ecs import TaskRunner
from glacierflow.local.options import CloudOptions

if TYPE_CHECKING:
    from glacierflow.local.batch.attempt import Runner

pytestmark = pytest.mark.embedded

GROUP = "/test/tasks"

TASK: dict[str, Any] = {
    "id": "one",
    "region_name": "us-west-2",
    "capacity_provider_name": "FARGATE",
    "desired_status": "RUNNING",
    "stopped_reason": None,
    "stop_code": None,
    "overrides": {},
    "containers": [SimpleNamespace()],
}
DEFINITION = {
    "container_definitions": [{"name": "child", "image": "none", "command": ["true"]}],
    "cpu": "1024",
    "memory": "512",
}


class Cluster:
    """A cluster with one task definition."""

    def __init__(self, cloud: Cloud) -> None:
        self.ecs, self.logs = cloud.client("ecs"), cloud.client("logs")
        ec2 = cloud.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.0.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="tasks", Description="tasks", VpcId=vpc)["GroupId"]
        place = {"subnets": [subnet], "securityGroups": [group], "assignPublicIp": "ENABLED"}
        self.network = {"awsvpcConfiguration": place}
        self.ecs.create_cluster(clusterName="test", capacityProviders=["FARGATE", "FARGATE_SPOT"])
        self.ecs.register_task_definition(
            family="test",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="1024",
            memory="512",
            containerDefinitions=[
                {
                    "name": "child",
                    "image": "none",
                    "command": ["true"],
                    "environment": [{"name": "WHO", "value": "definition"}],
                    "logConfiguration": {
                        "logDriver": "awslogs",
                        "options": {"awslogs-group": GROUP, "awslogs-stream-prefix": "gf"},
                    },
                }
            ],
        )

    def run(self, script: str, provider: str = "FARGATE", token: str | None = None, **overrides: Any) -> str:
        """Run a shell script; returns the task's ARN."""
        answer = self.ecs.run_task(
            cluster="test",
            taskDefinition="test",
            clientToken=token or uuid.uuid4().hex,
            capacityProviderStrategy=[{"capacityProvider": provider, "weight": 1}],
            networkConfiguration=self.network,
            overrides={
                "containerOverrides": [
                    {
                        "name": "child",
                        "command": ["sh", "-c", script],
                        "environment": [{"name": "SAID", "value": "override"}],
                    }
                ]
            }
            | overrides,
        )
        assert answer["failures"] == []
        arn: str = answer["tasks"][0]["taskArn"]
        return arn

    def task(self, arn: str) -> Any:
        return self.ecs.describe_tasks(cluster="test", tasks=[arn])["tasks"][0]

    def end(self, arn: str) -> Any:
        wait_for(lambda: self.task(arn)["lastStatus"] == "STOPPED", 20, lambda: self.task(arn))
        return self.task(arn)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("tasks")
    endpoint = control.up(home, clock=60, vcpus=2, spot_reclaim=1.0)
    yield Cluster(Cloud(endpoint_url=endpoint.url, embedded=True))
    control.down(home)


def test_a_task_runs_logs_and_ends_with_its_exit_code(cluster: Cluster) -> None:
    task = cluster.end(cluster.run('echo "$WHO and $SAID, no $AWS_BATCH_JOB_ID"; exit 3'))
    assert task["containers"][0]["exitCode"] == 3
    assert task["stoppedReason"] == "Essential container in task exited"
    stream = f"gf/child/{task['taskArn'].rpartition('/')[2]}"
    events = cluster.logs.get_log_events(logGroupName=GROUP, logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["definition and override, no "]


def test_one_token_is_one_task(cluster: Cluster, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    first = cluster.run(f"echo x >> {trace}", token="t" * 32)
    assert cluster.run(f"echo x >> {trace}", token="t" * 32) == first
    cluster.end(first)
    assert trace.read_text() == "x\n"


def test_memory_is_enforced(cluster: Cluster) -> None:
    task = cluster.end(cluster.run("python3 -c 'x = bytearray(700 * 2**20); import time; time.sleep(9)'"))
    assert task["containers"][0]["exitCode"] == 137
    assert task["containers"][0]["reason"].startswith("OutOfMemoryError")


def test_a_command_that_is_not_there_never_starts(cluster: Cluster) -> None:
    arn = cluster.run("", containerOverrides=[{"name": "child", "command": ["/no/such/program"]}])
    task = cluster.end(arn)
    assert task["stopCode"] == "TaskFailedToStart"
    assert "exitCode" not in task["containers"][0]


def test_a_stopped_task_gets_sigterm_and_the_reason(cluster: Cluster) -> None:
    arn = cluster.run("trap 'exit 7' TERM; while :; do sleep 0.1; done")
    wait_for(lambda: cluster.task(arn)["lastStatus"] == "RUNNING")
    cluster.ecs.stop_task(cluster="test", task=arn, reason="enough")
    task = cluster.end(arn)
    assert (task["stoppedReason"], task["stopCode"]) == ("enough", "UserInitiated")
    assert task["containers"][0]["exitCode"] == 7


def test_fargate_spot_takes_tasks_back_and_fargate_does_not(cluster: Cluster) -> None:
    script = "trap 'exit 75' TERM; for i in 1 2 3 4 5 6 7 8; do sleep 0.5; done"
    spot, steady = cluster.run(script, provider="FARGATE_SPOT"), cluster.run(script)
    taken = cluster.end(spot)
    assert taken["stoppedReason"] == "Your Spot Task was interrupted."
    assert taken["containers"][0]["exitCode"] == 75
    assert cluster.end(steady)["containers"][0]["exitCode"] == 0


def test_capacity_that_the_cluster_does_not_have_runs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """As in AWS, where a task definition for Fargate cannot run on instances."""
    trace = tmp_path / "trace"
    with pytest.raises(ClientError, match="capacity provider was not found"):
        cluster.run(f"echo x >> {trace}", provider="my-instances")
    assert not trace.exists()


def test_a_stop_while_a_task_starts_is_not_lost(tmp_path: Path) -> None:
    """Between the check before the start and the moment the attempt is known there is nothing to end."""
    options = CloudOptions(home=tmp_path, endpoint="http://127.0.0.1:1", vcpus=1, clock=60)
    asked, released = threading.Event(), threading.Event()
    attempt = SimpleNamespace(
        ask_to_end=released.set,
        kill=lambda: None,
        lines=lambda: (),
        wait=lambda: Ended(143 if released.wait(5) else 0),
    )

    class Slow:
        def start(self, order: Any) -> Any:  # noqa: ARG002 - as the interface has it
            asked.set()
            assert stopped.wait(5)
            return attempt

    stopped = threading.Event()
    task, definition = SimpleNamespace(**TASK), SimpleNamespace(**DEFINITION)
    runner = TaskRunner(options, cast("Runner", Slow()), lambda *_: None)
    runner.launch(task, definition)
    assert asked.wait(5)
    runner.stop(task, "enough")
    stopped.set()
    wait_for(lambda: task.last_status == "STOPPED", 10)
    assert (task.stopped_reason, task.stop_code) == ("enough", "UserInitiated")
    assert task.containers[0].exitCode == 143


def test_when_the_cloud_is_stopped_its_tasks_are_told_end_and_are_remembered(tmp_path: Path) -> None:
    home, pid, told = tmp_path / "home", tmp_path / "pid", tmp_path / "told"
    endpoint = control.up(home, clock=60, vcpus=2)
    own = Cluster(Cloud(endpoint_url=endpoint.url, embedded=True))
    own.run(f"trap 'touch {told}; exit 0' TERM; echo $$ > {pid}; while :; do sleep 0.1; done")
    wait_for(pid.exists)
    arn = own.run("sleep 100")
    control.down(home)
    assert told.exists()
    assert start_ticks(int(pid.read_text())) is None
    ecs = Cloud(endpoint_url=control.up(home).url, embedded=True).client("ecs")
    (task,) = ecs.describe_tasks(cluster="test", tasks=[arn])["tasks"]
    assert (task["lastStatus"], task["stoppedReason"]) == (
        "STOPPED",
        "The embedded cloud was stopped while the task was RUNNING",
    )
    control.down(home)
