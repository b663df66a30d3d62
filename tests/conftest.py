"""Fixtures several test modules share."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# before numpy is imported: for small matrices, threads that wait for each other burn ten times the time
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from container.engine import build, documented, require_engine
from samples import SHARED, stood_in

from glacierflow import net

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

TEST_CLOCK = 60.0
"""Batch seconds in a real second: its 60 s minimum passes in one."""
_SERVER_ERRORS = re.compile(
    r"(?:Error on request|Exception on /|cannot be saved).*\nTraceback.*\n"
    r"(?: .*\n)+(?!NotImplementedError)\S.*"
)
"""In the log of an embedded cloud; that moto lacks an operation is known, and clients are told."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """A run of a part must not look like a whole one, so what could not be run is said last."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    for reason, count in Counter(report.longrepr[2] for report in skipped).items():
        terminalreporter.write_line(f"NOT RUN: {count} tests, {reason.removeprefix('Skipped: ')}", red=True)
    reports = [report for found in terminalreporter.stats.values() for report in found]
    made_up = {one.nodeid for one in reports if MADE_UP in getattr(one, "user_properties", ())}
    if made_up:
        terminalreporter.write_line(
            f"NOT RUN on real scenes: {len(made_up)} tests ran on made-up ones, for {SHARED} is not there",
            red=True,
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several workers take whole modules: those with a cloud first, so that none is left for the end."""
    if not hasattr(config, "workerinput"):
        return
    tests = Counter(item.path for item in items)
    clouds = {item.path for item in items if item.get_closest_marker("embedded")}
    items.sort(key=lambda item: (item.path not in clouds, -tests[item.path]))


MADE_UP = ("scenes", "made-up")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A report travels from a worker to the terminal; what a worker remembers does not."""
    try:
        yield
    finally:
        if item.nodeid in stood_in:
            item.user_properties.append(MADE_UP)


@pytest.fixture(scope="session", autouse=True)
def _bytecode_is_kept() -> None:
    """Where Python is told to keep none, every child would compile all its libraries anew: seconds."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _no_real_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may find the user's own AWS, or write to the user's own folders."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("GLACIERFLOW_HOME", str(tmp_path / "glacierflow-home"))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of the waits between tries, none of which is waited for."""
    waited: list[float] = []
    monkeypatch.setattr(net, "CLOCK", net.Clock(sleep=waited.append))
    return waited


@pytest.fixture(scope="session", autouse=True)
def _servers_without_errors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What goes wrong inside a server is found even where the client's test got over it."""
    yield
    logs = {path: path.read_text() for path in tmp_path_factory.getbasetemp().rglob("server.log")}
    found = {path: error for path, text in logs.items() if (error := _SERVER_ERRORS.search(text))}
    assert not found, "\n".join(f"{path}:\n{error[0]}" for path, error in found.items())


@pytest.fixture(scope="session")
def cloud_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One embedded cloud for all tests that need nothing special of it."""
    from glacierflow.local import control

    home = tmp_path_factory.mktemp("embedded-cloud")
    yield control.up(home, clock=TEST_CLOCK, vcpus=8)
    control.down(home)


@pytest.fixture
def at_cloud(cloud_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Endpoint:
    """Commands with ``--local`` go to the shared cloud, typed in a folder of their own."""
    monkeypatch.setattr("glacierflow.local.control.default_home", lambda: Path(cloud_endpoint.home))
    monkeypatch.chdir(tmp_path)
    return cloud_endpoint


@pytest.fixture(scope="session")
def image() -> str:
    """The image of a child, built by the documented command."""
    require_engine()
    build(documented("docker build --network host -f container/Dockerfile -t"))
    return "glacierflow"


@pytest.fixture(scope="session")
def lambda_image(image: str) -> str:
    """The image of the Lambda function."""
    build(documented("docker build --network host -f container/Dockerfile --target lambda"))
    return "glacierflow-lambda"


@pytest.fixture(scope="session")
def container_cloud(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One embedded cloud whose children are containers of the image."""
    from glacierflow.local import control

    home = tmp_path_factory.mktemp("container-cloud")
    yield control.up(home, clock=TEST_CLOCK, vcpus=8, executor="docker", image=image)
    control.down(home)
