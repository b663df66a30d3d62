"""What a real account gets from ``batch/template.yaml``, deployed into the embedded cloud as into AWS."""

from __future__ import annotations

import logging
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.errors import UnavailableError
from glacierflow.local.infrastructure import Infrastructure
from glacierflow.local.options import ACCOUNT_ID
from glacierflow.services.stack import apply, describe, propose
from glacierflow.services.stack_words import ended_well, reasons
from glacierflow.services.templates import MAIN, load_template

__all__ = ["STACK", "bootstrap"]

STACK = "glacierflow"

_log = logging.getLogger(__name__)


def bootstrap(endpoint_url: str, infrastructure: Infrastructure, *, region: str, bucket: str) -> None:
    """Deploy the stack where there never was one, and make the bucket; what is there stays.

    Args:
        endpoint_url: the embedded cloud.
        infrastructure: of it.
        region: AWS region to deploy in.
        bucket: bucket for products and runs; the first one is the stack's own.

    Raises:
        UnavailableError: the stack could not be deployed.
    """
    cloud = Cloud(region=region, endpoint_url=endpoint_url, embedded=True)
    buckets = {one["Name"] for one in cloud.client("s3").list_buckets()["Buckets"]}
    if not infrastructure.was_deployed(region):
        _deploy(cloud, "ExistingBucket" if bucket in buckets else "BucketName", bucket)
        infrastructure.note_deployed(region)
    elif bucket not in buckets:
        _make_bucket(cloud, bucket)


def _deploy(cloud: Cloud, bucket_parameter: str, bucket: str) -> None:
    template = load_template(MAIN)
    proposal = propose(cloud, STACK, template, {bucket_parameter: bucket} | _default_network(cloud.region))
    if proposal is None:
        return
    steps = list(apply(cloud, proposal))
    state = describe(cloud, STACK)
    if state is None or not ended_well(state.status):
        why = "; ".join(f"{one.logical_id}: {one.sentence}" for one in reasons(steps))
        raise UnavailableError(f"the embedded cloud could not deploy batch/template.yaml: {why}")
    _log.info("deployed the stack %s: %d resources", STACK, len(proposal.changes))


def _default_network(region: str) -> dict[str, str]:
    """Asked from moto itself, which is quicker than through a client for EC2."""
    from moto.ec2.models import ec2_backends

    ec2: Any = ec2_backends[ACCOUNT_ID][region]
    vpc = ec2.get_default_vpc()
    subnets = sorted(one.id for one in ec2.get_default_subnets().values())
    return {"Vpc": vpc.id, "Subnets": ",".join(subnets)}


def _make_bucket(cloud: Cloud, bucket: str) -> None:
    # us-east-1 is the one region that must not be named
    where = {} if cloud.region == "us-east-1" else {"LocationConstraint": cloud.region}
    extra = {"CreateBucketConfiguration": where} if where else {}
    cloud.client("s3").create_bucket(Bucket=bucket, **extra)
