"""CloudFormation stacks: propose a change, carry it out and tell how it goes, look at them, delete them."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.stack.messages import Step, blocked
from glacierflow.stack.templates import Template

Json = dict[str, Any]

_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_TAGS = [{"Key": "project", "Value": "glacierflow"}]
_AWS_INTERVAL_S, _LOCAL_INTERVAL_S = 3.0, 0.1


@dataclass(frozen=True, slots=True)
class StackState:
    """One stack as it stands."""

    name: str
    stack_id: str
    status: str
    reason: str | None
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    updated_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one resource."""

    action: str
    """Add, Modify, Remove, Import or Dynamic."""
    logical_id: str
    kind: str
    """Type of the resource, ``AWS::S3::Bucket``."""
    replaces: bool = False
    """Whether the resource is made anew, or may be."""
    because: tuple[str, ...] = ()
    """Properties that change."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change set that waits to be executed."""

    stack: str
    stack_id: str
    change_set: str
    """ARN."""
    creates: bool
    """Whether the stack does not exist yet."""
    changes: tuple[Change, ...]


def describe(cloud: Cloud, name: str) -> StackState | None:
    """The stack of this name (or id), or None where there is none.

    Raises:
        UsageError: AWS refuses to tell.
        UnavailableError: AWS cannot be reached.
    """
    return _describe(cloud.client("cloudformation"), name)


def outputs_with(cloud: Cloud, name: str, needed: str, *, made_by: str) -> Mapping[str, str]:
    """The outputs of a stack, among them the one that is needed.

    Args:
        cloud: which AWS.
        name: of the stack.
        needed: name of an output.
        made_by: templates that `stack deploy --with` has to name, with commas.

    Raises:
        UsageError: that stack is not deployed, or AWS refuses to tell.
        UnavailableError: AWS cannot be reached.
    """
    state = describe(cloud, name)
    if state is None or needed not in state.outputs:
        raise UsageError(
            f"there is no stack {name} in {cloud.region}",
            next_step=f"run `glacierflow stack deploy --with {made_by}`",
        )
    return state.outputs


def propose(cloud: Cloud, name: str, template: Template, parameters: Mapping[str, str]) -> Proposal | None:
    """Make a change set and wait for it; None where nothing would change.

    A parameter that is not given keeps its value of last time.

    Args:
        cloud: which AWS.
        name: of the stack.
        template: what it should be.
        parameters: values by name; a list is one text with commas.

    Raises:
        UsageError: the stack is in a state that allows no change, or AWS refuses the template or a value.
        UnavailableError: AWS cannot be reached.
    """
    client = cloud.client("cloudformation")
    state = _describe(client, name)
    creates = state is None or state.status == "REVIEW_IN_PROGRESS"
    if state is not None and not creates:
        blocked(name, state.status)
    request = {
        "StackName": name,
        "ChangeSetName": f"glacierflow-{time.time_ns():x}",
        "ChangeSetType": "CREATE" if creates else "UPDATE",
        "TemplateBody": template.body,
        "Parameters": _parameters(template, parameters, {} if creates or state is None else state.parameters),
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": _TAGS,
    }
    with plain_errors(f"propose a change of the stack {name}", service="CloudFormation"):
        from botocore.exceptions import ClientError

        try:
            made = client.create_change_set(**request)
        except ClientError as error:
            if any(text in str(error) for text in _NO_CHANGES):
                return None
            raise
        answer = _wait_for_change_set(client, made["Id"], _interval(cloud))
        if answer["Status"] == "FAILED":
            client.delete_change_set(ChangeSetName=made["Id"])
            reason = answer.get("StatusReason", "")
            if any(text in reason for text in _NO_CHANGES):
                return None
            raise UsageError(f"CloudFormation would not change the stack {name}: {reason}")
        changes = tuple(_changes(client, made["Id"], answer))
    return Proposal(name, made["StackId"], made["Id"], creates, changes)


def discard(cloud: Cloud, proposal: Proposal) -> None:
    """Leave everything as it is; of a stack that was to be made, nothing stays."""
    client = cloud.client("cloudformation")
    with plain_errors(f"discard a change of the stack {proposal.stack}", service="CloudFormation"):
        client.delete_change_set(ChangeSetName=proposal.change_set)
        if proposal.creates:
            client.delete_stack(StackName=proposal.stack_id)


def apply(cloud: Cloud, proposal: Proposal) -> Iterator[Step]:
    """Carry a proposal out; yields what happens until it has ended, well or not: ask ``describe`` how."""
    client = cloud.client("cloudformation")
    seen = _event_ids(client, proposal.stack_id)
    with plain_errors(f"change the stack {proposal.stack}", service="CloudFormation"):
        client.execute_change_set(ChangeSetName=proposal.change_set, StackName=proposal.stack)
    yield from _follow(client, proposal.stack_id, seen, _interval(cloud))


def delete(cloud: Cloud, state: StackState) -> Iterator[Step]:
    """Delete a stack; yields what happens until it has ended."""
    client = cloud.client("cloudformation")
    seen = _event_ids(client, state.stack_id)
    with plain_errors(f"delete the stack {state.name}", service="CloudFormation"):
        client.delete_stack(StackName=state.stack_id)
    yield from _follow(client, state.stack_id, seen, _interval(cloud))


def _interval(cloud: Cloud) -> float:
    return _LOCAL_INTERVAL_S if cloud.embedded else _AWS_INTERVAL_S


def _describe(client: Any, name: str) -> StackState | None:  # noqa: ANN401 - a boto3 client
    from botocore.exceptions import ClientError

    with plain_errors(f"describe the stack {name}", service="CloudFormation"):
        try:
            found = client.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
    return StackState(
        name=found["StackName"],
        stack_id=found["StackId"],
        status=found["StackStatus"],
        reason=found.get("StackStatusReason"),
        outputs={one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])},
        parameters={
            one["ParameterKey"]: one.get("ParameterValue", "") for one in found.get("Parameters", [])
        },
        updated_at=found.get("LastUpdatedTime", found.get("CreationTime")),
    )


def _parameters(template: Template, given: Mapping[str, str], before: Mapping[str, str]) -> list[Json]:
    told: list[Json] = [
        {"ParameterKey": name, "ParameterValue": value}
        for name, value in given.items()
        if name in template.parameters
    ]
    kept: list[Json] = [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in template.parameters
        if name in before and name not in given
    ]
    return told + kept


def _wait_for_change_set(client: Any, arn: str, interval_s: float) -> Json:  # noqa: ANN401
    while True:
        answer: Json = client.describe_change_set(ChangeSetName=arn)
        if answer["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
            return answer
        time.sleep(interval_s)


def _changes(client: Any, arn: str, answer: Json) -> Iterator[Change]:  # noqa: ANN401
    while True:
        for one in answer.get("Changes", []):
            change = one["ResourceChange"]
            targets = [detail.get("Target", {}) for detail in change.get("Details", [])]
            names = [target["Name"] for target in targets if target.get("Name")]
            yield Change(
                action=change["Action"],
                logical_id=change["LogicalResourceId"],
                kind=change["ResourceType"],
                replaces=change.get("Replacement", "False") != "False",
                because=tuple(dict.fromkeys(names)),
            )
        if "NextToken" not in answer:
            return
        answer = client.describe_change_set(ChangeSetName=arn, NextToken=answer["NextToken"])


def _events(client: Any, stack_id: str) -> Iterator[Step]:  # noqa: ANN401
    """Newest first."""
    with plain_errors(f"describe the events of {stack_id}", service="CloudFormation"):
        for page in client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
            for event in page["StackEvents"]:
                yield Step(
                    at=event["Timestamp"],
                    logical_id=event["LogicalResourceId"],
                    kind=event["ResourceType"],
                    status=event["ResourceStatus"],
                    reason=event.get("ResourceStatusReason"),
                    event_id=event["EventId"],
                    is_stack=event.get("PhysicalResourceId") == event["StackId"],
                )


def _event_ids(client: Any, stack_id: str) -> set[str]:  # noqa: ANN401
    return {step.event_id for step in _events(client, stack_id)}


def _follow(client: Any, stack_id: str, seen: set[str], interval_s: float) -> Iterator[Step]:  # noqa: ANN401
    while True:
        new = []
        for step in _events(client, stack_id):
            if step.event_id in seen:
                break
            new.append(step)
        for step in reversed(new):
            seen.add(step.event_id)
            yield step
            if step.is_stack and not step.status.endswith("_IN_PROGRESS"):
                return
        time.sleep(interval_s)
