"""How many vCPUs of machines the account may have at once."""

from __future__ import annotations

from glacierflow.aws import Cloud
from glacierflow.services.failures import plain_errors

__all__ = ["LIFECYCLES", "QUOTA_CODES", "ask_for_more", "vcpu_quota"]

QUOTA_CODES = {"spot": "L-34B43A08", "on-demand": "L-1216C47A"}
"""Service Quotas codes: vCPUs of standard spot and of standard on-demand instances."""

LIFECYCLES = {"SPOT": "spot", "EC2": "on-demand"}
"""By the type of a compute environment; Fargate has quotas of its own."""


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
