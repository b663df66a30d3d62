"""Checks of queues, compute environments, job definitions and their image: would a job start?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from glacierflow.doctor.patient import Patient
from glacierflow.errors import Finding

_USABLE = 0.97
"""Share of an instance's memory that jobs may take: AWS's guide shows 7,985 of an m4.large's 8,192 MiB."""

_DEPLOY = "run `glacierflow stack deploy`, or correct the name in [BATCH] of aws_config.ini"

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


def check_queues(patient: Patient) -> Iterator[Finding]:
    """Both queues exist and take jobs."""
    known = {
        name: queue for queue in patient.queues() for name in (queue["jobQueueName"], queue["jobQueueArn"])
    }
    for wanted in (patient.places.spot_queue, patient.places.ondemand_queue):
        queue = known.get(wanted)
        if queue is None:
            text = f"there is no job queue {wanted} in {patient.cloud.region}"
            yield Finding("job queue", "problem", text, _DEPLOY)
        elif queue["state"] != "ENABLED" or queue.get("status", "VALID") != "VALID":
            text = f"{wanted} is {queue['state']} and {queue.get('status')}: {queue.get('statusReason', '')}"
            yield Finding("job queue", "problem", text, "enable it, or run `glacierflow stack status`")
        else:
            yield Finding("job queue", "ok", f"{wanted} takes jobs")


def check_environments(patient: Patient) -> Iterator[Finding]:
    """Every compute environment of the queues is in order."""
    for environment in patient.environments():
        name = environment["computeEnvironmentName"]
        if environment.get("state") != "ENABLED" or environment.get("status") != "VALID":
            reason = environment.get("statusReason") or "no reason given"
            text = f"{name} is {environment.get('state')} and {environment.get('status')}: {reason}"
            yield Finding(
                "compute environment", "problem", text, "mend what it says, then update or redeploy the stack"
            )
        else:
            yield Finding("compute environment", "ok", f"{name} is in order")


def check_definitions(patient: Patient) -> Iterator[Finding]:
    """Each memory class has a definition that fits some instance type of some environment."""
    found = patient.definitions()
    for memory, wanted in patient.places.job_definitions.items():
        definition = found.get(memory)
        if definition is None:
            text = f"there is no active job definition {wanted}"
            yield Finding(f"class {memory} MiB", "problem", text, _DEPLOY)
            continue
        needs = {
            need["type"]: float(need["value"])
            for need in definition["containerProperties"].get("resourceRequirements", [])
        }
        yield _fit(patient, memory, definition, needs)


def _fit(patient: Patient, memory: int, definition: dict[str, Any], needs: dict[str, float]) -> Finding:
    name = f"class {memory} MiB"
    label = f"{definition['jobDefinitionName']}:{definition['revision']}"
    asked = f"{needs.get('VCPU', 1):g} vCPU and {needs.get('MEMORY', 0):g} MiB"
    for environment in patient.environments():
        resources = environment.get("computeResources") or {}
        if float(resources.get("maxvCpus", 0)) < needs.get("VCPU", 1):
            continue
        if str(resources.get("type")).startswith("FARGATE"):  # has no instance types to be too small
            return Finding(
                name, "ok", f"{label} ({asked}) fits Fargate of {environment['computeEnvironmentName']}"
            )
        for instance in _instances(patient, tuple(resources.get("instanceTypes", ()))):
            offered = _USABLE * instance["MemoryInfo"]["SizeInMiB"]
            if instance["VCpuInfo"]["DefaultVCpus"] >= needs.get("VCPU", 1) and offered >= needs.get(
                "MEMORY", 0
            ):
                fits = f"{label} ({asked}) fits {instance['InstanceType']}"
                return Finding(name, "ok", f"{fits} of {environment['computeEnvironmentName']}")
    return Finding(
        name,
        "problem",
        f"{label} asks for {asked}, more than any instance type of the compute environments offers",
        "allow bigger instance types in the stack's parameter, or raise maxvCpus",
    )


def instance_types(patient: Patient) -> list[dict[str, Any]]:
    """Facts of every instance type that some compute environment may start."""
    named = [
        tuple((environment.get("computeResources") or {}).get("instanceTypes", ()))
        for environment in patient.environments()
    ]
    return [one for types in named for one in _instances(patient, types)]


def _instances(patient: Patient, types: tuple[str, ...]) -> list[dict[str, Any]]:
    """Facts of the instance types that names, families or ``optimal`` stand for."""
    patterns = [
        pattern
        for one in types
        for pattern in (
            ("c5.*", "m5.*", "r5.*") if one == "optimal" else (one if "." in one else f"{one}.*",)
        )
    ]

    def ask() -> list[dict[str, Any]]:
        pages = (
            patient.cloud.client("ec2")
            .get_paginator("describe_instance_types")
            .paginate(Filters=[{"Name": "instance-type", "Values": patterns}])
        )
        return [one for page in pages for one in page["InstanceTypes"]]

    found: list[dict[str, Any]] = patient.once(f"instances {patterns}", ask) if patterns else []
    return found


def check_roles(patient: Patient) -> Iterator[Finding]:
    """The roles that the definitions name exist."""
    from botocore.exceptions import ClientError

    arns = {
        str(definition["containerProperties"][key])
        for definition in patient.definitions().values()
        for key in ("jobRoleArn", "executionRoleArn")
        if definition["containerProperties"].get(key)
    }
    iam = patient.cloud.client("iam")
    for arn in sorted(arns):
        try:
            iam.get_role(RoleName=arn.rpartition("/")[2])
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"NoSuchEntity", "NoSuchEntityException"}:
                raise
            yield Finding("role", "problem", f"there is no role {arn}", _DEPLOY)
        else:
            yield Finding("role", "ok", arn)


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
