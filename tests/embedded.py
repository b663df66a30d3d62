"""Talking to an embedded cloud in tests: clients, throw-away job definitions, and waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.local import control

REGION = "us-west-2"
Json = dict[str, Any]


class BatchBench:
    """Submits small commands and waits for them."""

    def __init__(self, url: str, image: str = "none") -> None:
        self.url = url
        self.image = image
        """Of its definitions; processes need none."""
        cloud = Cloud(region=REGION, endpoint_url=url, embedded=True)
        self.batch = cloud.client("batch")
        self.logs = cloud.client("logs")
        self.s3 = cloud.client("s3")
        self.definition = self.define()

    def define(self, container: Json | None = None, **more: Any) -> str:
        """Register a definition, with changes of its container; returns its ARN."""
        request = {
            "jobDefinitionName": f"test-{uuid.uuid4().hex[:8]}",
            "type": "container",
            "containerProperties": {
                "image": self.image,
                "command": ["true"],
                "resourceRequirements": [
                    {"type": "VCPU", "value": "0.25"},
                    {"type": "MEMORY", "value": "500"},
                ],
                "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/test/jobs"}},
            }
            | (container or {}),
        } | more
        arn: str = self.batch.register_job_definition(**request)["jobDefinitionArn"]
        return arn

    def submit(self, command: Sequence[str], *, overrides: Json | None = None, **more: Any) -> str:
        """Submit a command; returns the job id."""
        request = {
            "jobName": "test-job",
            "jobQueue": "glacierflow-ondemand",
            "jobDefinition": self.definition,
            "containerOverrides": {"command": list(command)} | (overrides or {}),
        } | more
        job_id: str = self.batch.submit_job(**request)["jobId"]
        return job_id

    def shell(self, script: str, **more: Any) -> str:
        """Submit a shell script; returns the job id."""
        return self.submit(["sh", "-c", script], **more)

    def describe(self, job_id: str) -> Json:
        """DescribeJobs of one."""
        job: Json = self.batch.describe_jobs(jobs=[job_id])["jobs"][0]
        return job

    def wait(self, job_id: str, *statuses: str, timeout_s: float = 20) -> Json:
        """Wait until the job has ended, or has one of the statuses."""
        wanted = statuses or ("SUCCEEDED", "FAILED")
        wait_for(lambda: self.describe(job_id)["status"] in wanted, timeout_s, lambda: self.describe(job_id))
        return self.describe(job_id)

    def lines(self, job: Json) -> list[str]:
        """What the last attempt of a described job wrote."""
        events = self.logs.get_log_events(
            logGroupName=job["container"]["logConfiguration"]["options"]["awslogs-group"],
            logStreamName=job["container"]["logStreamName"],
            startFromHead=True,
        )["events"]
        return [event["message"] for event in events]


class User:
    """A person at a terminal, with a home of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AWS_", "GLACIERFLOW_"))
            },
            "GLACIERFLOW_HOME": str(folder / "home"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
            "AWS_CONFIG_FILE": str(folder / "no-config"),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Type a command; it runs."""
        return subprocess.Popen(
            [sys.executable, "-c", "from glacierflow.cli import main; main()", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def typed(self, *arguments: str, expect: int = 0) -> tuple[str, str]:
        """Type a command; standard output and error when it has ended."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == expect, f"{arguments} exits {process.returncode}:\n{out}\n{err}"
        return out, err

    def types(self, *arguments: str, expect: int = 0) -> str:
        """Type a command; its standard output."""
        return self.typed(*arguments, expect=expect)[0]


@contextmanager
def at_home(folder: Path) -> Iterator[None]:
    """Type in a folder whose embedded cloud is its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIERFLOW_HOME", str(folder / "home"))
        patch.chdir(folder)
        yield


@contextmanager
def own_cloud(folder: Path, *commands: Sequence[str]) -> Iterator[Path]:
    """A folder with an embedded cloud of its own, where some commands were typed."""
    try:
        with at_home(folder):
            for words in (["local", "up"], *commands):
                assert run(list(words)) == 0, words
        yield folder
    finally:
        control.down(folder / "home" / "local")


def cloud_of(folder: Path) -> Cloud:
    """The embedded cloud of such a folder."""
    endpoint = control.status(folder / "home" / "local")
    assert endpoint is not None
    return Cloud(endpoint_url=endpoint.url, embedded=True)


def stack_outputs(cloudformation: Any, stack: str) -> dict[str, str]:
    """What a stack puts out, asked of CloudFormation."""
    found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    return {one["OutputKey"]: one["OutputValue"] for one in found}


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and nobody asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(
    test: Callable[[], bool], timeout_s: float = 20, facts: Callable[[], object] = lambda: ""
) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: it did not in time.
    """
    until = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < until, f"still not so after {timeout_s} s: {facts()}"
        time.sleep(0.03)
