"""What a child is given: its argument list and its clean environment, as a process and as a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from glacierflow.aws import EMBEDDED_ACCESS_KEY
from glacierflow.local.attempt import Order

__all__ = [
    "child_argv",
    "child_environment",
    "cloud_environment",
    "container_environment",
    "filled_command",
    "process_environment",
]

_INHERITED = ("HOME", "LANG", "VIRTUAL_ENV", "SSL_CERT_FILE", "PYTHONPATH", "GLACIERFLOW_HOME")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PYTHONS = frozenset({"python", "python3"})


def filled_command(command: list[str], parameters: Mapping[str, str]) -> list[str]:
    """The command with ``Ref::name`` filled in."""
    return [parameters.get(word[5:], word) if word.startswith("Ref::") else word for word in command]


def child_argv(command: list[str], parameters: Mapping[str, str]) -> list[str]:
    """The filled command, run by this very Python and this very glacierflow."""
    words = filled_command(command, parameters)
    if words[0] in _PYTHONS:
        return [sys.executable, *words[1:]]
    if words[0] == "glacierflow":
        script = Path(sys.executable).with_name("glacierflow")
        if script.exists():
            return [str(script), *words[1:]]
        return [sys.executable, "-c", "from glacierflow.cli import main; main()", *words[1:]]
    return words


def child_environment(
    order: Order, *, endpoint: str, scratch: Path, outer: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of an attempt that is a process.

    Args:
        order: the attempt.
        endpoint: URL of the embedded cloud.
        scratch: a directory of this attempt alone; its TMPDIR.
        outer: environment the server was started with.
    """
    return process_environment(scratch, outer) | container_environment(order, endpoint=endpoint, outer=outer)


def container_environment(order: Order, *, endpoint: str, outer: Mapping[str, str]) -> dict[str, str]:
    """What a container is given besides its image's own environment."""
    job = order.job
    batch = {
        "AWS_BATCH_JOB_ID": job.job_id,
        "AWS_BATCH_JOB_ATTEMPT": str(order.number),
        "AWS_BATCH_JQ_NAME": order.queue,
        "AWS_BATCH_CE_NAME": order.compute_environment,
    }
    if job.index is not None:
        batch["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
    return cloud_environment(endpoint, job.spec.region, outer) | job.spec.environment | batch


def process_environment(scratch: Path, outer: Mapping[str, str]) -> dict[str, str]:
    """What a process on this machine needs, whatever service runs it; ``scratch`` is its TMPDIR."""
    kept = {name: outer[name] for name in _INHERITED if name in outer}
    path = os.pathsep.join([str(Path(sys.executable).parent), outer.get("PATH", os.defpath)])
    return kept | {"PATH": path, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}


def cloud_environment(endpoint: str, region: str, outer: Mapping[str, str]) -> dict[str, str]:
    """How a child of any service finds the embedded cloud.

    Real credentials of the person who started the cloud are handed on under other names, so that only imagery
    that stays real can use them.
    """
    real = {
        f"GLACIERFLOW_IMAGERY_{name}": outer[name]
        for name in _CREDENTIALS
        if outer.get(name) and outer.get("AWS_ACCESS_KEY_ID") != EMBEDDED_ACCESS_KEY
    }
    return real | {
        "GLACIERFLOW_EMBEDDED": "1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": EMBEDDED_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": EMBEDDED_ACCESS_KEY,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
    }
