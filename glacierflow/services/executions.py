"""The executions of the state machine that sends a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.runs.records import JobRecord
from glacierflow.services.failures import plain_errors

__all__ = ["describe_execution", "running_executions"]


def describe_execution(arn: str, cloud: Cloud) -> dict[str, Any] | None:
    """What Step Functions says of an execution; None where it knows none: it forgets one after 90 days.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    from botocore.exceptions import ClientError

    with plain_errors("describe the execution", service="Step Functions"):
        try:
            answer: dict[str, Any] = cloud.client("stepfunctions").describe_execution(executionArn=arn)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
                raise
            return None
    return answer


def running_executions(jobs: Sequence[JobRecord], cloud: Cloud) -> list[str]:
    """ARNs of the executions that go on, also those that have no job in AWS Batch just now.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    arns = sorted({job.job_id for job in jobs if job.service == "stepfunctions"})
    return [arn for arn in arns if (describe_execution(arn, cloud) or {}).get("status") == "RUNNING"]
