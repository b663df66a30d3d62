"""What a child process is given: its argument list and its clean environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from glacierflow.aws import EMBEDDED_ACCESS_KEY
from glacierflow.local.jobs import Job

__all__ = ["child_argv", "child_environment"]

_INHERITED = ("HOME", "LANG", "VIRTUAL_ENV", "SSL_CERT_FILE", "PYTHONPATH", "GLACIERFLOW_HOME")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PYTHONS = frozenset({"python", "python3"})


def child_argv(command: list[str], parameters: Mapping[str, str]) -> list[str]:
    """The command with ``Ref::name`` filled in, run by this very Python and this very glacierflow."""
    words = [parameters.get(word[5:], word) if word.startswith("Ref::") else word for word in command]
    if words[0] in _PYTHONS:
        return [sys.executable, *words[1:]]
    if words[0] == "glacierflow":
        script = Path(sys.executable).with_name("glacierflow")
        if script.exists():
            return [str(script), *words[1:]]
        return [sys.executable, "-c", "from glacierflow.cli import main; main()", *words[1:]]
    return words


def child_environment(
    job: Job,
    *,
    attempt: int,
    queue: str,
    compute_environment: str,
    endpoint: str,
    scratch: Path,
    outer: Mapping[str, str],
) -> dict[str, str]:
    """The whole environment of one attempt.

    Real credentials of the person who started the cloud are handed on under other names, so that only imagery
    that stays real can use them.

    Args:
        job: the job or array child.
        attempt: 1 for the first.
        queue: name of the job queue.
        compute_environment: name of the compute environment.
        endpoint: URL of the embedded cloud.
        scratch: a directory of this attempt alone; its TMPDIR.
        outer: environment the server was started with.
    """
    kept = {name: outer[name] for name in _INHERITED if name in outer}
    path = os.pathsep.join([str(Path(sys.executable).parent), outer.get("PATH", os.defpath)])
    real = {
        f"GLACIERFLOW_IMAGERY_{name}": outer[name]
        for name in _CREDENTIALS
        if outer.get(name) and outer.get("AWS_ACCESS_KEY_ID") != EMBEDDED_ACCESS_KEY
    }
    cloud = {
        "PATH": path,
        "TMPDIR": str(scratch),
        "PYTHONUNBUFFERED": "1",
        "GLACIERFLOW_EMBEDDED": "1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": EMBEDDED_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": EMBEDDED_ACCESS_KEY,
        "AWS_DEFAULT_REGION": job.spec.region,
        "AWS_REGION": job.spec.region,
    }
    batch = {
        "AWS_BATCH_JOB_ID": job.job_id,
        "AWS_BATCH_JOB_ATTEMPT": str(attempt),
        "AWS_BATCH_JQ_NAME": queue,
        "AWS_BATCH_CE_NAME": compute_environment,
    }
    if job.index is not None:
        batch["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
    return kept | real | cloud | job.spec.environment | batch
