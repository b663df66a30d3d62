"""Who may do what: policies enforced, conditions of policies, and buckets whose requester pays.

moto asks for ``batch:submitjob`` on ``*``; IAM wants ``batch:SubmitJob`` on the queue and on the job
definition, and ``batch:TagResource`` where the job is tagged. Enforcement is off until a POST to
``/moto-api/reset-auth`` turns it on.

moto takes it for a refusal, and so would refuse every request to a bucket that demands TLS. The embedded
endpoint counts as TLS. Keys and operators that are not known here never hold.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

import moto.ecs.models as moto_ecs
from moto.core import responses as moto_responses
from moto.iam import access_control
from moto.iam.access_control import IAMPolicyStatement, PermissionResult

from glacierflow.local import moto_private
from glacierflow.local.options import ACCOUNT_ID

_KNOWN_SERVICES = {"batch", "logs", "ecr", "cloudformation", "sns", "sqs", "lambda", "ecs", "stepfunctions"}

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

_KNOWN = {"aws:securetransport": "true", "aws:sourceaccount": ACCOUNT_ID}

_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "StringEquals": lambda wanted, value: wanted == value,
    "StringNotEquals": lambda wanted, value: wanted != value,
    "StringLike": lambda wanted, value: fnmatch.fnmatchcase(value, wanted),
    "ArnEquals": lambda wanted, value: fnmatch.fnmatchcase(value, wanted),
    "ArnLike": lambda wanted, value: fnmatch.fnmatchcase(value, wanted),
}


_of_this_request: ContextVar[Mapping[str, str]] = ContextVar("of_this_request", default={})  # noqa: B039 - never changed

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

ALWAYS_REQUESTER_PAYS = frozenset({"usgs-landsat"})
"""Real buckets that archives stand in for."""

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>embedded</RequestId></Error>"
)
_MAX_BODY = 4096


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
        "sqs": lambda: f"arn:aws:sqs:{place}:{request['QueueUrl'].rpartition('/')[2]}",
    }
    named = {
        "lambda": "FunctionName",
        "stepfunctions": "stateMachineArn" if "stateMachineArn" in request else "executionArn",
        "logs": "logGroupName",
        "ecr": "repositoryName",
        "cloudformation": "StackName",
        "sns": "TopicArn",
        "sqs": "QueueUrl",
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
    with known(condition_values(service, request, self.region)):
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
    install_conditions()
    moto_private.replace_authorize(moto_responses.BaseResponse, _authorize)
    # Any: methods are replaced
    request: Any = access_control.IAMRequestBase
    request.check_action_permitted = _check_action_permitted


@contextlib.contextmanager
def known(values: Mapping[str, str]) -> Iterator[None]:
    """Values of condition keys that hold for the request being authorized."""
    token = _of_this_request.set(values)
    try:
        yield
    finally:
        _of_this_request.reset(token)


def holds(condition: Mapping[str, Mapping[str, Any]], values: Mapping[str, str]) -> bool:
    """Whether every operator of a ``Condition`` holds for one of its values."""
    known = _KNOWN | {key.lower(): value for key, value in values.items()}
    for operator, wants in condition.items():
        compare = _OPERATORS.get(operator)
        for key, wanted in wants.items():
            value = known.get(key.lower())
            options = wanted if isinstance(wanted, list) else [wanted]
            if compare is None or value is None or not any(compare(str(one), value) for one in options):
                return False
    return True


def _is_action_permitted(
    self: Any,  # noqa: ANN401 - an IAMPolicyStatement
    action: str,
    resource: str = "*",
    principal: str | None = None,
    incoming_condition_values: dict[str, str] | None = None,
) -> PermissionResult:
    statement = moto_private.statement_of(self)
    condition = statement.get("Condition")
    values = {**_of_this_request.get(), **(incoming_condition_values or {})}
    if condition and not holds(condition, values):
        return PermissionResult.NEUTRAL
    bare = {name: value for name, value in statement.items() if name != "Condition"}
    return _moto_is_action_permitted(IAMPolicyStatement(bare), action, resource, principal)


_moto_is_action_permitted = IAMPolicyStatement.is_action_permitted


def install_conditions() -> None:
    """Put this in the place of moto's."""
    # Any: a method is replaced
    statement: Any = IAMPolicyStatement
    statement.is_action_permitted = _is_action_permitted


class RequesterPays:
    """WSGI middleware in front of S3; also answers Get- and PutBucketRequestPayment."""

    def __init__(self, app: WsgiApp, changed: Callable[[], None]) -> None:
        self._app = app
        self._changed = changed
        self.buckets: set[str] = set()
        """Buckets set to Requester by PutBucketRequestPayment."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer, refuse, or pass on."""
        bucket, _, key = environ.get("PATH_INFO", "").lstrip("/").partition("/")
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if bucket and not key and "requestPayment" in query and _is_s3(environ):
            return self._configuration(bucket, environ, start_response)
        if self._applies(bucket, key, environ) and not _offers_to_pay(environ, query):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [_DENIED]
        return self._app(environ, start_response)

    def _applies(self, bucket: str, key: str, environ: dict[str, Any]) -> bool:
        """Objects and listings are what is paid for; creating or inspecting the bucket is not."""
        if bucket not in ALWAYS_REQUESTER_PAYS | self.buckets or not _is_s3(environ):
            return False
        return bool(key) or environ["REQUEST_METHOD"] == "GET"

    def _configuration(
        self, bucket: str, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            size = min(int(environ.get("CONTENT_LENGTH") or 0), _MAX_BODY)
            payer = re.search(rb"<Payer>\s*(\w+)\s*</Payer>", environ["wsgi.input"].read(size))
            if payer and payer[1] == b"Requester":
                self.buckets.add(bucket)
            else:
                self.buckets.discard(bucket)
            self._changed()
            start_response("200 OK", [("Content-Length", "0")])
            return []
        payer_name = "Requester" if bucket in ALWAYS_REQUESTER_PAYS | self.buckets else "BucketOwner"
        body = (
            f'<RequestPaymentConfiguration xmlns="{_NAMESPACE}"><Payer>{payer_name}</Payer>'
            "</RequestPaymentConfiguration>"
        ).encode()
        start_response("200 OK", [("Content-Type", "application/xml")])
        return [body]


def _is_s3(environ: dict[str, Any]) -> bool:
    """Signed for S3, or not signed at all, which moto also takes for S3."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    return not authorization or "/s3/aws4_request" in authorization


def _offers_to_pay(environ: dict[str, Any], query: dict[str, list[str]]) -> bool:
    in_query = query.get("x-amz-request-payer", [""])[0]
    return "requester" in (environ.get("HTTP_X_AMZ_REQUEST_PAYER"), in_query)
