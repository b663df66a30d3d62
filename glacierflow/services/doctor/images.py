"""The container image: there, and of the processor architecture that will run it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from glacierflow.services.doctor.jobs import instance_types
from glacierflow.services.doctor.patient import Patient
from glacierflow.services.findings import Finding

__all__ = ["check_images"]

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@]+)"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64})|:(?P<tag>[\w.-]+))?$"
)
_INDEXES = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
]
_MANIFESTS = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]
_OCI_NAMES = {"x86_64": "amd64", "arm64": "arm64"}
_TIMEOUT_S = 15
_PUSH = "push one with `glacierflow container push`"


def check_images(patient: Patient) -> Iterator[Finding]:
    """Each image that a definition names is in its registry, for the architecture of the instances."""
    wanted = {
        str(definition["containerProperties"]["image"]) for definition in patient.definitions().values()
    }
    for image in sorted(wanted):
        yield _judge(patient, image)


def _judge(patient: Patient, image: str) -> Finding:
    from botocore.exceptions import ClientError

    match = _ECR.fullmatch(image)
    if match is None:
        return Finding("image", "unknown", f"{image} is not in ECR, so it cannot be asked for")
    ecr = patient.cloud.client("ecr")
    wanted = {"imageDigest": match["digest"]} if match["digest"] else {"imageTag": match["tag"] or "latest"}
    try:
        answer = ecr.batch_get_image(
            registryId=match["account"],
            repositoryName=match["name"],
            imageIds=[wanted],
            acceptedMediaTypes=_INDEXES + _MANIFESTS,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "RepositoryNotFoundException":
            return Finding("image", "problem", f"there is no repository {match['name']}", _PUSH)
        raise
    if not answer["images"]:
        return Finding("image", "problem", f"there is no image {image}", _PUSH)
    manifest = json.loads(answer["images"][0]["imageManifest"])
    offered = _listed(manifest) or _configured(ecr, match, manifest)
    return _compare(image, offered, _needed(patient))


def _listed(manifest: dict[str, Any]) -> set[str]:
    """Architectures an image index lists; none where the manifest is of a single image."""
    return {
        str(one["platform"]["architecture"])
        for one in manifest.get("manifests", [])
        if one.get("platform", {}).get("architecture") not in {None, "unknown"}
    }


def _configured(ecr: Any, where: re.Match[str], manifest: dict[str, Any]) -> set[str]:  # noqa: ANN401
    """The architecture in the configuration of a single image; none where it may not be read."""
    import requests
    from botocore.exceptions import ClientError

    if "config" not in manifest:
        return set()
    try:
        url = ecr.get_download_url_for_layer(
            registryId=where["account"],
            repositoryName=where["name"],
            layerDigest=manifest["config"]["digest"],
        )["downloadUrl"]
        answer = requests.get(url, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return {str(answer.json()["architecture"])}
    except (ClientError, requests.RequestException, ValueError, KeyError):
        return set()


def _needed(patient: Patient) -> set[str]:
    on_instances = {
        architecture
        for instance in instance_types(patient)
        for architecture in instance["ProcessorInfo"]["SupportedArchitectures"]
    }
    on_fargate = {
        str(definition["containerProperties"]["runtimePlatform"].get("cpuArchitecture", "")).lower()
        for definition in patient.definitions().values()
        if "runtimePlatform" in definition["containerProperties"]
    }
    return {_OCI_NAMES[one] for one in on_instances | on_fargate if one in _OCI_NAMES}


def _compare(image: str, offered: set[str], needed: set[str]) -> Finding:
    if not offered:
        return Finding("image", "unknown", f"{image} is there, but its architecture cannot be read")
    missing = needed - offered
    if missing:
        return Finding(
            "image",
            "problem",
            f"{image} is for {', '.join(sorted(offered))}, the instances are {', '.join(sorted(needed))}",
            f"build it for {', '.join(sorted(missing))}, or change the stack's architecture",
        )
    return Finding("image", "ok", f"{image} is there, for {', '.join(sorted(offered))}")
