"""Whether the images that jobs run were built from the sources that are here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from glacierflow.aws import Cloud
from glacierflow.errors import GlacierflowError
from glacierflow.manifest import ArrayRange
from glacierflow.services.failures import plain_errors
from glacierflow.services.findings import Finding
from glacierflow.services.functions import function_facts, function_name
from glacierflow.services.image import revision_of
from glacierflow.services.launch.tasks import find_cluster
from glacierflow.services.places import Places
from glacierflow.services.stack import describe
from glacierflow.services.targets import find_targets
from glacierflow.services.templates import stack_name
from glacierflow.settings import LoadedSettings
from glacierflow.settings.load import DEFAULT

__all__ = ["check_revision"]

_NAME = "image of {} in step"
_NEW_IMAGE = {
    "AWS Batch": "run `glacierflow container build` and `glacierflow container push`",
    "Lambda": "run `glacierflow container build --target lambda` and `glacierflow lambda deploy`",
    "ECS": "run `glacierflow container build`, `glacierflow container push`, and with the digest it prints "
    "`glacierflow stack deploy --with ecs --set Image=REPOSITORY@DIGEST`",
}
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?P<name>[^:@]+)(?P<rest>[@:].+)")
_REVISION = re.compile(r"-([0-9a-f]{12})(-lambda)?$")
"""End of a tag that a push gave: twelve digits of the commit, and what of it is Lambda's image."""


def check_revision(checkout: Path, cloud: Cloud, loaded: LoadedSettings, places: Places) -> list[Finding]:
    """Compare the commit in the images' tags with the checkout's: jobs run what is in an image, not in S3.

    Of Lambda and ECS, only where they are deployed.
    """
    services: dict[str, Callable[[], Iterable[str | None]]] = {
        "AWS Batch": lambda: _of_batch(cloud, places),
        "Lambda": lambda: _of_lambda(cloud, loaded),
        "ECS": lambda: _of_ecs(cloud, loaded),
    }
    here, found = revision_of(checkout), []
    for service, images in services.items():
        try:
            found += [_compare(service, _tags(cloud, image), here) for image in dict.fromkeys(images())]
        except GlacierflowError as error:
            found.append(Finding(_NAME.format(service), "unknown", error.message, error.next_step))
    return found


def _of_batch(cloud: Cloud, places: Places) -> Iterable[str | None]:
    arrays = [ArrayRange(first_slot=0, size=1, memory_mib=memory) for memory in places.job_definitions]
    targets = find_targets(cloud, places, arrays)
    return [targets.image(array) for array in arrays]


def _of_lambda(cloud: Cloud, loaded: LoadedSettings) -> Iterable[str | None]:
    by_hand = loaded.origins.get("LAMBDA.function_name", DEFAULT) != DEFAULT
    if not by_hand and describe(cloud, stack_name(loaded.settings.batch.stack, "lambda")) is None:
        return []
    return [function_facts(cloud, function_name(cloud, loaded)).image]


def _of_ecs(cloud: Cloud, loaded: LoadedSettings) -> Iterable[str | None]:
    stack = loaded.settings.batch.stack
    if describe(cloud, stack_name(stack, "ecs")) is None:
        return []
    return [find_cluster(cloud, stack, "ecs", tags={}).image]


def _compare(service: str, tags: list[str], here: str) -> Finding:
    title = _NAME.format(service)
    built = {found[1] for tag in tags if (found := _REVISION.search(tag))}
    if not built or not re.fullmatch(r"[0-9a-f]{40}", here):
        why = "the image's tags name no commit" if not built else "this checkout is at no clean commit"
        return Finding(title, "unknown", f"{why}, so they cannot be compared")
    if here[:12] in built:
        return Finding(title, "ok", f"{service} runs an image of commit {here[:12]}, which is here")
    return Finding(
        title,
        "problem",
        f"{service} runs an image of commit {', '.join(sorted(built))}, here is {here[:12]}",
        f"{_NEW_IMAGE[service]}, or check out that commit",
    )


def _tags(cloud: Cloud, image: str | None) -> list[str]:
    """All tags of an image in ECR; of one elsewhere, the tag in its name."""
    if image is None:
        return []
    match = _ECR.fullmatch(image)
    if match is None:
        return [image.rpartition(":")[2]]
    rest = match["rest"]
    wanted = {"imageDigest": rest[1:]} if rest.startswith("@") else {"imageTag": rest[1:]}
    with plain_errors(f"look up {image}", service="ECR"):
        found = cloud.client("ecr").describe_images(repositoryName=match["name"], imageIds=[wanted])
    return [tag for one in found["imageDetails"] for tag in one.get("imageTags", [])]
