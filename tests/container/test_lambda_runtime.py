"""The Lambda image behind a real Runtime API: AWS's Runtime Interface Emulator starts and asks it."""

from __future__ import annotations

import datetime as dt
import json
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from embedded import cloud_of, wait_for

from container.engine import docker
from glacierflow.cli.app import run
from glacierflow.local import control
from glacierflow.local.sample import sample_bundle
from glacierflow.regions import load_catalogue

RIE_WHEEL = "aws-sam-cli==1.170.0"
RIE_INSIDE = "samcli/local/rapid/aws-lambda-rie-x86_64"
REGIONS = [region.name for region in load_catalogue().select(None, "121:139").regions]
EVENT = {
    "satellite": "sentinel2",
    "regions": REGIONS,
    "date1": "2024-08-01",
    "date2": "2024-08-04",
    "s3_bucket": "runtime",
    "s3_base_path": "results",
}
Ask = Callable[[dict[str, Any]], dict[str, Any]]
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture(scope="module")
def rie(lambda_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The emulator's binary, which has no package of its own: it ships in the wheel of AWS SAM."""
    folder = tmp_path_factory.mktemp("rie")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), RIE_WHEEL]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        path = Path(content.extract(RIE_INSIDE, folder))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An embedded cloud with a sample of the regions and a bucket."""
    folder = tmp_path_factory.mktemp("runtime")
    regions = load_catalogue().select(REGIONS, None).regions
    days = dt.date(2024, 8, 1), dt.date(2024, 8, 4)
    archive = sample_bundle(folder / "sample", regions, *days, ["sentinel2"])
    control.up(folder / "home" / "local", archive=archive, bucket="runtime", clock=60)
    yield folder
    control.down(folder / "home" / "local")


@pytest.fixture
def function(lambda_image: str, rie: Path, home: Path) -> Iterator[Callable[..., Ask]]:
    """Starts the image as a function with so many seconds; its own entry point and command are what runs."""
    endpoint = control.status(home / "home" / "local")
    assert endpoint is not None
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", lambda_image))
    environment = {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "AWS_REGION": "us-west-2",
        "GLACIERFLOW_EMBEDDED": "1",
        "GLACIERFLOW_SENTINEL2_STAC_URL": endpoint.stac_url,
        "GLACIERFLOW_IMAGERY_S3_ENDPOINT": endpoint.url,
        "AWS_LAMBDA_FUNCTION_NAME": "glacier-processing",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
    }
    started = []

    def start(seconds: int, cpus: str = "2") -> Ask:
        door, api = free_port(), free_port()
        pairs = {**environment, "AWS_LAMBDA_FUNCTION_TIMEOUT": str(seconds)}
        words = [word for name, value in pairs.items() for word in ("--env", f"{name}={value}")]
        container = docker(
            *("run", "--detach", "--network", "host", "--read-only", "--tmpfs", "/tmp", "--memory", "3008m"),
            *("--cpus", cpus),
            *("--volume", f"{rie}:/rie:ro", "--entrypoint", "/rie", *words, lambda_image),
            *("--runtime-interface-emulator-address", f"127.0.0.1:{door}"),
            *("--runtime-api-address", f"127.0.0.1:{api}", *config["Entrypoint"], *config["Cmd"]),
        ).strip()
        started.append(container)
        wait_for(lambda: is_open(door), 30, lambda: docker("logs", container))

        def ask(event: dict[str, Any]) -> dict[str, Any]:
            url = f"http://127.0.0.1:{door}/2015-03-31/functions/function/invocations"
            request = urllib.request.Request(url, json.dumps(event).encode(), method="POST")
            with _OPENER.open(request, timeout=120) as answer:
                said: dict[str, Any] = json.loads(answer.read())
            return said

        return ask

    yield start
    for container in started:
        docker("rm", "--force", container)


def attempts_begun(home: Path) -> int:
    pages = cloud_of(home).client("s3").get_paginator("list_objects_v2")
    keys = [one["Key"] for page in pages.paginate(Bucket="runtime") for one in page.get("Contents", [])]
    return sum("/attempts/" in key for key in keys)


@contextmanager
def paused() -> Iterator[None]:
    """The latest container stands still; its clock does not."""
    container = docker("ps", "--latest", "--quiet").strip()
    docker("pause", container)
    try:
        yield
    finally:
        docker("unpause", container)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_both_events_are_answered_and_an_error_is_an_error(function: Callable[..., Ask], home: Path) -> None:
    ask = function(300)
    first = ask(EVENT | {"regions": REGIONS[:1]})
    assert first["statusCode"] == 200, first
    body = json.loads(first["body"])
    assert body["uploaded_files"] >= 1
    for key in body["files_uploaded"]:
        cloud_of(home).client("s3").head_object(Bucket="runtime", Key=key)
    again = ask({"manifest": f"s3://runtime/runs/{body['run_id']}/manifest.json", "slot": 0})
    assert (again["outcome"], again["skipped"]) == ("done", body["uploaded_files"])
    wrong = ask({})
    assert wrong["errorType"] == "UsageError"
    assert ask({"check": "runtime"})["statusCode"] == 200


def test_the_deadline_stops_it_in_time_and_batch_goes_on(
    function: Callable[..., Ask],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # half a processor, so that no machine is done before the container is paused
    ask = function(30, "0.5")
    # what is loaded once does not count, however busy the machine is
    assert ask(EVENT | {"regions": REGIONS[:1], "s3_base_path": "warm"})["statusCode"] == 200
    known = attempts_begun(home)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, EVENT | {"s3_base_path": "deadline"})
        wait_for(lambda: attempts_begun(home) > known, 20)
        with paused():
            time.sleep(21)  # past the 20 s after which it stops; the emulator ends it at 30
        answer = asked.result()
    assert answer.get("statusCode") == 202, answer
    body = json.loads(answer["body"])
    assert body["left"]
    monkeypatch.setenv("GLACIERFLOW_HOME", str(home / "home"))
    monkeypatch.chdir(home)
    where = ["--local", "--quiet", "--s3-bucket", "runtime"]
    assert run(["batch", "retry", body["run_id"], "--wait", "--json", *where]) == 0
    capsys.readouterr()
    assert run(["batch", "verify", body["run_id"], *where]) == 0


def test_the_schedulers_zips_are_what_lambdas_python_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here pip and its index are real."""
    monkeypatch.chdir(tmp_path)
    assert run(["lambda", "package", "--zip", "dist"]) == 0
    core = "python/pydantic_core/_pydantic_core.cpython-312-x86_64-linux-gnu.so"
    with zipfile.ZipFile("dist/scheduler-layer.zip") as layer:
        assert layer.read(core)[18:20] == b"\x3e\x00", "not for x86_64"
        assert "python/typing_extensions.py" in layer.namelist()
    with zipfile.ZipFile("dist/scheduler.zip") as code:
        assert "glacierflow/functions/scheduler/handler.py" in code.namelist()
    first = {path.name: path.read_bytes() for path in Path("dist").iterdir()}
    assert run(["lambda", "package", "--zip", "dist", "--quiet"]) == 0
    assert {path.name: path.read_bytes() for path in Path("dist").iterdir()} == first
