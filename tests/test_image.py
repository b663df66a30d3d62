"""What the image's verbs ask of docker and of ECR, with a made-up docker that keeps a record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from glacierflow.cli.app import run
from glacierflow.errors import UsageError
from glacierflow.image.build import architecture_for
from glacierflow.image.push import check_image, push_image
from glacierflow.settings import load_settings

REPOSITORY = "123456789012.dkr.ecr.us-west-2.amazonaws.com/glacierflow"
HERE, THERE, OTHER = (f"sha256:{letter * 64}" for letter in "abc")
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Docker:
    """The made-up engine: what it was asked, and what it says of its one image."""

    folder: Path

    def knows(self, **image: object) -> None:
        known = {"Id": HERE, "Architecture": "amd64", "Config": {}, "RepoDigests": []} | image
        (self.folder / "image.json").write_text(json.dumps([known]))

    def has_no_buildx(self) -> None:
        (self.folder / "no-buildx").touch()

    @property
    def asked(self) -> list[list[str]]:
        log = self.folder / "asked"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def asked_for(self, verb: str) -> list[list[str]]:
        return [words for words in self.asked if words[0] == verb]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    engine = Docker(tmp_path)
    (tmp_path / "docker").write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/asked
case "$1" in
  image) cat {tmp_path}/image.json;;
  buildx) [ ! -e {tmp_path}/no-buildx ];;
  context) echo unix:///here;;
  version) echo 28;;
  login) cat > /dev/null;;
  push) echo "digest: {THERE} size: 1";;
esac
"""
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    engine.knows()
    return engine


class Ecr:
    """A repository with immutable tags: by tag, the digest and the configuration it has."""

    def __init__(self, tags: dict[str, tuple[str, str]]) -> None:
        self.tags = tags

    def client(self, service: str) -> Ecr:
        assert service == "ecr"
        return self

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": "QVdTOng="}]}

    def describe_images(self, *, repositoryName: str, imageIds: Any) -> dict[str, Any]:  # noqa: N803
        assert repositoryName == "glacierflow"
        tag = imageIds[0]["imageTag"]
        if tag not in self.tags:
            raise ClientError({"Error": {"Code": "ImageNotFoundException"}}, "DescribeImages")
        return {"imageDetails": [{"imageDigest": self.tags[tag][0]}]}

    def batch_get_image(self, *, repositoryName: str, imageIds: Any) -> dict[str, Any]:  # noqa: N803
        assert repositoryName == "glacierflow"
        found = [config for digest, config in self.tags.values() if digest == imageIds[0]["imageDigest"]]
        return {"images": [{"imageManifest": json.dumps({"config": {"digest": one}})} for one in found]}


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_an_image_is_built_for_the_processors_named_and_without_attestations(
    docker: Docker, arch: str
) -> None:
    assert run(["container", "build", "--target", "lambda", "--arch", arch, "--quiet"]) == 0
    (words,) = docker.asked_for("build")
    assert words[words.index("--platform") + 1] == {"x86_64": "linux/amd64", "arm64": "linux/arm64"}[arch]
    assert {"--provenance=false", "--sbom=false"} <= set(words)


def test_the_builder_without_attestations_is_not_told_of_them(docker: Docker) -> None:
    docker.has_no_buildx()
    assert run(["container", "build", "--arch", "x86_64", "--quiet"]) == 0
    (words,) = docker.asked_for("build")
    assert not [word for word in words if word.startswith(("--provenance", "--sbom"))]
    assert "--platform" in words


def test_the_stack_decides_for_which_processors_and_the_function_may_have_others() -> None:
    plain = load_settings(environ={})
    assert architecture_for("batch", plain, {"Architecture": "arm64"}) == "arm64"
    assert architecture_for("lambda", plain, {"Architecture": "arm64"}) == "arm64"
    assert architecture_for("batch", plain, {}) == "x86_64"
    by_hand = load_settings(environ={}, overrides={"LAMBDA.architecture": "arm64"})
    assert architecture_for("lambda", by_hand, {"Architecture": "x86_64"}) == "arm64"
    assert architecture_for("batch", by_hand, {"Architecture": "x86_64"}) == "x86_64"


def test_an_image_for_other_processors_is_refused(docker: Docker) -> None:
    docker.knows(Architecture="arm64")
    with pytest.raises(UsageError, match="for arm64, and is to run on x86_64") as told:
        check_image("glacierflow", "batch", "x86_64")
    assert told.value.next_step == "build it again: `glacierflow container build --arch x86_64`"
    check_image("glacierflow", "batch", "arm64")
    check_image("glacierflow", "batch", None)


def test_an_index_is_refused_for_lambda_alone(docker: Docker) -> None:
    docker.knows(Descriptor={"mediaType": INDEX})
    with pytest.raises(UsageError, match="an index with attestations") as told:
        check_image("glacierflow-lambda", "lambda", "x86_64")
    assert "container build --target lambda" in str(told.value.next_step)
    check_image("glacierflow", "batch", "x86_64")


@pytest.mark.parametrize(
    ("known", "config"),
    [
        ({"RepoDigests": [f"{REPOSITORY}@{THERE}"]}, OTHER),  # pushed from this machine
        ({"Id": HERE}, HERE),  # the same bytes, pushed from another one
        ({"Id": THERE}, OTHER),  # containerd's image store names a manifest
    ],
)
def test_the_same_image_again_is_done_already(docker: Docker, known: dict[str, Any], config: str) -> None:
    docker.knows(**known)
    cloud: Any = Ecr({"1": (THERE, config)})
    pushed = push_image("glacierflow", REPOSITORY, "1", cloud)
    assert pushed.uri == f"{REPOSITORY}@{THERE}"
    assert not docker.asked_for("push")


def test_other_bytes_under_a_tag_are_refused_and_a_free_tag_is_pushed(docker: Docker) -> None:
    cloud: Any = Ecr({"1": (THERE, OTHER)})
    with pytest.raises(UsageError, match="glacierflow:1 is another image already"):
        push_image("glacierflow", REPOSITORY, "1", cloud)
    assert not docker.asked_for("push")
    free: Any = Ecr({})
    with pytest.raises(UsageError, match=f"ECR says that {REPOSITORY}:2 is None"):
        push_image("glacierflow", REPOSITORY, "2", free)
    assert docker.asked_for("push") == [["push", f"{REPOSITORY}:2"]]
