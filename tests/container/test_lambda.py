"""The Lambda image answers AWS's own Runtime Interface Emulator, deadline and continuation included."""

from __future__ import annotations

import datetime as dt
import json
import platform
import socket
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from embedded import wait_for

from container.engine import docker
from glacierflow.aws import Cloud
from glacierflow.layout import RunLayout
from glacierflow.local import control
from glacierflow.local.sample import sample_bundle
from glacierflow.regions import load_catalogue
from glacierflow.store import open_store

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

pytestmark = pytest.mark.embedded

BUCKET = "lambda-image"
# small ones, together more than one invocation has time for
REGIONS = [
    *("134_Arsuk", "137_SermeqSondreSermilik", "138_SermiitsiaqInTasermiut", "140_CentralLindenow"),
    *("145_UnamedNearKogeBugt", "146_UnamedNearIkertivaq", "170_NorthOfNordenskiold", "177_Kakivfat"),
]
EVENT = {
    "satellite": "landsat",
    "region": REGIONS[0],
    "date1": "2024-08-01",
    "date2": "2024-08-31",
    "s3_bucket": BUCKET,
    "s3_base_path": "results",
}
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AWS's emulator, a program inside the wheel of its SAM command line, which is not installed for it."""
    folder = tmp_path_factory.mktemp("rie")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, "aws-sam-cli"], check=True, timeout=300)
    processor = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    (wheel,) = folder.glob("aws_sam_cli-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        program = Path(archive.extract(f"samcli/local/rapid/aws-lambda-rie-{processor}", folder))
    program.chmod(0o755)
    # pytest's own folders are closed to the container's user
    for parent in program.parents:
        if parent == folder.parent:
            break
        parent.chmod(0o755)
    return program


@pytest.fixture(scope="module")
def cloud(cloud_endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    regions = load_catalogue().select(REGIONS, None).regions
    days = dt.date(2024, 8, 1), dt.date(2024, 8, 31)
    archive = sample_bundle(tmp_path_factory.mktemp("lambda-sample"), regions, *days, ["landsat"])
    return control.up(Path(cloud_endpoint.home), archive=archive, bucket=BUCKET)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Function:
    """A function in the image behind the emulator."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        content = json.dumps(event).encode()
        request = urllib.request.Request(self.url, data=content)  # noqa: S310 - our own address
        with _OPENER.open(request, timeout=120) as answer:
            told: dict[str, Any] = json.load(answer)
            return told


@contextmanager
def function(image: str, emulator: Path, cloud: Endpoint, *, timeout_s: int) -> Iterator[Function]:
    """As Lambda runs an image: read-only but /tmp, not root, no more memory than asked for."""
    port, name = free_port(), f"glacierflow-lambda-test-{timeout_s}"
    environment = {
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "2048",
        "AWS_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": cloud.url,
        "GLACIERFLOW_EMBEDDED": "1",
        "GLACIERFLOW_LANDSAT_STAC_URL": cloud.stac_url,
        "GLACIERFLOW_IMAGERY_S3_ENDPOINT": cloud.url,
    }
    variables = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
    docker(
        *("run", "--detach", "--name", name, "--network", "host", "--memory", "2048m", "--read-only"),
        *("--tmpfs", "/tmp", "--volume", f"{emulator}:/emulator:ro", "--entrypoint", "/emulator", *variables),
        *(image, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{free_port()}"),
        *("/opt/glacierflow/bin/python", "-m", "awslambdaric", "glacierflow.services.lambda_handler.handler"),
    )
    try:
        wait_for(lambda: listens(port), facts=lambda: docker("logs", name))
        yield Function(name, port)
    finally:
        docker("rm", "--force", name)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_both_events_are_answered(lambda_image: str, emulator: Path, cloud: Endpoint) -> None:
    store = open_store(f"s3://{BUCKET}", Cloud(endpoint_url=cloud.url, embedded=True))
    with function(lambda_image, emulator, cloud, timeout_s=120) as running:
        answer = running.invoke(EVENT)
        assert answer["statusCode"] == 200, answer
        body = json.loads(answer["body"])
        assert body["files_uploaded"]
        assert all(store.exists(key) for key in body["files_uploaded"])
        manifest = f"s3://{BUCKET}/{RunLayout(body['run_id']).manifest}"
        again = running.invoke({"manifest": manifest, "slot": 0})
        assert (again["outcome"], again["written"], again["skipped"]) == ("done", 0, body["uploaded_files"])
        refused = running.invoke({"hello": 1})
        assert refused["errorType"] == "UsageError"


def test_the_deadline_stops_it_and_the_next_invocation_goes_on(
    lambda_image: str, emulator: Path, cloud: Endpoint
) -> None:
    event = EVENT | {"regions": REGIONS, "s3_base_path": "in-steps"}
    del event["region"]
    with function(lambda_image, emulator, cloud, timeout_s=9) as running:
        # its imports shall not count
        assert running.invoke({})["errorType"] == "UsageError"
        answers = [running.invoke(event)]
        while answers[-1]["statusCode"] == 202 and len(answers) < 20:
            answers.append(running.invoke(event))
    bodies = [json.loads(answer["body"]) for answer in answers]
    assert [answer["statusCode"] for answer in answers] == [202] * (len(answers) - 1) + [200], answers
    assert len(answers) > 1
    assert bodies[0]["left"]
    assert bodies[-1]["left"] == []
    keys = [key for body in bodies for key in body["files_uploaded"]]
    assert len(keys) == len(set(keys)) > len(REGIONS)
