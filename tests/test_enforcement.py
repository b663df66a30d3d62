"""What a request needs as IAM names it, and when a condition of a policy holds."""

from __future__ import annotations

from typing import Any

import pytest

from glacierflow.local import iam
from glacierflow.local.iam import permissions_of


def test_a_submission_needs_queue_definition_and_tagging() -> None:
    place = "arn:aws:batch:us-west-2:123456789012"
    request = {"jobQueue": "q", "jobDefinition": f"{place}:job-definition/d:3", "tags": {"a": "b"}}
    assert permissions_of("batch", "submitjob", request, "us-west-2") == [
        ("SubmitJob", f"{place}:job-queue/q"),
        ("SubmitJob", f"{place}:job-definition/d:3"),
        ("TagResource", f"{place}:job/new"),
    ]
    assert permissions_of("batch", "listjobs", {"jobQueue": "q"}, "us-west-2") == [("ListJobs", "*")]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"StringLike": {"s3:prefix": ["x/*", "runs/*"]}}, True),
        ({"StringLike": {"s3:prefix": "products/*"}}, False),
        ({"StringEquals": {"aws:SourceAccount": "123456789012", "never:known": "x"}}, False),
        ({"DateGreaterThan": {"s3:prefix": "runs/r"}}, False),
        ({"ArnLike": {"aws:SourceArn": "arn:*:rule/a"}, "StringEquals": {"s3:prefix": "runs/r"}}, True),
    ],
)
def test_conditions_hold_only_where_they_are_known_to(condition: Any, holds: bool) -> None:
    values = {"s3:prefix": "runs/r", "aws:SourceArn": "arn:aws:events:us-west-2:1:rule/a"}
    assert iam.holds(condition, values) is holds
