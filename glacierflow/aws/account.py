"""What the account allows and where it reaches: quotas, ways out of subnets, messages by SNS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import Finding

QUOTA_CODES = {"spot": "L-34B43A08", "on-demand": "L-1216C47A"}
"""Service Quotas codes: vCPUs of standard spot and of standard on-demand instances."""

LIFECYCLES = {"SPOT": "spot", "EC2": "on-demand"}
"""By the type of a compute environment; Fargate has quotas of its own."""

_ENDPOINTS = ("ecr.api", "ecr.dkr", "s3", "logs")


def vcpu_quota(cloud: Cloud, lifecycle: str) -> float:
    """The quota of ``spot`` or ``on-demand`` instances in the region.

    Raises:
        UsageError: AWS refuses to tell.
        UnavailableError: AWS cannot be reached.
    """
    with plain_errors(f"look up the {lifecycle} vCPU quota", service="Service Quotas"):
        answer = cloud.client("service-quotas").get_service_quota(
            ServiceCode="ec2", QuotaCode=QUOTA_CODES[lifecycle]
        )
    return float(answer["Quota"]["Value"])


def ask_for_more(cloud: Cloud, lifecycle: str) -> str:
    """What to do where the quota is too small."""
    return f"ask for more: Service Quotas, EC2, {QUOTA_CODES[lifecycle]}, in {cloud.region}"


def publish(cloud: Cloud, topic_arn: str, subject: str, text: str) -> None:
    """Publish one message to a topic.

    Raises:
        UsageError: there is no such topic, or it may not be published to.
        UnavailableError: AWS cannot be reached.
    """
    with plain_errors(f"publish to {topic_arn}", service="SNS"):
        cloud.client("sns").publish(TopicArn=topic_arn, Subject=subject, Message=text)


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
