"""What a template says once its functions are worked out, without CloudFormation: for policies and checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from glacierflow.stack.templates import Template

Json = dict[str, Any]

_NAMES = {
    "AWS::Batch::ComputeEnvironment": "ComputeEnvironmentName",
    "AWS::Batch::JobDefinition": "JobDefinitionName",
    "AWS::Batch::JobQueue": "JobQueueName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::ECS::TaskDefinition": "Family",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
"""The property that names a resource of each type."""

_ARNS = {
    "AWS::Batch::ComputeEnvironment": "batch:{region}:{account}:compute-environment/{name}",
    "AWS::Batch::JobDefinition": "batch:{region}:{account}:job-definition/{name}",
    "AWS::Batch::JobQueue": "batch:{region}:{account}:job-queue/{name}",
    "AWS::ECR::Repository": "ecr:{region}:{account}:repository/{name}",
    "AWS::ECS::Cluster": "ecs:{region}:{account}:cluster/{name}",
    "AWS::ECS::TaskDefinition": "ecs:{region}:{account}:task-definition/{name}",
    "AWS::Events::Rule": "events:{region}:{account}:rule/{name}",
    "AWS::IAM::ManagedPolicy": "iam::{account}:policy/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::StepFunctions::StateMachine": "states:{region}:{account}:stateMachine:{name}",
}

_REF_IS_ARN = {
    "AWS::Batch::ComputeEnvironment",
    "AWS::Batch::JobDefinition",
    "AWS::Batch::JobQueue",
    "AWS::ECS::TaskDefinition",
    "AWS::IAM::ManagedPolicy",
    "AWS::SNS::Topic",
    "AWS::StepFunctions::StateMachine",
}
"""Types whose ``Ref`` is the ARN, not the name."""

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Account:
    """Where the template would be deployed."""

    account_id: str
    region: str
    stack: str
    partition: str = "aws"


@dataclass(frozen=True, slots=True)
class Named:
    """A resource whose name the template decides, so that AWS can hold one of its kind only."""

    kind: str
    """``AWS::IAM::Role``."""
    name: str
    parameters: tuple[str, ...]
    """That decide the name, beside the stack's."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """Works out one template for one account; what only AWS knows stays as ``<LogicalId.Attribute>``."""

    template: Template
    account: Account
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values that differ from the defaults; a list is one text with commas."""

    def resource(self, logical_id: str) -> Json | None:
        """A resource's properties, or None where its condition does not hold."""
        body = self.template.content["Resources"][logical_id]
        if "Condition" in body and not self._condition(body["Condition"]):
            return None
        found: Json = self.value(body.get("Properties", {}))
        return found

    def resources(self, kind: str) -> dict[str, Json]:
        """Properties of every resource of a type that would be made, by logical id."""
        wanted = [name for name, one in self.template.content["Resources"].items() if one["Type"] == kind]
        found = {name: self.resource(name) for name in wanted}
        return {name: one for name, one in found.items() if one is not None}

    def names(self) -> Iterator[Named]:
        """Every resource that would be made with a name of its own."""
        for logical_id, body in self.template.content["Resources"].items():
            told = body.get("Properties", {}).get(_NAMES.get(body["Type"], ""))
            if told is not None and self.resource(logical_id) is not None:
                yield Named(body["Type"], self._name(logical_id), tuple(self._parameters_of(told)))

    def _parameters_of(self, told: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a template
        """Parameters that a part of the template refers to."""
        for name in re.findall(r"\w+", json.dumps(told)):
            if name in self.template.parameters:
                yield name

    def outputs(self) -> dict[str, str]:
        """Every output whose condition holds."""
        told = self.template.content.get("Outputs", {})
        return {
            name: str(self.value(one["Value"]))
            for name, one in told.items()
            if "Condition" not in one or self._condition(one["Condition"])
        }

    def value(self, told: Any) -> Any:  # noqa: ANN401 - any part of a template
        """The part of the template with its functions worked out."""
        found = self._value(told)
        return None if found is _NOTHING else found

    def _value(self, told: Any) -> Any:  # noqa: ANN401
        if isinstance(told, list):
            return [one for one in map(self._value, told) if one is not _NOTHING]
        if not isinstance(told, dict):
            return told
        if len(told) == 1:
            ((name, argument),) = told.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._function(name.removeprefix("Fn::"), argument)
        values = {key: self._value(one) for key, one in told.items()}
        return {key: one for key, one in values.items() if one is not _NOTHING}

    def _function(self, name: str, argument: Any) -> Any:  # noqa: ANN401
        if name == "If":
            condition, yes, no = argument
            return self._value(yes if self._condition(condition) else no)
        if name == "Sub":
            return self._sub(argument)
        if name == "GetAtt":
            return self._attribute(*argument)
        if name == "Join":
            separator, parts = argument
            return separator.join(str(one) for one in self._value(parts))
        if name == "Select":
            index, options = argument
            return self._value(options)[int(index)]
        if name == "FindInMap":
            table, first, second = (self._value(one) for one in argument)
            return self.template.content["Mappings"][table][first][second]
        if name == "Base64":
            return self._value(argument)
        return f"<{name}>"

    def _ref(self, name: str) -> Any:  # noqa: ANN401
        account = self.account
        pseudo = {
            "AWS::AccountId": account.account_id,
            "AWS::Region": account.region,
            "AWS::StackName": account.stack,
            "AWS::Partition": account.partition,
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::NoValue": _NOTHING,
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.template.parameters:
            value = str(self.parameters.get(name, self.template.parameters[name].get("Default", f"<{name}>")))
            return value.split(",") if name in self.template.list_parameters() else value
        kind = self.template.content["Resources"][name]["Type"]
        return self._attribute(name, "Arn") if kind in _REF_IS_ARN else self._name(name)

    def _name(self, logical_id: str) -> str:
        body = self.template.content["Resources"][logical_id]
        told = body.get("Properties", {}).get(_NAMES.get(body["Type"], ""))
        return f"<{logical_id}>" if told is None else str(self._value(told))

    def _attribute(self, logical_id: str, attribute: str) -> str:
        kind = self.template.content["Resources"][logical_id]["Type"]
        if attribute != "Arn" or kind not in _ARNS:
            return f"<{logical_id}.{attribute}>"
        account = self.account
        rest = _ARNS[kind].format(
            region=account.region, account=account.account_id, name=self._name(logical_id)
        )
        return f"arn:{account.partition}:{rest}"

    def _sub(self, argument: Any) -> str:  # noqa: ANN401
        text, own = argument if isinstance(argument, list) else (argument, {})

        def put(found: re.Match[str]) -> str:
            name = found[1]
            if name in own:
                return str(self._value(own[name]))
            if "." in name:
                return self._attribute(*name.split(".", 1))
            return str(self._ref(name))

        return re.sub(r"\$\{([\w:.]+)\}", put, text)

    def _condition(self, told: Any) -> bool:  # noqa: ANN401 - a name, or a condition spelled out
        if isinstance(told, str):
            return self._condition(self.template.content["Conditions"][told])
        ((name, argument),) = told.items()
        if name == "Condition":
            return self._condition(argument)
        if name == "Fn::Equals":
            first, second = (str(self._value(one)) for one in argument)
            return first == second
        if name == "Fn::Not":
            return not self._condition(argument[0])
        parts = [self._condition(one) for one in argument]
        return all(parts) if name == "Fn::And" else any(parts)
