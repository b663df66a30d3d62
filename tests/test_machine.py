"""What a container learns of its machine, from services that answer as ECS and EC2 do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glacierflow.host import find_machine, watch_for_reclaim
from glacierflow.model.receipt import Machine

# shapes as in the Amazon ECS developer guide, task metadata endpoint version 4, EC2 launch type
CONTAINER = {
    "DockerId": "ea32192c8553fbff06c9340478a2ff089b2bb5646fb718b4ee206641c9086d66",
    "Image": "111122223333.dkr.ecr.us-west-2.amazonaws.com/glacierflow:1",
    "ImageID": "sha256:d691691e9652791a60114e67b365688d20d19940dde7c4736ea30e660d8d3553",
    "Limits": {"CPU": 1024, "Memory": 7500},
    "LogDriver": "awslogs",
    "LogOptions": {"awslogs-group": "/glacierflow/batch", "awslogs-stream": "glacierflow/default/ea32192c"},
}
TASK = {"AvailabilityZone": "us-west-2d", "LaunchType": "EC2"}
INSTANCE = {
    "instance-id": "i-0123456789abcdef0",
    "instance-type": "m6i.large",
    "placement/availability-zone": "us-west-2d",
    "instance-life-cycle": "spot",
}


class Services:
    """Both metadata services on one port."""

    def __init__(self) -> None:
        self.container: Any = CONTAINER
        self.task: Any = TASK
        self.asked: list[str] = []
        self.notices: list[str] = []
        self.token = "token-1"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def send(self, status: int, text: str) -> None:
                outer.asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_PUT(self) -> None:
                known = (
                    self.path == "/latest/api/token"
                    and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
                )
                self.send(200 if known else 400, outer.token)

            def do_GET(self) -> None:
                if self.path.startswith("/v4/"):
                    answer = outer.task if self.path.endswith("/task") else outer.container
                    self.send(200, answer if isinstance(answer, str) else json.dumps(answer))
                    return
                name = self.path.removeprefix("/latest/meta-data/")
                allowed = self.headers.get("X-aws-ec2-metadata-token") == outer.token
                if allowed and name == "spot/instance-action":
                    self.send(200 if outer.notices else 404, "".join(outer.notices))
                    return
                self.send(200 if allowed and name in INSTANCE else 401, INSTANCE.get(name, ""))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.environment = {
            "ECS_CONTAINER_METADATA_URI_V4": f"{self.url}/v4/x",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
        }


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services()
    yield services
    services.server.shutdown()
    services.server.server_close()


def test_on_ec2_type_zone_and_share_of_the_instance_are_known(services: Services) -> None:
    assert find_machine(services.environment) == Machine(
        instance_id="i-0123456789abcdef0",
        instance_type="m6i.large",
        zone="us-west-2d",
        lifecycle="spot",
        launch_type="EC2",
        vcpus=1.0,
        memory_mib=7500,
        image_digest="sha256:d691691e9652791a60114e67b365688d20d19940dde7c4736ea30e660d8d3553",
        log_group="/glacierflow/batch",
        log_stream="glacierflow/default/ea32192c",
    )


class Clock:
    """What waits between two looks; something may happen meanwhile."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        self.waited: list[float] = []
        self._meanwhile = list(meanwhile)

    def __call__(self, seconds: float) -> bool:
        self.waited.append(seconds)
        if not self._meanwhile:
            return True
        self._meanwhile.pop(0)()
        return False


def test_a_reclaim_is_seen_in_the_metadata_within_five_seconds(services: Services) -> None:
    told: list[str] = []
    notice = json.dumps({"action": "terminate", "time": "2026-01-01T00:02:00Z"})
    clock = Clock(services.asked.clear, lambda: services.notices.append(notice))
    watch_for_reclaim(services.environment, lambda: told.append("reclaimed"), clock)
    assert told == ["reclaimed"]
    assert clock.waited == [5.0, 5.0]
    # one token for all looks
    assert set(services.asked) == {"/latest/meta-data/spot/instance-action"}


def test_a_token_that_has_run_out_is_renewed(services: Services) -> None:
    told: list[str] = []

    def forget() -> None:
        services.token = "token-2"
        services.notices.append("{}")

    clock = Clock(forget, lambda: None, lambda: None)
    watch_for_reclaim(services.environment, lambda: told.append("reclaimed"), clock)
    assert told == ["reclaimed"]


def test_the_watch_ends_with_the_attempt_and_where_nobody_answers(services: Services) -> None:
    clock = Clock()
    watch_for_reclaim(services.environment, pytest.fail, clock)
    assert clock.waited == [5.0]
    nobody = {"ECS_CONTAINER_METADATA_URI_V4": "x", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
    clock = Clock(*[lambda: None] * 9)
    watch_for_reclaim(nobody, pytest.fail, clock)
    assert clock.waited == [5.0, 5.0]


@pytest.mark.parametrize("environ", [{}, {"AWS_EC2_METADATA_DISABLED": "true"}])
def test_away_from_ecs_nobody_is_asked_for_a_reclaim(services: Services, environ: dict[str, str]) -> None:
    clock = Clock()
    watch_for_reclaim((services.environment | environ) if environ else {}, pytest.fail, clock)
    assert clock.waited == []
    assert services.asked == []


def test_on_fargate_no_instance_is_asked_for(services: Services) -> None:
    services.container = {"Limits": {"CPU": 0}}
    services.task = {
        "AvailabilityZone": "us-west-2a",
        "LaunchType": "FARGATE",
        "Limits": {"CPU": 2, "Memory": 8192},
    }
    found = find_machine(services.environment)
    assert found == Machine(zone="us-west-2a", launch_type="FARGATE", vcpus=2, memory_mib=8192)
    assert not any(path.startswith("/latest") for path in services.asked)


def test_elsewhere_nothing_is_asked(services: Services) -> None:
    assert find_machine({"AWS_EC2_METADATA_SERVICE_ENDPOINT": services.url}) is None
    assert services.asked == []


def test_on_lambda_the_environment_tells(services: Services) -> None:
    environment = {
        "AWS_LAMBDA_FUNCTION_NAME": "glacier-processing",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/glacier-processing",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2024/07/15/[$LATEST]abc",
    }
    assert find_machine(environment) == Machine(
        lifecycle="on-demand",
        launch_type="LAMBDA",
        vcpus=5.79,
        memory_mib=10_240,
        log_group="/aws/lambda/glacier-processing",
        log_stream="2024/07/15/[$LATEST]abc",
    )
    assert find_machine({"AWS_LAMBDA_FUNCTION_NAME": "x"}) == Machine(
        lifecycle="on-demand", launch_type="LAMBDA"
    )
    assert services.asked == []


def test_the_instance_service_can_be_forbidden(services: Services) -> None:
    found = find_machine({**services.environment, "AWS_EC2_METADATA_DISABLED": "true"})
    assert found is not None
    assert (found.instance_type, found.zone) == (None, "us-west-2d")


@pytest.mark.parametrize("answer", ["", "no json", "[]", '{"Limits": null, "LogOptions": null}'])
def test_odd_answers_leave_it_unknown(services: Services, answer: str) -> None:
    services.container = services.task = answer
    found = find_machine({**services.environment, "AWS_EC2_METADATA_DISABLED": "true"})
    assert found == Machine()


def test_services_that_are_not_there_cost_no_time() -> None:
    begin = time.monotonic()
    nowhere = "http://127.0.0.1:9"
    found = find_machine(
        {"ECS_CONTAINER_METADATA_URI_V4": nowhere, "AWS_EC2_METADATA_SERVICE_ENDPOINT": nowhere}
    )
    assert found == Machine()
    assert time.monotonic() - begin < 1
