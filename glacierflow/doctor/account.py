"""Checks of the account: who asks, clocks, quotas, what must exist, and ways out of the subnets.

A task in a subnet without a way out ends with 403 from ECR before its first line.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from glacierflow.aws.account import LIFECYCLES, QUOTA_CODES, ask_for_more, judge_subnets, vcpu_quota
from glacierflow.aws.errors import plain_errors
from glacierflow.doctor.patient import Patient
from glacierflow.errors import CredentialsError, Finding, GlacierflowError
from glacierflow.stack.deploy import describe
from glacierflow.stack.templates import stack_name

_SKEW = dt.timedelta(minutes=4)
"""AWS refuses requests signed more than five minutes away from its own time."""

_LINKED_ROLES = {
    "AWSServiceRoleForBatch": "batch.amazonaws.com",
    "AWSServiceRoleForEC2Spot": "spot.amazonaws.com",
    "AWSServiceRoleForAutoScaling": "autoscaling.amazonaws.com",
}
"""Made by AWS at first use by somebody who may; a restricted user's first job hangs without them."""


def check_identity(patient: Patient) -> Iterator[Finding]:
    """Credentials, account and clock, from one GetCallerIdentity."""
    try:
        with plain_errors("ask who you are", service="AWS"):
            answer = patient.cloud.client("sts").get_caller_identity()
    except GlacierflowError as error:
        refused = isinstance(error, CredentialsError)
        yield Finding("credentials", "problem" if refused else "unknown", error.message, error.next_step)
        # beyond five minutes AWS refuses the signature, and its refusal has a date
        refusal = getattr(error.__cause__, "response", {})
        yield from (found for found in _clock(refusal) if found.verdict == "problem")
        return
    yield Finding("credentials", "ok", str(answer["Arn"]))
    wanted = patient.loaded.settings.aws_account.account_id
    if wanted is not None and wanted != answer["Account"] and not patient.cloud.embedded:
        yield Finding(
            "account",
            "problem",
            f"the credentials are of account {answer['Account']}, account_id says {wanted}",
            "name another --profile, or correct account_id in aws_config.ini",
        )
    yield from _clock(answer)


def _clock(answer: dict[str, Any]) -> Iterator[Finding]:
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if said is None:
        yield Finding("clock", "unknown", "AWS did not say its time")
        return
    skew = abs(dt.datetime.now(dt.UTC) - parsedate_to_datetime(said))
    if skew > _SKEW:
        text = f"this machine's clock is {skew.total_seconds():.0f} s away from AWS's"
        yield Finding("clock", "problem", text, "set it, e.g. with `timedatectl set-ntp true`")
    else:
        yield Finding("clock", "ok", "agrees with AWS's")


def check_linked_roles(patient: Patient) -> Iterator[Finding]:
    """The service-linked roles Batch on spot needs."""
    from botocore.exceptions import ClientError

    iam, missing = patient.cloud.client("iam"), []
    for role, service in _LINKED_ROLES.items():
        try:
            iam.get_role(RoleName=role)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"NoSuchEntity", "NoSuchEntityException"}:
                raise
            missing.append((role, service))
    for role, service in missing:
        command = f"aws iam create-service-linked-role --aws-service-name {service}"
        yield Finding("service-linked role", "problem", f"there is no {role}", f"run `{command}` once")
    if not missing:
        yield Finding("service-linked roles", "ok", ", ".join(_LINKED_ROLES))


def check_quotas(patient: Patient) -> Iterator[Finding]:
    """VCPU quotas of the region against a job of each class and against what the environments may take."""
    most = _most_vcpus(patient)
    needed = {memory: _vcpus(one) for memory, one in patient.definitions().items()}
    for lifecycle in QUOTA_CODES:
        name, region = f"{lifecycle} vCPU quota", patient.cloud.region
        value, ask = vcpu_quota(patient.cloud, lifecycle), ask_for_more(patient.cloud, lifecycle)
        never = {memory: vcpus for memory, vcpus in needed.items() if vcpus > value}
        if value < min(needed.values(), default=1.0):
            yield Finding(name, "problem", f"{value:g} in {region}: no job fits", ask)
        elif never:
            classes = ", ".join(f"class {memory} MiB ({vcpus:g})" for memory, vcpus in never.items())
            yield Finding(name, "problem", f"{value:g} in {region}: no job fits of {classes}", ask)
        elif most.get(lifecycle, 0) > value:
            yield Finding(
                name, "ok", f"{value:g} in {region}; the compute environments would take {most[lifecycle]:g}"
            )
        else:
            yield Finding(name, "ok", f"{value:g} in {region}")


def _most_vcpus(patient: Patient) -> dict[str, float]:
    most: dict[str, float] = {}
    for environment in patient.environments():
        resources = environment.get("computeResources") or {}
        lifecycle = LIFECYCLES.get(resources.get("type", ""), "other")
        most[lifecycle] = most.get(lifecycle, 0) + float(resources.get("maxvCpus", 0))
    return most


def _vcpus(definition: dict[str, Any]) -> float:
    needs = definition["containerProperties"].get("resourceRequirements", [])
    return next((float(need["value"]) for need in needs if need["type"] == "VCPU"), 1.0)


"""VPC endpoints a subnet without a way to the internet needs to start a container."""


def check_network(patient: Patient) -> Iterator[Finding]:
    """Every subnet that children run in leads to an internet or NAT gateway, which the STAC APIs need."""
    ways = list(_ways(patient))
    if not ways:
        yield Finding("network", "unknown", "the compute environments name no subnet")
        return
    yield from judge_subnets(patient.cloud, ways)


def _ways(patient: Patient) -> Iterator[tuple[str, bool | None]]:
    """Each subnet, and whether what runs there gets a public address; None leaves it to the subnet."""
    ecs = describe(patient.cloud, stack_name(patient.loaded.settings.batch.stack, "ecs"))
    if ecs is not None and ecs.outputs.get("TaskSubnets"):
        for subnet in ecs.outputs["TaskSubnets"].split(","):
            yield subnet, ecs.outputs.get("TaskPublicIp") == "ENABLED"
    for environment in patient.environments():
        resources = environment.get("computeResources") or {}
        on_fargate = str(resources.get("type")).startswith("FARGATE")
        for subnet in resources.get("subnets", []):
            yield subnet, _tasks_get_addresses(patient) if on_fargate else None


def _tasks_get_addresses(patient: Patient) -> bool:
    networks = [
        definition["containerProperties"].get("networkConfiguration", {})
        for definition in patient.definitions().values()
    ]
    return all(network.get("assignPublicIp") == "ENABLED" for network in networks)
