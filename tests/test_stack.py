"""Stacks as AWS answers: change sets by page, events newest first, nothing to change, refusals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import ANY, Stubber
from stubbed import stubbed

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.stack.deploy import apply, describe, discard, propose
from glacierflow.stack.templates import MAIN, load_template

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
STACK_ID = "arn:aws:cloudformation:us-west-2:111122223333:stack/glacierflow/1"
CHANGE_SET = "arn:aws:cloudformation:us-west-2:111122223333:changeSet/glacierflow-1/1"
CLOUD = Cloud(embedded=True)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    with stubbed(monkeypatch, "cloudformation") as stubber:
        yield stubber


def stack_as(status: str, **parameters: str) -> dict[str, Any]:
    listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    stack = {"StackName": "glacierflow", "StackId": STACK_ID, "CreationTime": NOW, "StackStatus": status}
    return {"Stacks": [stack | {"Parameters": listed}]}


def change(logical_id: str, action: str, **more: Any) -> dict[str, Any]:
    told = {"Action": action, "LogicalResourceId": logical_id, "ResourceType": "AWS::X::Y"} | more
    return {"Type": "Resource", "ResourceChange": told}


def test_a_change_set_is_read_page_by_page_with_what_is_made_anew(stub: Stubber) -> None:
    stub.add_response("describe_stacks", stack_as("UPDATE_COMPLETE", MaxVcpus="256", Vpc="vpc-1"))
    expected = {
        "StackName": "glacierflow",
        "ChangeSetName": ANY,
        "ChangeSetType": "UPDATE",
        "TemplateBody": ANY,
        "Parameters": [
            {"ParameterKey": "MaxVcpus", "ParameterValue": "512"},
            {"ParameterKey": "Vpc", "UsePreviousValue": True},
        ],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": [{"Key": "project", "Value": "glacierflow"}],
    }
    stub.add_response("create_change_set", {"Id": CHANGE_SET, "StackId": STACK_ID}, expected)
    stub.add_response("describe_change_set", {"Status": "CREATE_IN_PROGRESS"})
    details = [{"Target": {"Attribute": "Properties", "Name": "ComputeResources"}}] * 2
    first = change("SpotEnvironment", "Modify", Replacement="Conditional", Details=details)
    page = {"Status": "CREATE_COMPLETE", "Changes": [first], "NextToken": "more"}
    stub.add_response("describe_change_set", page)
    second = {"Status": "CREATE_COMPLETE", "Changes": [change("Topic", "Remove", Replacement="False")]}
    stub.add_response("describe_change_set", second, {"ChangeSetName": CHANGE_SET, "NextToken": "more"})
    proposal = propose(CLOUD, "glacierflow", load_template(MAIN), {"MaxVcpus": "512", "Unknown": "x"})
    assert proposal is not None
    assert not proposal.creates
    told = [(one.action, one.logical_id, one.replaces, one.because) for one in proposal.changes]
    assert told == [
        ("Modify", "SpotEnvironment", True, ("ComputeResources",)),
        ("Remove", "Topic", False, ()),
    ]


def test_nothing_to_change_is_no_error_and_leaves_no_change_set(stub: Stubber) -> None:
    stub.add_response("describe_stacks", stack_as("CREATE_COMPLETE"))
    stub.add_response("create_change_set", {"Id": CHANGE_SET, "StackId": STACK_ID})
    reason = "The submitted information didn't contain changes. Submit different information."
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": reason})
    stub.add_response("delete_change_set", {}, {"ChangeSetName": CHANGE_SET})
    assert propose(CLOUD, "glacierflow", load_template(MAIN), {}) is None


def test_a_change_set_that_fails_says_why(stub: Stubber) -> None:
    stub.add_response("describe_stacks", stack_as("CREATE_COMPLETE"))
    stub.add_response("create_change_set", {"Id": CHANGE_SET, "StackId": STACK_ID})
    stub.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": "Transform failed"})
    stub.add_response("delete_change_set", {})
    with pytest.raises(UsageError, match="would not change the stack glacierflow: Transform failed"):
        propose(CLOUD, "glacierflow", load_template(MAIN), {})


def test_a_stack_in_the_middle_of_a_change_is_left_alone(stub: Stubber) -> None:
    stub.add_response("describe_stacks", stack_as("UPDATE_IN_PROGRESS"))
    with pytest.raises(UsageError, match="cannot be changed: update under way"):
        propose(CLOUD, "glacierflow", load_template(MAIN), {})


def test_a_discarded_proposal_of_a_new_stack_leaves_nothing(stub: Stubber) -> None:
    stub.add_client_error("describe_stacks", "ValidationError", "Stack with id x does not exist", 400)
    stub.add_response("create_change_set", {"Id": CHANGE_SET, "StackId": STACK_ID})
    stub.add_response("describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": []})
    proposal = propose(CLOUD, "glacierflow", load_template(MAIN), {})
    assert proposal is not None
    assert proposal.creates
    stub.add_response("delete_change_set", {})
    stub.add_response("delete_stack", {}, {"StackName": STACK_ID})
    discard(CLOUD, proposal)


def event(number: int, logical_id: str, status: str, *, stack: bool = False) -> dict[str, Any]:
    return {
        "StackId": STACK_ID,
        "EventId": str(number),
        "StackName": "glacierflow",
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": STACK_ID if stack else "x",
        "ResourceType": "AWS::X::Y",
        "Timestamp": NOW,
        "ResourceStatus": status,
    }


def test_events_are_told_once_in_order_until_the_stack_itself_has_ended(stub: Stubber) -> None:
    stub.add_client_error("describe_stacks", "ValidationError", "Stack with id x does not exist", 400)
    stub.add_response("create_change_set", {"Id": CHANGE_SET, "StackId": STACK_ID})
    stub.add_response("describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": []})
    proposal = propose(CLOUD, "glacierflow", load_template(MAIN), {})
    assert proposal is not None
    old = event(1, "glacierflow", "REVIEW_IN_PROGRESS", stack=True)
    stub.add_response("describe_stack_events", {"StackEvents": [old]})
    stub.add_response("execute_change_set", {})
    early = [event(3, "Bucket", "CREATE_COMPLETE"), event(2, "Bucket", "CREATE_IN_PROGRESS"), old]
    stub.add_response("describe_stack_events", {"StackEvents": early})
    newest = [event(5, "glacierflow", "CREATE_COMPLETE", stack=True)]
    stub.add_response("describe_stack_events", {"StackEvents": newest, "NextToken": "t"})
    stub.add_response("describe_stack_events", {"StackEvents": [event(4, "Topic", "CREATE_FAILED"), *early]})
    told = [(step.event_id, step.logical_id, step.status) for step in apply(CLOUD, proposal)]
    assert told == [
        ("2", "Bucket", "CREATE_IN_PROGRESS"),
        ("3", "Bucket", "CREATE_COMPLETE"),
        ("4", "Topic", "CREATE_FAILED"),
        ("5", "glacierflow", "CREATE_COMPLETE"),
    ]


def test_no_permission_to_look_is_not_no_stack(stub: Stubber) -> None:
    stub.add_client_error("describe_stacks", "AccessDenied", "User: x is not authorized", 403)
    with pytest.raises(UsageError, match="you are not allowed to describe the stack glacierflow"):
        describe(CLOUD, "glacierflow")
