"""The image into a registry: ECR's own login, one tag that never moves, and the digest it has there."""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from glacierflow import containers
from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.services.failures import plain_errors

__all__ = ["Pushed", "digest_in_ecr", "push_image", "tag_of"]

_ECR = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/(?P<name>.+)")
_VERSION, _REVISION = "org.opencontainers.image.version", "org.opencontainers.image.revision"
_PUSH_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """An image in a registry."""

    repository: str
    tag: str
    digest: str
    """``sha256:...`` of its manifest, as the registry names it."""

    @property
    def uri(self) -> str:
        """The image by its digest, which always means these very bytes."""
        return f"{self.repository}@{self.digest}"


def tag_of(image: str) -> str:
    """``{version}-{commit}``; of an image whose sources no commit has, ``{version}-{image id}``.

    Raises:
        UsageError: there is no such image on this machine.
    """
    found = containers.inspect("image", image)
    if found is None:
        raise UsageError(f"there is no image {image} here", next_step="run `glacierflow container build`")
    labels = found["Config"].get("Labels") or {}
    revision = labels.get(_REVISION, "unknown")
    committed = re.fullmatch(r"[0-9a-f]{40}", revision)
    last = revision[:12] if committed else found["Id"].partition(":")[2][:12]
    return f"{labels.get(_VERSION, 'unknown')}-{last}"


def push_image(image: str, repository: str, tag: str, cloud: Cloud) -> Pushed:
    """Log in where the repository is in ECR, push, and compare the digest with what the registry says.

    The login stays out of the user's own Docker configuration.

    Args:
        image: name of an image on this machine.
        repository: URI without a tag.
        tag: never moved: pushing other bytes under it is refused.
        cloud: whose ECR.

    Raises:
        UsageError: no such repository, or the tag names another image already.
        UnavailableError: the registry does not answer.
    """
    target = f"{repository}:{tag}"
    with _login(repository, cloud) as environment:
        before = _digest_there(repository, tag, cloud, environment)
        containers.docker("tag", image, target)
        try:
            if before is not None and before != _digest_here(image, repository):
                raise UsageError(
                    f"{target} is another image already", next_step="commit, build again, or name a --tag"
                )
            said = containers.docker("push", target, environment=environment, timeout_s=_PUSH_TIMEOUT_S)
        except containers.EngineError as error:
            raise UsageError(
                f"{target} cannot be pushed: {error.message}",
                next_step="is the repository there, and yours? `glacierflow stack deploy` makes one",
            ) from error
        found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
        if found is None:
            raise UsageError(f"docker push told no digest of {target}:\n{said}")
    digest = found[1]
    ecr = _ECR.fullmatch(repository)
    told = digest_in_ecr(cloud.client("ecr"), ecr["name"], tag) if ecr else digest
    if told != digest:
        raise UsageError(f"ECR says that {target} is {told}, and docker pushed {digest}")
    return Pushed(repository, tag, digest)


@contextmanager
def _login(repository: str, cloud: Cloud) -> Iterator[dict[str, str]]:
    """Environment of a docker command that is logged in to ECR; the user's own for any other registry."""
    if _ECR.fullmatch(repository) is None:
        yield dict(os.environ)
        return
    with plain_errors("log in to the registry", service="ECR"):
        answer = cloud.client("ecr").get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
    host = repository.partition("/")[0]
    with tempfile.TemporaryDirectory() as folder:
        # The engine stays the one of the user's context, which that folder does not know.
        engine = containers.docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
        environment = os.environ | {"DOCKER_CONFIG": folder, "DOCKER_HOST": engine}
        containers.docker(
            "login", "--username", user, "--password-stdin", host, environment=environment, stdin=password
        )
        yield environment


def _digest_there(repository: str, tag: str, cloud: Cloud, environment: dict[str, str]) -> str | None:
    """Digest of a tag in its registry, by the registry's own word; None where there is no such tag."""
    ecr = _ECR.fullmatch(repository)
    if ecr is not None:
        return digest_in_ecr(cloud.client("ecr"), ecr["name"], tag)
    target = f"{repository}:{tag}"
    try:
        containers.docker("pull", "--quiet", target, environment=environment, timeout_s=_PUSH_TIMEOUT_S)
    except containers.EngineError:
        return None
    return _digest_here(target, repository)


def _digest_here(image: str, repository: str) -> str | None:
    """Digest by which an image on this machine is known in a repository."""
    found = containers.inspect("image", image) or {}
    names = [name.partition("@") for name in found.get("RepoDigests", [])]
    return next((digest for name, _, digest in names if name == repository), None)


def digest_in_ecr(client: Any, name: str, tag: str) -> str | None:  # noqa: ANN401 - a boto3 client
    """Digest of a tag in a repository of ECR; None where there is no such tag.

    Raises:
        UsageError: there is no such repository, or AWS refuses.
        UnavailableError: AWS cannot be reached.
    """
    from botocore.exceptions import ClientError

    with plain_errors(f"look up {name}:{tag}", service="ECR"):
        try:
            found = client.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}])["imageDetails"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ImageNotFoundException":
                return None
            raise
    digest: str = found[0]["imageDigest"]
    return digest
