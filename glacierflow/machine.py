"""What a child can learn of the machine it runs on: for the receipt, for logs and for what it cost.

Two services answer inside a container on ECS: the task metadata endpoint, whose address is in
``ECS_CONTAINER_METADATA_URI_V4``, and on EC2 the instance metadata service, version 2 (IMDSv2). Lambda tells
all it tells in the environment. Elsewhere nothing is asked, and what cannot be learned stays unknown: no
attempt fails or waits for it.
"""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Mapping
from typing import Any

from glacierflow.receipt import Machine
from glacierflow.resources import LAMBDA_MIB_A_VCPU

__all__ = ["find_machine"]

_log = logging.getLogger("glacierflow")

_IMDS = "http://169.254.169.254"
_TIMEOUT_S = 1.0
# both services are on this machine: a proxy must not be asked for them
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def find_machine(environ: Mapping[str, str]) -> Machine | None:
    """The machine of this container; None where it runs neither on ECS nor on Lambda.

    Args:
        environ: the environment; ``AWS_EC2_METADATA_DISABLED`` and ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` mean
            what they mean to boto3.
    """
    address = environ.get("ECS_CONTAINER_METADATA_URI_V4")
    if not address:
        return _of_lambda(environ) if "AWS_LAMBDA_FUNCTION_NAME" in environ else None
    container, task = _ask(address), _ask(f"{address}/task")
    logs = container.get("LogOptions") or {}
    limits = container.get("Limits") or {}
    launch_type = task.get("LaunchType")
    instance = _instance(environ) if launch_type != "FARGATE" else {}
    return Machine(
        instance_id=instance.get("instance-id"),
        instance_type=instance.get("instance-type"),
        zone=task.get("AvailabilityZone") or instance.get("placement/availability-zone"),
        lifecycle=instance.get("instance-life-cycle"),
        launch_type=launch_type,
        # ECS counts 1024 units a vCPU
        vcpus=_number(limits.get("CPU"), 1024) or _number((task.get("Limits") or {}).get("CPU"), 1),
        memory_mib=_number(limits.get("Memory"), 1) or _number((task.get("Limits") or {}).get("Memory"), 1),
        image_digest=container.get("ImageID") or None,
        log_group=logs.get("awslogs-group"),
        log_stream=logs.get("awslogs-stream"),
    )


def _of_lambda(environ: Mapping[str, str]) -> Machine:
    memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    memory_mib = float(memory) if memory.isdecimal() else None
    return Machine(
        lifecycle="on-demand",
        launch_type="LAMBDA",
        vcpus=round(memory_mib / LAMBDA_MIB_A_VCPU, 2) if memory_mib else None,
        memory_mib=memory_mib,
        log_group=environ.get("AWS_LAMBDA_LOG_GROUP_NAME"),
        log_stream=environ.get("AWS_LAMBDA_LOG_STREAM_NAME"),
    )


def _instance(environ: Mapping[str, str]) -> dict[str, str]:
    """Facts of the EC2 instance; empty where its metadata service does not answer."""
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return {}
    address = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _IMDS).rstrip("/")
    names = ("instance-id", "instance-type", "placement/availability-zone", "instance-life-cycle")
    try:
        wanted = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = _text(f"{address}/latest/api/token", wanted, method="PUT")
        allowed = {"X-aws-ec2-metadata-token": token}
        return {name: _text(f"{address}/latest/meta-data/{name}", allowed) for name in names}
    except (OSError, ValueError) as error:
        _log.info("the instance metadata service does not answer: %s", error)
        return {}


def _ask(address: str) -> dict[str, Any]:
    try:
        answer = json.loads(_text(address, {}))
    except (OSError, ValueError) as error:
        _log.info("the task metadata at %s cannot be read: %s", address, error)
        return {}
    return answer if isinstance(answer, dict) else {}


def _text(address: str, headers: dict[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(address, headers=headers, method=method)  # noqa: S310 - ECS's and EC2's own
    with _opener.open(request, timeout=_TIMEOUT_S) as answer:
        data: bytes = answer.read()
    return data.decode()


def _number(value: object, unit: int) -> float | None:
    return value / unit if isinstance(value, int | float) and value > 0 else None
