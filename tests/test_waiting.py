"""``queue`` of services without job queues; botocore's service models check requests and answers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud

PLACE = "us-west-2:111122223333"
MACHINE = f"arn:aws:states:{PLACE}:stateMachine:glacierflow-stepfunctions"
FAILURES = "https://sqs.us-west-2.amazonaws.com/111122223333/glacierflow-lambda-failures"
AGO = dt.timedelta(hours=2)


class Account:
    """Stubs of clients, whose answers are given in order."""

    def __init__(self) -> None:
        made = botocore.session.Session()
        self.stubs: dict[str, Stubber] = {}
        for service in ("cloudformation", "ecs", "lambda", "sqs", "stepfunctions"):
            client = made.create_client(
                service, "us-west-2", aws_access_key_id="made-up", aws_secret_access_key="made-up"
            )
            self.stubs[service] = Stubber(client)
            self.stubs[service].activate()

    def answer(self, service: str, operation: str, answer: dict[str, Any], **asked: Any) -> None:
        self.stubs[service].add_response(operation, answer, asked)

    def has_stack(self, name: str, **outputs: str) -> None:
        listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
        now = dt.datetime.now(dt.UTC)
        stack = {
            "StackName": name,
            "StackId": f"arn:aws:cloudformation:{PLACE}:stack/{name}/id",
            "CreationTime": now,
            "StackStatus": "CREATE_COMPLETE",
            "Outputs": listed,
        }
        self.answer("cloudformation", "describe_stacks", {"Stacks": [stack]}, StackName=name)

    def has_no_stack(self, name: str) -> None:
        self.stubs["cloudformation"].add_client_error(
            "describe_stacks",
            "ValidationError",
            f"Stack with id {name} does not exist",
            400,
            expected_params={"StackName": name},
        )


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Account]:
    for name in ("aws_config.ini", "config.ini"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    account = Account()
    monkeypatch.setattr(Cloud, "client", lambda _self, service: account.stubs[service].client)
    yield account
    for stub in account.stubs.values():
        stub.assert_no_pending_responses()


def queue_as_json(capsys: pytest.CaptureFixture[str], service: str, *, expect: int = 0) -> dict[str, Any]:
    assert run(["queue", "--service", service, "--json"]) == expect
    (found,) = json.loads(capsys.readouterr().out)["queues"]
    assert isinstance(found, dict)
    return found


def has_tasks(account: Account, states: list[str], cluster: str = "cluster") -> None:
    """Two pages of ListTasks, and a DescribeTasks for each hundred; the first task is the oldest."""
    now = dt.datetime.now(dt.UTC)
    arns = [f"arn:aws:ecs:{PLACE}:task/{cluster}/{number}" for number in range(len(states))]
    asked = {"cluster": cluster, "desiredStatus": "RUNNING"}
    account.answer("ecs", "list_tasks", {"taskArns": arns[:100], "nextToken": "more"}, **asked)
    account.answer("ecs", "list_tasks", {"taskArns": arns[100:]}, **asked, nextToken="more")
    tasks = [
        {"taskArn": arn, "lastStatus": state, "createdAt": now - AGO + dt.timedelta(seconds=number)}
        for number, (arn, state) in enumerate(zip(arns, states, strict=True))
    ]
    for first in range(0, len(arns), 100):
        some = slice(first, first + 100)
        account.answer("ecs", "describe_tasks", {"tasks": tasks[some]}, cluster=cluster, tasks=arns[some])


@pytest.mark.parametrize("service", ["ecs", "fargate"])
def test_tasks_of_the_cluster_are_counted_by_state_over_all_pages(
    account: Account, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    account.has_stack("glacierflow-ecs", Cluster="cluster")
    has_tasks(account, ["RUNNING"] * 90 + ["STOPPED"] + ["PENDING"] * 8 + ["PROVISIONING"] * 31)
    assert run(["queue", "--service", service]) == 0
    first, oldest = capsys.readouterr().out.splitlines()
    assert first == f"cluster  {service}  90 RUNNING, 8 PENDING, 31 PROVISIONING"
    # task 0 runs; of those that have not begun 91 waits longest
    assert oldest == "  oldest       91 PENDING, asked for 2.0 h ago"


def test_a_cluster_that_is_named_needs_no_stack_and_may_be_empty(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("aws_config.ini").write_text("[ECS]\ncluster = ours\n")
    account.answer("ecs", "list_tasks", {"taskArns": []}, cluster="ours", desiredStatus="RUNNING")
    found = queue_as_json(capsys, "fargate")
    assert (found["name"], found["depth"], found["oldest"], found["healthy"]) == ("ours", {}, None, True)


def test_executions_that_run_are_counted_over_all_pages(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.has_stack("glacierflow-stepfunctions", StateMachine=MACHINE)
    start = dt.datetime.now(dt.UTC) - AGO
    executions = [
        {
            "executionArn": f"{MACHINE.replace('stateMachine', 'execution')}:{name}",
            "stateMachineArn": MACHINE,
            "name": name,
            "status": "RUNNING",
            "startDate": started,
        }
        for name, started in (("new", start + AGO), ("old", start))
    ]
    asked = {"stateMachineArn": MACHINE, "statusFilter": "RUNNING"}
    page = {"executions": executions[:1], "nextToken": "more"}
    account.answer("stepfunctions", "list_executions", page, **asked)
    account.answer(
        "stepfunctions", "list_executions", {"executions": executions[1:]}, **asked, nextToken="more"
    )
    found = queue_as_json(capsys, "stepfunctions")
    assert (found["name"], found["depth"]) == ("glacierflow-stepfunctions", {"RUNNING": 2})
    assert (found["oldest"]["name"], round(found["oldest"]["age_s"], -2)) == ("old", 7200)
    assert "its slots wait in the queues of AWS Batch" in found["notice"]


def has_function(account: Account, concurrency: dict[str, int], *, stack: bool = True) -> None:
    for _ in range(2):
        if stack:
            account.has_stack("glacierflow-lambda", FunctionName="function", FailuresQueue=FAILURES)
        else:
            account.has_no_stack("glacierflow-lambda")
    answer = {"Configuration": {"FunctionName": "function"}} | (
        {"Concurrency": concurrency} if concurrency else {}
    )
    name = "function" if stack else "glacierflow-lambda"
    account.answer("lambda", "get_function", answer, FunctionName=name)


ASKED = {"QueueUrl": FAILURES, "AttributeNames": ["ApproximateNumberOfMessages"]}


def test_of_a_function_it_says_how_many_run_at_once_and_how_many_calls_were_given_up(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    has_function(account, {"ReservedConcurrentExecutions": 50})
    account.answer(
        "sqs", "get_queue_attributes", {"Attributes": {"ApproximateNumberOfMessages": "3"}}, **ASKED
    )
    assert run(["queue", "--service", "lambda"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "function  lambda",
        "  at a time    50 calls, which are reserved",
        "  failed       3 calls that Lambda gave up, kept for 14 days",
        "  not known    Lambda does not let anybody look into the queue of a function's calls",
    ]


def test_a_function_that_may_not_run_at_all_is_told_and_a_queue_one_may_not_see_is_no_failure(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    has_function(account, {"ReservedConcurrentExecutions": 0})
    account.stubs["sqs"].add_client_error(
        "get_queue_attributes", "AccessDenied", "no", 403, expected_params=ASKED
    )
    assert run(["queue", "--service", "lambda"]) == 1
    out = capsys.readouterr().out
    assert "  blocked      no call can start with a reserved concurrency of 0\n  next " in out
    assert "a function's calls; " in out
    assert "failed  " not in out


def test_a_function_without_a_stack_has_no_queue_of_failures(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    has_function(account, {}, stack=False)
    found = queue_as_json(capsys, "lambda")
    assert (found["reserved_concurrency"], found["failed_calls"]) == (None, None)
    assert found["notice"].endswith("; there is no stack with a queue for failed calls")


@pytest.mark.parametrize(("service", "stack"), [("ecs", "ecs"), ("stepfunctions", "schedule,stepfunctions")])
def test_where_the_stack_is_not_deployed_the_command_that_does_is_told(
    account: Account, service: str, stack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    account.has_no_stack(f"glacierflow-{service}")
    assert run(["queue", "--service", service]) == 64
    assert f"glacierflow stack deploy --with {stack}" in capsys.readouterr().err


def test_a_service_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["queue", "--service", "slurm"]) == 64
    assert "--service = slurm is not accepted" in capsys.readouterr().err
