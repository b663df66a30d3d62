"""Whether hosts and tasks can reach what they start from: the registry, S3 and the logs.

A task in a subnet without a way out ends with 403 from ECR before its first line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.services.doctor.patient import Patient
from glacierflow.services.findings import Finding
from glacierflow.services.stack import describe
from glacierflow.services.templates import stack_name

__all__ = ["check_network", "judge_subnets"]

_ENDPOINTS = ("ecr.api", "ecr.dkr", "s3", "logs")
"""VPC endpoints a subnet without a way to the internet needs to start a container."""


def check_network(patient: Patient) -> Iterator[Finding]:
    """Every subnet that children run in leads to an internet or NAT gateway, which the STAC APIs need."""
    ways = list(_ways(patient))
    if not ways:
        yield Finding("network", "unknown", "the compute environments name no subnet")
        return
    yield from judge_subnets(patient.cloud, ways)


def judge_subnets(cloud: Cloud, ways: Sequence[tuple[str, bool | None]]) -> Iterator[Finding]:
    """Whether each subnet leads out: two or three calls each, and one for all.

    Args:
        cloud: whose EC2.
        ways: subnets, and whether what runs there gets a public address; None leaves it to the subnet.
    """
    ec2 = cloud.client("ec2")
    subnets = sorted({subnet for subnet, _ in ways})
    for facts in ec2.describe_subnets(SubnetIds=subnets)["Subnets"]:
        subnet, own = facts["SubnetId"], bool(facts.get("MapPublicIpOnLaunch"))
        addressed = all(own if public is None else public for name, public in ways if name == subnet)
        yield _judge(ec2, subnet, facts["VpcId"], addressed=addressed)


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


def _judge(ec2: Any, subnet: str, vpc: str, *, addressed: bool) -> Finding:  # noqa: ANN401 - a boto3 client
    way_out = _way_out(ec2, subnet, vpc)
    if way_out is not None and way_out.startswith("igw-") and not addressed:
        return Finding(
            "network",
            "problem",
            f"{subnet} leads to {way_out}, and what runs in it gets no public address",
            "turn on auto-assignment of public addresses, or use a NAT gateway",
        )
    if way_out is not None:
        return Finding("network", "ok", f"{subnet} leads out by {way_out}")
    there = _endpoints(ec2, vpc)
    missing = [name for name in _ENDPOINTS if name not in there]
    if missing:
        return Finding(
            "network",
            "problem",
            f"{subnet} has no way out, and its VPC no endpoint for {', '.join(missing)}: images stay out",
            "use a public subnet or a NAT gateway: endpoints alone do not lead to the STAC APIs either",
        )
    return Finding(
        "network",
        "problem",
        f"{subnet} has VPC endpoints for {', '.join(_ENDPOINTS)}, and no way to the STAC APIs",
        "use a public subnet or a NAT gateway",
    )


def _way_out(ec2: Any, subnet: str, vpc: str) -> str | None:  # noqa: ANN401
    """The gateway of the subnet's default route: its own route table's, else the VPC's main one's."""
    own = [{"Name": "association.subnet-id", "Values": [subnet]}]
    main = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    tables = (
        ec2.describe_route_tables(Filters=own)["RouteTables"]
        or ec2.describe_route_tables(Filters=main)["RouteTables"]
    )
    for route in (route for table in tables for route in table["Routes"]):
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State", "active") == "active":
            gateway = route.get("NatGatewayId") or route.get("GatewayId") or route.get("TransitGatewayId")
            return str(gateway) if gateway else None
    return None


def _endpoints(ec2: Any, vpc: str) -> set[str]:  # noqa: ANN401
    pages = ec2.get_paginator("describe_vpc_endpoints").paginate(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}]
    )
    names = [one["ServiceName"] for page in pages for one in page["VpcEndpoints"]]
    return {known for known in _ENDPOINTS for name in names if name.endswith(f".{known}")}
