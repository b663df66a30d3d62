"""Whether the image that jobs run was built from the sources that are here."""

from __future__ import annotations

import re
from pathlib import Path

from glacierflow.aws import Cloud
from glacierflow.errors import GlacierflowError
from glacierflow.manifest import ArrayRange
from glacierflow.services.failures import plain_errors
from glacierflow.services.findings import Finding
from glacierflow.services.image import revision_of
from glacierflow.services.places import Places
from glacierflow.services.targets import find_targets

__all__ = ["check_revision"]

_NAME = "image in step"
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?P<name>[^:@]+)(?P<rest>[@:].+)")
_REVISION = re.compile(r"-([0-9a-f]{12})$")
"""End of a tag that ``container push`` gave: twelve digits of the commit."""


def check_revision(checkout: Path, cloud: Cloud, places: Places) -> Finding:
    """Compare the commit in the image's tag with the checkout's: jobs run what is in the image, not in S3."""
    try:
        image = find_targets(cloud, places, [ArrayRange(first_slot=0, size=1)]).image(
            ArrayRange(first_slot=0, size=1)
        )
        tags = _tags(cloud, image or "")
    except GlacierflowError as error:
        return Finding(_NAME, "unknown", error.message, error.next_step)
    built = {found[1] for tag in tags if (found := _REVISION.search(tag))}
    here = revision_of(checkout)
    if not built or not re.fullmatch(r"[0-9a-f]{40}", here):
        why = "the image's tags name no commit" if not built else "this checkout is at no clean commit"
        return Finding(_NAME, "unknown", f"{why}, so they cannot be compared")
    if here[:12] in built:
        return Finding(_NAME, "ok", f"the jobs' image was built from commit {here[:12]}, which is here")
    return Finding(
        _NAME,
        "problem",
        f"the jobs' image was built from commit {', '.join(sorted(built))}, here is {here[:12]}",
        "run `glacierflow container build` and `glacierflow container push`, or check out that commit",
    )


def _tags(cloud: Cloud, image: str) -> list[str]:
    """All tags of an image in ECR; of one elsewhere, the tag in its name."""
    match = _ECR.fullmatch(image)
    if match is None:
        return [image.rpartition(":")[2]]
    rest = match["rest"]
    wanted = {"imageDigest": rest[1:]} if rest.startswith("@") else {"imageTag": rest[1:]}
    with plain_errors(f"look up {image}", service="ECR"):
        found = cloud.client("ecr").describe_images(repositoryName=match["name"], imageIds=[wanted])
    return [tag for one in found["imageDetails"] for tag in one.get("imageTags", [])]
