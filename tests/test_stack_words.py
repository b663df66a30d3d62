"""What CloudFormation says, in plain words; the reasons are as AWS words them."""

from __future__ import annotations

import datetime as dt

import pytest

from glacierflow.errors import UsageError
from glacierflow.stack.messages import Step, blocked, ended_well, reasons, state_in_words


def step(logical_id: str, status: str, reason: str | None = None, *, is_stack: bool = False) -> Step:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return Step(now, logical_id, "AWS::X::Y", status, reason, f"{logical_id}-{status}", is_stack)


@pytest.mark.parametrize(
    ("reason", "sentence", "next_step"),
    [
        (
            "User: arn:aws:iam::1:user/x is not authorized to perform: iam:CreateRole on resource: role "
            "glacierflow-job-us-west-2 because no identity-based policy allows the iam:CreateRole action "
            "(Service: Iam, Status Code: 403)",
            "you may not iam:CreateRole",
            "glacierflow stack policies",
        ),
        (
            "User: x is not authorized to perform: batch:CreateJobQueue with an explicit deny in a service "
            "control policy",
            "a rule of your organisation",
            "organisation's policies",
        ),
        (
            "glacierflow-1-us-west-2 already exists (Service: S3, Status Code: 0)",
            "something of that name is there already",
            "ExistingBucket=NAME",
        ),
        (
            'Resource handler returned message: "Cannot delete, found existing JobQueue relationship"',
            "a job queue still uses it",
            "delete that queue first",
        ),
        (
            "The maximum number of VPCs has been reached. (Service: Ec2; VpcLimitExceeded)",
            "a quota of the account is used up",
            "Service Quotas",
        ),
        (
            "Caller does not have permission to create a service linked role AWSServiceRoleForBatch",
            "service-linked role is missing",
            "create-service-linked-role",
        ),
        ("Instance type r99 is not supported in us-west-2", "not offered in this region", "InstanceTypes="),
        (
            "The subnet ID 'subnet-1' does not exist (InvalidSubnetID.NotFound)",
            "a subnet does not exist",
            "--set Subnets=",
        ),
        ("Something nobody has met before", "Something nobody has met before", "CloudFormation console"),
        (None, "AWS gives no reason", "CloudFormation console"),
    ],
)
def test_a_reason_is_told_in_plain_words_with_a_way_out(
    reason: str | None, sentence: str, next_step: str
) -> None:
    (told,) = reasons([step("Thing", "CREATE_FAILED", reason)])
    assert told.logical_id == "Thing"
    assert sentence in told.sentence
    assert next_step in told.next_step
    if reason:
        assert reason in told.sentence, "AWS's own words are never kept back"


def test_only_causes_are_told_and_not_what_followed_from_them() -> None:
    told = reasons(
        [
            step("Bucket", "CREATE_COMPLETE"),
            step("JobRole", "CREATE_FAILED", "is not authorized to perform: iam:CreateRole"),
            step("Topic", "CREATE_FAILED", "Resource creation cancelled"),
            step("glacierflow", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed", is_stack=True),
            step("glacierflow", "ROLLBACK_FAILED", "x", is_stack=True),
        ]
    )
    assert [one.logical_id for one in told] == ["JobRole"]
    only = reasons([step("Topic", "CREATE_FAILED", "Resource creation cancelled")])
    assert [one.logical_id for one in only] == ["Topic"]


@pytest.mark.parametrize(
    ("status", "way"),
    [
        ("ROLLBACK_COMPLETE", "glacierflow stack delete --stack mine"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name mine"),
        ("UPDATE_IN_PROGRESS", "wait until it has ended"),
        ("DELETE_FAILED", "glacierflow stack delete --stack mine"),
    ],
)
def test_a_stack_that_cannot_be_changed_says_what_to_do(status: str, way: str) -> None:
    assert not ended_well(status)
    with pytest.raises(UsageError, match="the stack mine cannot be changed") as caught:
        blocked("mine", status)
    assert way in (caught.value.next_step or "")


def test_states_in_words() -> None:
    for status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
        blocked("mine", status)
    assert ended_well("CREATE_COMPLETE")
    assert not ended_well("UPDATE_ROLLBACK_COMPLETE")
    assert "as before" in state_in_words("UPDATE_ROLLBACK_COMPLETE")
    assert state_in_words("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS") == "update complete cleanup under way"
    assert state_in_words("IMPORT_ROLLBACK_COMPLETE") == "import rollback complete"
