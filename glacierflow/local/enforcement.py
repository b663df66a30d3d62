"""Which action on which resources a request is, where moto is told to enforce policies.

moto asks for ``batch:submitjob`` on ``*``; IAM wants ``batch:SubmitJob`` on the queue and on the job
definition, and ``batch:TagResource`` where the job is tagged. Enforcement is off until a POST to
``/moto-api/reset-auth`` turns it on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import unquote

import moto.ecs.models as moto_ecs
from moto.core import responses as moto_responses
from moto.iam import access_control

from glacierflow.local import conditions, moto_private
from glacierflow.local.options import ACCOUNT_ID

__all__ = ["install", "permissions_of"]

_KNOWN_SERVICES = {"batch", "logs", "ecr", "cloudformation", "sns", "lambda", "ecs", "stepfunctions"}

Permissions = list[tuple[str, str]]
"""(action, resource ARN), all of which must be allowed."""

_NAMES = {
    "ecs:PassRole": "iam:PassRole",
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
}
"""API calls whose permission has another name."""


@cache
def _batch_operations() -> dict[str, str]:
    import botocore.session

    names = botocore.session.get_session().get_service_model("batch").operation_names
    return {name.lower(): name for name in names}


def permissions_of(service: str, action: str, request: dict[str, Any], region: str) -> Permissions:
    """What a request needs.

    Args:
        service: as IAM calls it, ``batch``.
        action: as moto calls it.
        request: its parameters.
        region: where it goes.
    """
    place = f"{region}:{ACCOUNT_ID}"
    if service == "batch":
        return _batch_permissions(_batch_operations().get(action, action), request, place)
    if service == "ecs":
        return _ecs_permissions(action, request, region)
    resources: dict[str, Callable[[], str]] = {
        "lambda": lambda: f"arn:aws:lambda:{place}:function:{request['FunctionName'].rpartition(':')[2]}",
        "stepfunctions": lambda: str(request.get("stateMachineArn") or request["executionArn"]),
        "logs": lambda: _log_arn(request, place),
        "ecr": lambda: f"arn:aws:ecr:{place}:repository/{request.get('repositoryName')}",
        "cloudformation": lambda: f"arn:aws:cloudformation:{place}:stack/{request.get('StackName')}/id",
        "sns": lambda: str(request["TopicArn"]),
    }
    named = {
        "lambda": "FunctionName",
        "stepfunctions": "stateMachineArn" if "stateMachineArn" in request else "executionArn",
        "logs": "logGroupName",
        "ecr": "repositoryName",
        "cloudformation": "StackName",
        "sns": "TopicArn",
    }
    found = resources[service]() if request.get(named.get(service, "")) else "*"
    return [(action, found)]


def _batch_permissions(action: str, request: dict[str, Any], place: str) -> Permissions:
    def arn(kind: str, name: str) -> str:
        return name if name.startswith("arn:") else f"arn:aws:batch:{place}:{kind}/{name}"

    if action == "SubmitJob":
        needed = [
            (action, arn("job-queue", request["jobQueue"])),
            (action, arn("job-definition", request["jobDefinition"])),
        ]
        return needed + ([("TagResource", arn("job", "new"))] if request.get("tags") else [])
    if action in {"CancelJob", "TerminateJob"}:
        return [(action, arn("job", request["jobId"]))]
    if request.get("jobQueue") and action != "ListJobs":
        return [(action, arn("job-queue", request["jobQueue"]))]
    return [(action, "*")]


def _ecs_permissions(action: str, request: dict[str, Any], region: str) -> Permissions:
    """RunTask is an action on a task definition, tags its task, and passes both roles of the definition."""
    place = f"arn:aws:ecs:{region}:{ACCOUNT_ID}"
    cluster = str(request.get("cluster")).rpartition("/")[2]
    if action == "RunTask":
        name = request["taskDefinition"].rpartition("/")[2]
        tags = [("TagResource", f"{place}:task/{cluster}/new")] if request.get("tags") else []
        return [(action, f"{place}:task-definition/{name}"), *tags, *_passed_roles(name, region)]
    if action in {"StopTask", "DescribeTasks"}:
        tasks = [request["task"]] if action == "StopTask" else request["tasks"]
        return [(action, f"{place}:task/{cluster}/{task.rpartition('/')[2]}") for task in tasks]
    return [(action, "*")]


def _passed_roles(definition: str, region: str) -> Permissions:
    backend: Any = moto_ecs.ecs_backends[ACCOUNT_ID][region]
    found = backend.describe_task_definition(definition)
    arns = [getattr(found, role, None) for role in ("task_role_arn", "execution_role_arn")]
    return [("PassRole", arn) for arn in arns if arn]


def condition_values(service: str, request: dict[str, Any], region: str) -> dict[str, str]:
    """What conditions of policies may ask of a request."""
    if service != "ecs":
        return {}
    name = str(request.get("cluster")).rpartition("/")[2]
    return {
        "ecs:cluster": f"arn:aws:ecs:{region}:{ACCOUNT_ID}:cluster/{name}",
        "ecs:CreateAction": "RunTask",
        "iam:PassedToService": "ecs-tasks.amazonaws.com",
    }


def _log_arn(request: dict[str, Any], place: str) -> str:
    stream = f":log-stream:{request['logStreamName']}" if request.get("logStreamName") else ""
    return f"arn:aws:logs:{place}:log-group:{request['logGroupName']}{stream}"


def _parameters(response: Any) -> dict[str, Any]:  # noqa: ANN401 - one of moto's responses
    try:
        body = json.loads(response.body or "{}")
    except (TypeError, ValueError):
        body = {}
    queried = {name: values[0] for name, values in response.querystring.items() if values}
    in_path = re.search(r"/functions/([^/]+)", response.path)
    named = {"FunctionName": unquote(in_path[1])} if in_path else {}
    return queried | (body if isinstance(body, dict) else {}) | named


def _authorize(self: Any, resource: str = "*") -> None:  # noqa: ANN401
    """As moto, once for each action and resource the request needs."""
    service = self.boto3_service_name
    if service not in _KNOWN_SERVICES:
        _moto_authorize(self, resource)
        return
    asked = moto_private.action_of(self)
    request = _parameters(self)
    if self.method in {"GET", "DELETE"}:
        # moto keeps the headers here where a request has no parameters, and would sign them as its body
        self.data = {}
    with conditions.known(condition_values(service, request, self.region)):
        for action, found in permissions_of(service, asked, request, self.region):
            with moto_private.as_action(self, action):
                _moto_authorize(self, found)


def _check_action_permitted(self: Any, resource: str) -> None:  # noqa: ANN401
    moto_private.set_action(self, _NAMES)
    _moto_check_action_permitted(self, resource)


_moto_authorize = moto_private.authorize_action(moto_responses.BaseResponse)
_moto_check_action_permitted = access_control.IAMRequestBase.check_action_permitted


def install() -> None:
    """Put this in the place of moto's."""
    conditions.install()
    moto_private.replace_authorize(moto_responses.BaseResponse, _authorize)
    # Any: methods are replaced
    request: Any = access_control.IAMRequestBase
    request.check_action_permitted = _check_action_permitted
