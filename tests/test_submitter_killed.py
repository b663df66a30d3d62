"""A submitter that is killed for real: its process gets SIGKILL at a chosen call to the embedded cloud.

Every call of a submission is tried on a made-up AWS in test_submission.py; here are the calls that leave
something behind.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded import REGION, User
from http_servers import CallProxy

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.local import control
from glacierflow.runs import units
from glacierflow.runs.records import read_jobs, read_run_manifest
from glacierflow.store import S3Store, open_store

pytestmark = pytest.mark.embedded

TWO_CLASSES = """
from glacierflow.runs import units as arrange
arrange.memory_class = lambda region, *_, **__: 7_500 if region.index else 15_500
from glacierflow.cli import main
main()
"""
"""The command, where the first region needs a larger class, so that there are two jobs."""

MANIFEST, SUBMIT, FIRST, SECOND = "/manifest.json", "POST /v1/submitjob", "/jobs/0.json", "/jobs/1.json"
MOMENTS = {(MANIFEST, 1): 0, (SUBMIT, 1): 1, (FIRST, 1): 1, (SUBMIT, 2): 2, (SECOND, 1): 2}
"""The call that is done, its answer never seen, and the how manieth of its kind: jobs that Batch has by then.

Before a call all is as after the one before it.
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """An embedded cloud with half a vCPU, on which no child ever starts."""
    home = tmp_path_factory.mktemp("submitted-to")
    endpoint = control.up(home, vcpus=0.5)
    yield Cloud(region=REGION, endpoint_url=endpoint.url, embedded=True)
    control.down(home)


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[CallProxy]:
    proxy = CallProxy(str(cloud.endpoint_url))
    yield proxy
    proxy.server.shutdown()
    proxy.server.server_close()


def words(day: int) -> list[str]:
    """Of a submission that no other test makes."""
    dates = ["--date1", "2024-07-01", "--date2", f"2024-07-{day:02d}"]
    bucket = ["--s3-bucket", control.DEFAULT_BUCKET, "--satellite", "sentinel2"]
    return ["batch", "submit", "--start-end-index", "0:3", "--order", "largest", *dates, *bucket, "--quiet"]


def keys(url: str) -> dict[str, str]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return dict.fromkeys(names, "embedded") | {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": REGION}


def submit_and_be_killed(proxy: CallProxy, folder: Path, at: tuple[str, int], day: int) -> None:
    (wanted, nth), seen, started = at, 0, threading.Event()
    process: subprocess.Popen[str] | None = None

    def kill(call: str) -> None:
        nonlocal seen
        if wanted in call and call.startswith(("PUT", "POST")):
            seen += 1
            if seen == nth:
                started.wait()
                assert process is not None
                process.kill()
                process.wait()

    proxy.after = kill
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_CLASSES, *words(day)],
        cwd=folder,
        env=User(folder).environment | keys(proxy.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    started.set()
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, f"{said}\n{proxy.calls}"


def jobs_of(cloud: Cloud, day: int) -> dict[str, str]:
    """Names of the jobs of a submission by job id, as Batch has them."""
    batch = cloud.client("batch")
    found: dict[str, str] = {}
    named = [{"name": "JOB_NAME", "values": [f"gf-sentinel2-20240701-202407{day:02d}-*"]}]
    for queue in ("glacierflow-spot", "glacierflow-ondemand"):
        answer: Any = batch.list_jobs(jobQueue=queue, filters=named)
        found |= {job["jobId"]: job["jobName"] for job in answer["jobSummaryList"]}
    return found


@pytest.mark.parametrize("at", MOMENTS, ids=lambda at: f"{at[0].rpartition('/')[2]}-{at[1]}")
def test_nothing_is_sent_twice_or_lost(
    cloud: Cloud, proxy: CallProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[str, int]
) -> None:
    day = 10 + list(MOMENTS).index(at)
    submit_and_be_killed(proxy, tmp_path, at, day)
    left = jobs_of(cloud, day)
    assert len(left) == MOMENTS[at]

    # the same command again
    monkeypatch.setattr(units, "memory_class", lambda region, *_, **__: 7_500 if region.index else 15_500)
    for name, value in keys(str(cloud.endpoint_url)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert run(words(day)) == (64 if len(left) == 2 else 0)

    # one run, each of its arrays in Batch once and recorded
    store = open_store(f"s3://{control.DEFAULT_BUCKET}", cloud)
    assert isinstance(store, S3Store)
    prefix = f"runs/sentinel2-20240701-202407{day:02d}-"
    (run_id,) = {entry.key.split("/")[1] for entry in store.list(prefix)}
    assert len(read_run_manifest(store, run_id).slots) == 3
    jobs = jobs_of(cloud, day)
    assert left.items() <= jobs.items()
    assert sorted(jobs.values()) == [f"gf-{run_id}-0", f"gf-{run_id}-1"]
    assert {record.job_id for record in read_jobs(store, run_id)} == set(jobs)
