"""The image goes to a real registry, and job definitions and children then name what lies there."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from embedded import BatchBench, wait_for

from container.engine import docker
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.image import docker as docker_module
from glacierflow.image import push
from glacierflow.image.push import pin_definitions
from glacierflow.local import control
from glacierflow.settings import load_settings

PASSWORD = "token-of-the-test"
# bcrypt of it, as ECR's user name is always AWS
HTPASSWD = "AWS:$2b$05$txo8bCwYvCskC/L3RwH7juackgCzW2Anw3BDnv0rQ/bC/6IRzO6u2\n"
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Registry:
    """A registry of our own on this machine."""

    host: str
    password: str | None

    def digest(self, name: str, tag: str) -> str | None:
        """What the registry itself calls a tag; its own HTTP interface, without docker."""
        return self.manifest(name, tag)[0]

    def manifest(self, name: str, reference: str) -> tuple[str | None, str]:
        """Digest and text of a tag's or digest's manifest; no digest where there is none."""
        request = urllib.request.Request(f"http://{self.host}/v2/{name}/manifests/{reference}")
        request.add_header("Accept", "application/vnd.docker.distribution.manifest.v2+json")
        if self.password:
            login = base64.b64encode(f"AWS:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        try:
            with _OPENER.open(request, timeout=10) as answer:
                return answer.headers["Docker-Content-Digest"], answer.read().decode()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return None, ""
            raise


def serve(folder: Path, password: str | None) -> Iterator[Registry]:
    binary = shutil.which("docker-registry")
    if binary is None:
        reason = "there is no docker-registry (Debian's package of that name)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n" if password else ""
    (folder / "config.yml").write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{host}'}}\n{auth}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([binary, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait_for(lambda: answers(host), facts=(folder / "log").read_text)
        yield Registry(host, password)
    finally:
        process.terminate()
        process.wait(10)


def answers(host: str) -> bool:
    name, _, port = host.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((name, int(port))) == 0


def definition(batch: Any, name: str) -> dict[str, Any]:
    """The job definition of a ``name:revision``; moto does not take that form itself."""
    name, _, revision = name.partition(":")
    revisions = batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    (found,) = [one for one in revisions if str(one["revision"]) == revision]
    wanted: dict[str, Any] = found
    return wanted


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    yield from serve(tmp_path_factory.mktemp("registry"), None)


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    yield from serve(tmp_path_factory.mktemp("closed-registry"), PASSWORD)


@pytest.fixture
def small_image(image: str, tmp_path: Path) -> Iterator[str]:
    """Another image on the same layers, with labels of its own."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image}\nLABEL org.opencontainers.image.version=9.9 marker={tmp_path.name}\n"
        f"LABEL org.opencontainers.image.revision={'ab' * 20}\n"
    )
    docker("build", "-t", f"glacierflow-push:{tmp_path.name}", str(tmp_path))
    yield f"glacierflow-push:{tmp_path.name}"
    docker("image", "rm", "--force", f"glacierflow-push:{tmp_path.name}")


def test_a_tag_names_version_and_commit(small_image: str, image: str) -> None:
    assert push.tag_of(small_image) == "9.9-abababababab"
    found = docker_module.inspect("image", image)
    assert found
    # built by the plain command it has no commit; another test may have built it from a clean checkout since
    revision = (found["Config"].get("Labels") or {}).get("org.opencontainers.image.revision", "")
    ends = {
        found["Id"].removeprefix("sha256:")[:12],
        *re.findall(r"^[0-9a-f]{12}(?=[0-9a-f]{28}$)", revision),
    }
    assert push.tag_of(image).rpartition("-")[2] in ends
    with pytest.raises(UsageError, match="there is no image nothing-here"):
        push.tag_of("nothing-here")


def test_a_pushed_image_is_what_definitions_name_and_children_run(
    small_image: str, registry: Registry, container_cloud: Any, tmp_path: Path
) -> None:
    repository = f"{registry.host}/glacierflow"
    cloud = Cloud(endpoint_url=container_cloud.url, embedded=True)
    pushed = push.push_image(small_image, repository, "1", cloud)
    assert pushed.digest == registry.digest("glacierflow", "1")
    assert pushed.uri == f"{repository}@{pushed.digest}"
    # the same again changes nothing
    assert push.push_image(small_image, repository, "1", cloud) == pushed

    definitions = pin_definitions(pushed.uri, load_settings(environ={}), cloud)
    assert sorted(definitions) == [7500, 15500, 31500, 63200]
    batch = cloud.client("batch")
    for memory, name in definitions.items():
        found = definition(batch, name)
        assert found["containerProperties"]["image"] == pushed.uri
        assert {"type": "MEMORY", "value": str(memory)} in found["containerProperties"][
            "resourceRequirements"
        ]
    assert pin_definitions(pushed.uri, load_settings(environ={}), cloud) == definitions

    # nothing of it is left on this machine: the child's image comes from the registry
    docker("image", "rm", "--force", small_image, f"{repository}:1")
    bench = BatchBench(container_cloud.url, pushed.uri)
    job = bench.wait(bench.shell("echo here"), timeout_s=60)
    assert (job["status"], bench.lines(job)) == ("SUCCEEDED", ["here"])
    assert job["container"]["image"] == pushed.uri
    docker("tag", pushed.uri, small_image)


def test_a_tag_is_never_moved(small_image: str, image: str, registry: Registry) -> None:
    repository = f"{registry.host}/kept"
    first = push.push_image(image, repository, "1", Cloud(embedded=True))
    with pytest.raises(UsageError, match=r"/kept:1 is another image already"):
        push.push_image(small_image, repository, "1", Cloud(embedded=True))
    assert registry.digest("kept", "1") == first.digest


class FakeEcr:
    """ECR's token, and its word about images, which is the registry's own."""

    def __init__(self, registry: Registry, password: str) -> None:
        self.registry = registry
        self.password = password

    def get_authorization_token(self) -> dict[str, Any]:
        token = base64.b64encode(f"AWS:{self.password}".encode()).decode()
        data = {"authorizationToken": token, "proxyEndpoint": f"https://{self.registry.host}"}
        return {"authorizationData": [data]}

    def describe_images(self, *, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        digest = self.registry.digest(repositoryName, imageIds[0]["imageTag"])
        if digest is None:
            raise ClientError({"Error": {"Code": "ImageNotFoundException"}}, "DescribeImages")
        return {"imageDetails": [{"imageDigest": digest}]}

    def batch_get_image(self, *, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        _, manifest = self.registry.manifest(repositoryName, imageIds[0]["imageDigest"])
        return {"images": [{"imageManifest": manifest}]}


class FakeCloud:
    def __init__(self, ecr: FakeEcr) -> None:
        self.ecr = ecr

    def client(self, service: str) -> FakeEcr:
        assert service == "ecr"
        return self.ecr


@pytest.fixture
def as_ecr(monkeypatch: pytest.MonkeyPatch, closed_registry: Registry) -> Registry:
    """The closed registry passes for ECR by its name."""
    monkeypatch.setattr(push, "_ECR", re.compile(r"127\.0\.0\.1:\d+/(?P<name>.+)"))
    return closed_registry


def test_ecr_is_logged_in_to_with_its_token_and_nothing_stays_behind(
    small_image: str, image: str, as_ecr: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker-config"))
    repository = f"{as_ecr.host}/team/glacierflow"
    cloud: Any = FakeCloud(FakeEcr(as_ecr, PASSWORD))
    pushed = push.push_image(small_image, repository, "2", cloud)
    assert pushed.digest == as_ecr.digest("team/glacierflow", "2")
    assert push.push_image(small_image, repository, "2", cloud) == pushed
    with pytest.raises(UsageError, match="another image already"):
        push.push_image(image, repository, "2", cloud)
    kept = tmp_path / "docker-config" / "config.json"
    assert not kept.exists() or "auths" not in json.loads(kept.read_text())


def test_a_refused_token_is_told(small_image: str, as_ecr: Registry) -> None:
    cloud: Any = FakeCloud(FakeEcr(as_ecr, "wrong"))
    with pytest.raises(docker_module.EngineError, match=r"401|unauthorized|denied"):
        push.push_image(small_image, f"{as_ecr.host}/x", "1", cloud)


def test_definitions_without_a_stack_get_a_revision_that_differs_in_the_image_alone(
    cloud_endpoint: control.Endpoint,
) -> None:
    cloud = Cloud(region="eu-north-1", endpoint_url=cloud_endpoint.url, embedded=True)
    control.up(Path(cloud_endpoint.home), region="eu-north-1")
    settings = load_settings(environ={}, overrides={"BATCH.stack": "none-of-mine"})
    batch = cloud.client("batch")
    before = {
        one["jobDefinitionName"]: one
        for one in batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
    }
    image = f"127.0.0.1:1/glacierflow@sha256:{'0' * 64}"
    definitions = pin_definitions(image, settings, cloud)
    for name in definitions.values():
        after = definition(batch, name)
        old = before[after["jobDefinitionName"]]
        assert after["revision"] == old["revision"] + 1
        differing = {key for key in after if after[key] != old.get(key)}
        assert differing <= {"revision", "jobDefinitionArn", "containerProperties"}
        assert after["containerProperties"] == old["containerProperties"] | {"image": image}


def test_the_verb_pushes_and_pins(
    small_image: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from glacierflow.cli.app import run

    monkeypatch.chdir(tmp_path)
    where = ("--repository", f"{registry.host}/verb", "--local", "--json", "--quiet")
    try:
        assert run(["container", "push", small_image, *where]) == 0
    finally:
        control.down(control.default_home())
    told = json.loads(capsys.readouterr().out)
    assert told["tag"] == "9.9-abababababab"
    assert told["digest"] == registry.digest("verb", told["tag"])
    assert told["uri"] == f"{registry.host}/verb@{told['digest']}"
    assert sorted(told["job_definitions"]) == ["15500", "31500", "63200", "7500"]


def test_lambda_deploy_pushes_what_the_function_then_names(
    small_image: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Only the stack's repository is another: the one it makes is in AWS's own registry."""
    from glacierflow.cli import lambda_
    from glacierflow.cli.app import run
    from glacierflow.launch.lambda_ import function_facts

    opened = lambda_._open

    def elsewhere(line: Any) -> Any:
        loaded, cloud, places = opened(line)
        return loaded, cloud, replace(places, repository=f"{registry.host}/function")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lambda_, "_open", elsewhere)
    try:
        assert run(["lambda", "deploy", "--image", small_image, "--local", "--yes", "--quiet"]) == 0
        digest = registry.digest("function", "9.9-abababababab-lambda")
        uri = f"{registry.host}/function@{digest}"
        assert f"image    {uri}\n" in capsys.readouterr().out
        endpoint = control.status(control.default_home())
        assert endpoint is not None
        cloud = Cloud(endpoint_url=endpoint.url, embedded=True)
        assert function_facts(cloud, "glacierflow-lambda").image == uri
    finally:
        control.down(control.default_home())
