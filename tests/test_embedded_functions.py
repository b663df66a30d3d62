"""Lambda of the embedded cloud: invocations run as processes, with AWS's limits and manners."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from embedded import wait_for

from glacierflow.cloud import Cloud
from glacierflow.local import control
from glacierflow.local.batch.attempt import start_ticks

pytestmark = pytest.mark.embedded

ROLE = "arn:aws:iam::123456789012:role/function"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    home = tmp_path_factory.mktemp("functions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        endpoint = control.up(home, clock=60, vcpus=4)
    client = Cloud(endpoint_url=endpoint.url, embedded=True)
    client.client("iam").create_role(RoleName="function", AssumeRolePolicyDocument="{}")
    yield client
    control.down(home)


Make = Callable[..., str]


@pytest.fixture
def make(cloud: Cloud) -> Iterator[Make]:
    """Creates functions of tests/function_handlers.py."""
    names: list[str] = []

    def create(handler: str, **more: Any) -> str:
        name = f"{handler}-{uuid.uuid4().hex[:8]}"
        cloud.client("lambda").create_function(
            **{
                "FunctionName": name,
                "Role": ROLE,
                "Runtime": "python3.12",
                "Handler": f"function_handlers.{handler}",
                "Code": {"ZipFile": b"x"},
                "Timeout": 600,
                "MemorySize": 256,
            }
            | more
        )
        names.append(name)
        return name

    yield create
    for name in names:
        cloud.client("lambda").delete_function(FunctionName=name)


def invoke(cloud: Cloud, name: str, event: Any, **more: Any) -> Any:
    answer = cloud.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event), **more)
    return answer.get("FunctionError"), json.loads(answer["Payload"].read() or "null")


def test_an_invocation_answers_and_logs(cloud: Cloud, make: Make) -> None:
    name = make("echo")
    error, answer = invoke(cloud, name, {"a": 1})
    assert (error, answer["event"]) == (None, {"a": 1})
    assert 10_000 < answer["remaining_ms"] <= 600_000, "a fast clock does not take a function's time"
    logs = cloud.client("logs")
    group = f"/aws/lambda/{name}"
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    lines = [event["message"] for event in events]
    assert lines[0].startswith("START RequestId")
    assert "asked for {'a': 1}" in lines
    assert lines[-1].startswith("REPORT RequestId")


def test_an_image_function_runs_the_handler_of_its_command(cloud: Cloud, make: Make) -> None:
    image = {
        "PackageType": "Image",
        "Code": {"ImageUri": "x"},
        "ImageConfig": {"Command": ["function_handlers.echo"]},
    }
    name = make("echo", **image)
    assert invoke(cloud, name, [1])[1]["event"] == [1]


def test_a_handler_that_raises_is_an_error_with_its_type(cloud: Cloud, make: Make, tmp_path: Path) -> None:
    error, answer = invoke(cloud, make("fail"), {"trace": str(tmp_path / "t")})
    assert error == "Unhandled"
    assert (answer["errorType"], answer["errorMessage"]) == ("ValueError", "made to fail")


def test_time_and_memory_are_enforced(cloud: Cloud, make: Make) -> None:
    error, answer = invoke(cloud, make("sleep", Timeout=1), {"seconds": 900})
    assert (error, answer["errorMessage"]) == ("Unhandled", "Task timed out after 1.00 seconds")
    error, answer = invoke(cloud, make("eat", MemorySize=128), {})
    assert (error, answer["errorMessage"]) == (
        "Unhandled",
        "Error: Runtime exited with error: signal: killed",
    )


def test_an_asynchronous_failure_is_tried_again_then_buried(cloud: Cloud, make: Make, tmp_path: Path) -> None:
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="failures")["QueueUrl"]
    name, trace = make("fail"), tmp_path / "trace"
    cloud.client("lambda").put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": "arn:aws:sqs:us-west-2:123456789012:failures"}},
    )
    answer = cloud.client("lambda").invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps({"trace": str(trace)})
    )
    assert answer["StatusCode"] == 202
    found: list[Any] = []

    def buried() -> bool:
        found.extend(sqs.receive_message(QueueUrl=queue).get("Messages", []))
        return bool(found)

    wait_for(buried, 30)
    assert trace.read_text() == "xx", "once, and once again"
    record = json.loads(found[0]["Body"])
    assert record["requestPayload"] == {"trace": str(trace)}
    assert record["responsePayload"]["errorMessage"] == "made to fail"


def times(cloud: Cloud, name: str, word: str) -> list[int]:
    """When the lines that begin so were written, over all streams of a function's log."""
    found = cloud.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    return sorted(event["timestamp"] for event in found if event["message"].startswith(word))


def test_reserved_concurrency_throttles_and_queues(cloud: Cloud, make: Make, tmp_path: Path) -> None:
    name, pid = make("sleep"), tmp_path / "pid"
    functions = cloud.client("lambda")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    impatient = Cloud(endpoint_url=cloud.endpoint_url, embedded=True, retries=0).client("lambda")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(invoke, cloud, name, {"seconds": 2, "pid": str(pid)})
        wait_for(pid.exists)
        with pytest.raises(ClientError) as refused:
            impatient.invoke(FunctionName=name, Payload='{"seconds": 0}')
        assert refused.value.response["Error"]["Code"] == "TooManyRequestsException"
        # what need not be answered waits for its turn
        impatient.invoke(FunctionName=name, InvocationType="Event", Payload='{"seconds": 0}')
        assert first.result() == (None, "slept")
    wait_for(lambda: len(times(cloud, name, "REPORT")) == 2, 30)
    (_, second), (ended, _) = times(cloud, name, "START"), times(cloud, name, "REPORT")
    assert second >= ended


def test_when_the_cloud_is_stopped_its_invocations_end(tmp_path: Path) -> None:
    home, pid = tmp_path / "home", tmp_path / "pid"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        endpoint = control.up(home, clock=60, vcpus=2)
    functions = Cloud(endpoint_url=endpoint.url, embedded=True).client("lambda")
    iam = Cloud(endpoint_url=endpoint.url, embedded=True).client("iam")
    iam.create_role(RoleName="function", AssumeRolePolicyDocument="{}")
    functions.create_function(
        FunctionName="sleep",
        Role=ROLE,
        Runtime="python3.12",
        Handler="function_handlers.sleep",
        Code={"ZipFile": b"x"},
        Timeout=900,
    )
    event = json.dumps({"seconds": 100, "pid": str(pid)})
    functions.invoke(FunctionName="sleep", InvocationType="Event", Payload=event)
    wait_for(pid.exists)
    control.down(home)
    assert start_ticks(int(pid.read_text())) is None
