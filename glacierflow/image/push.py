"""The image into a registry under a tag that never moves, and job definitions that name its digest."""

from __future__ import annotations

import base64
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import find_places, find_targets, revisions
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.image import docker
from glacierflow.image.build import Target
from glacierflow.model.manifest import ArrayRange
from glacierflow.settings import LoadedSettings
from glacierflow.stack import deploy
from glacierflow.stack.templates import MAIN, load_template, stack_name

_ECR = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/(?P<name>.+)")
_VERSION, _REVISION = "org.opencontainers.image.version", "org.opencontainers.image.revision"
_PUSH_TIMEOUT_S = 3600.0
_INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}

_DEFINITIONS = {"AWS::Batch::JobDefinition", "AWS::ECS::TaskDefinition"}
_BESIDE = ("ecs", "fargate")
"""Templates beside the main one whose definitions name the same image."""


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
    found = _inspect(image)
    labels = found["Config"].get("Labels") or {}
    revision = labels.get(_REVISION, "unknown")
    committed = re.fullmatch(r"[0-9a-f]{40}", revision)
    last = revision[:12] if committed else found["Id"].partition(":")[2][:12]
    return f"{labels.get(_VERSION, 'unknown')}-{last}"


def _inspect(image: str) -> dict[str, Any]:
    found = docker.inspect("image", image)
    if found is None:
        raise UsageError(f"there is no image {image} here", next_step="run `glacierflow container build`")
    return found


def check_image(image: str, target: Target, architecture: str | None) -> None:
    """Refuse an image that could be pushed and then not be run.

    Args:
        image: name of an image on this machine.
        target: batch or lambda, which takes a single image only, no index.
        architecture: of the instances or the function, ``x86_64`` or ``arm64``; None: unknown.

    Raises:
        UsageError: there is no such image, it is for other processors, or an index.
    """
    found = _inspect(image)
    names = {docker_name: name for name, docker_name in docker.PROCESSORS.items()}
    own = names.get(found.get("Architecture", ""), found.get("Architecture"))
    again = f"build it again: `glacierflow container build{' --target lambda' if target == 'lambda' else ''}"
    if architecture is not None and own is not None and own != architecture:
        raise UsageError(
            f"{image} is for {own}, and is to run on {architecture}: it would end in `exec format error`",
            next_step=f"{again} --arch {architecture}`",
        )
    # an engine with containerd's image store tells what it would push
    kind = (found.get("Descriptor") or {}).get("mediaType", "")
    if target == "lambda" and kind in _INDEXES:
        raise UsageError(
            f"{image} is an index with attestations ({kind}), which Lambda refuses", next_step=f"{again}`"
        )


def push_image(image: str, repository: str, tag: str, cloud: Cloud) -> Pushed:
    """Log in where the repository is in ECR, push, and compare the digest with what the registry says.

    The login stays out of the user's own Docker configuration. Where the tag names this very image already,
    nothing is pushed: a tag that cannot be moved takes not even the same image again.

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
        if before is not None:
            if not _is_this(image, repository, tag, before, cloud):
                raise UsageError(
                    f"{target} is another image already", next_step="commit, build again, or name a --tag"
                )
            return Pushed(repository, tag, before)
        docker.docker("tag", image, target)
        try:
            said = docker.docker("push", target, environment=environment, timeout_s=_PUSH_TIMEOUT_S)
        except docker.EngineError as error:
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
        engine = docker.docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
        environment = os.environ | {"DOCKER_CONFIG": folder, "DOCKER_HOST": engine}
        docker.docker(
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
        docker.docker("pull", "--quiet", target, environment=environment, timeout_s=_PUSH_TIMEOUT_S)
    except docker.EngineError:
        return None
    return _digest_here(target, repository)


def _digest_here(image: str, repository: str) -> str | None:
    """Digest by which an image on this machine is known in a repository."""
    found = docker.inspect("image", image) or {}
    names = [name.partition("@") for name in found.get("RepoDigests", [])]
    return next((digest for name, _, digest in names if name == repository), None)


def _is_this(image: str, repository: str, tag: str, digest: str, cloud: Cloud) -> bool:
    """Whether a digest in a registry is an image of this machine, which may have been pushed from another."""
    if digest == _digest_here(image, repository):
        return True
    # an image's id is the digest of its configuration, or with containerd's image store of its manifest
    own = _inspect(image)["Id"]
    ecr = _ECR.fullmatch(repository)
    if ecr is None:
        there = docker.inspect("image", f"{repository}:{tag}")
        return there is not None and there["Id"] == own
    with plain_errors(f"read the manifest of {repository}:{tag}", service="ECR"):
        answer = cloud.client("ecr").batch_get_image(
            repositoryName=ecr["name"], imageIds=[{"imageDigest": digest}]
        )
    manifests = [json.loads(one["imageManifest"]) for one in answer["images"]]
    return own in {digest, *(one.get("config", {}).get("digest") for one in manifests)}


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


def pin_definitions(image: str, loaded: LoadedSettings, cloud: Cloud) -> dict[int, str]:
    """Make the definitions of all memory classes name an image; ``name:revision`` of the jobs' by class.

    Definitions of a stack are changed through the stack, so that it stays the truth about them; others get a
    new revision with everything else as it was. The stacks for ECS and Fargate follow where there are any.

    Raises:
        UsageError: there are no job definitions, or the stack would change in more than these.
        UnavailableError: AWS cannot be reached, or the stack could not be changed.
    """
    places = find_places(loaded, cloud)
    if f"JobDefinition{min(places.job_definitions)}" in places.outputs:
        base = loaded.settings.batch.stack
        _through_the_stack(image, base, MAIN, cloud)
        for template in _BESIDE:
            if deploy.describe(cloud, stack_name(base, template)) is not None:
                _through_the_stack(image, base, template, cloud)
    else:
        client = cloud.client("batch")
        for name in places.job_definitions.values():
            _new_revision(client, name.rpartition("/")[2].partition(":")[0], image)
    places = find_places(loaded, cloud)
    arrays = {
        memory: ArrayRange(first_slot=0, size=1, memory_mib=memory) for memory in places.job_definitions
    }
    targets = find_targets(cloud, places, list(arrays.values()))
    wrong = [memory for memory, array in arrays.items() if targets.image(array) != image]
    if wrong:
        raise UsageError(
            f"job definitions of {', '.join(str(one) for one in wrong)} MiB name another image still",
            next_step="is job_definition in [BATCH] of aws_config.ini pinned to a revision? Leave that out",
        )
    return {memory: targets.destination(array).job_definition for memory, array in arrays.items()}


def _through_the_stack(image: str, base: str, template: str, cloud: Cloud) -> None:
    name = stack_name(base, template)
    proposal = deploy.propose(cloud, name, load_template(template), {"Image": image})
    if proposal is None:
        return
    others = sorted({change.logical_id for change in proposal.changes if change.kind not in _DEFINITIONS})
    if others:
        deploy.discard(cloud, proposal)
        raise UsageError(
            f"the stack {name} was made from another template: {', '.join(others)} would change too",
            next_step=f"see `glacierflow stack diff{_with(template)}`, "
            f"then `glacierflow stack deploy{_with(template)} --set Image={image}`",
        )
    for _ in deploy.apply(cloud, proposal):
        pass
    state = deploy.describe(cloud, name)
    if state is None or not state.status.endswith("_COMPLETE") or "ROLLBACK" in state.status:
        told = "gone" if state is None else f"{state.status}: {state.reason or ''}"
        raise UnavailableError(
            f"the stack {name} is {told}", next_step="look at its events in CloudFormation"
        )


def _with(template: str) -> str:
    return "" if template == MAIN else f" --with {template}"


def _new_revision(client: Any, name: str, image: str) -> None:  # noqa: ANN401 - a boto3 client
    found = list(revisions(client, name))
    if not found:
        raise UsageError(
            f"there is no job definition {name}", next_step="run `glacierflow stack deploy` first"
        )
    newest = max(found, key=lambda one: int(one["revision"]))
    if newest["containerProperties"]["image"] == image:
        return
    accepted = client.meta.service_model.operation_model("RegisterJobDefinition").input_shape.members
    request = {key: value for key, value in newest.items() if key in accepted}
    request["containerProperties"] = newest["containerProperties"] | {"image": image}
    with plain_errors(f"register the job definition {name}"):
        client.register_job_definition(**request)
