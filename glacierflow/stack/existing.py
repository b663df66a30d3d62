"""What is there before a stack is made: reserved invocations, and what a deleted stack left."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.faults import is_denied
from glacierflow.settings.models import Storage
from glacierflow.stack.deploy import describe
from glacierflow.stack.templates import MAIN, Template, load_template, stack_name

_PARAMETER = "ReservedConcurrency"
_LEFT_TO_OTHERS = 100
"""Invocations at once that AWS keeps for functions without a reservation (Lambda's documentation,
"Configuring reserved concurrency"); accounts that may run fewer in all can reserve none."""

_KINDS = {"BucketName": (":s3:::", "bucket"), "RepositoryName": (":repository/", "image repository")}
"""Of each parameter: what stands before the name in an ARN, and what it is."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What the stack of the function is told of its reservation."""

    parameters: Mapping[str, str]
    """Empty where the value stays as it was asked for, or as the template has it."""
    note: str | None = None
    """What a person should know."""


def fit_reservation(cloud: Cloud, base: str, given: Mapping[str, str]) -> Fit:
    """A reservation that the account can hold: as asked for, or less where nobody asked for it by hand.

    Args:
        cloud: which AWS; the embedded cloud has no limit of this kind.
        base: name of the main stack.
        given: parameters by hand and from the settings.

    Raises:
        UsageError: the value that was given by hand does not fit; the sentence says which one does.
    """
    if cloud.embedded:
        return Fit({})
    state = describe(cloud, stack_name(base, "lambda"))
    known = {name: str(one.get("Default", "")) for name, one in load_template("lambda").parameters.items()}
    known |= {} if state is None else {name: value for name, value in state.parameters.items() if value}
    wanted = given.get(_PARAMETER, known[_PARAMETER])
    if not wanted.isdecimal() or int(wanted) == 0:
        return Fit({})
    try:
        name = (known | dict(given))["FunctionName"] or stack_name(base, "lambda")
        room = _room(cloud, name if state else None)
    except (UsageError, UnavailableError) as error:
        return Fit(
            {}, f"could not check whether {wanted} invocations at once can be reserved: {error.message}"
        )
    if int(wanted) <= room:
        return Fit({})
    why = f"the account can reserve {room} of its invocations at once in {cloud.region}, not {wanted}"
    if _PARAMETER in given:
        raise UsageError(
            why, next_step=f"give --set {_PARAMETER}={room}{'' if room else ', which reserves none'}"
        )
    less = f"{room} are reserved" if room else "none is reserved, and the account's own limit holds"
    return Fit({_PARAMETER: str(room)}, f"{why}: {less}")


def _room(cloud: Cloud, function: str | None) -> int:
    """How many can be reserved for this function, with what it has reserved already."""
    client = cloud.client("lambda")
    with plain_errors("read the account's limits", service="Lambda"):
        limits = client.get_account_settings()["AccountLimit"]
        own = 0
        if function is not None:
            try:
                answer = client.get_function_concurrency(FunctionName=function)
                own = answer.get("ReservedConcurrentExecutions", 0)
            except client.exceptions.ResourceNotFoundException:
                own = 0
    room: int = limits["UnreservedConcurrentExecutions"] + own - _LEFT_TO_OTHERS
    return max(0, room)


def adopt(cloud: Cloud, template: Template, base: str, told: Mapping[str, str]) -> dict[str, str]:
    """With the bucket and the repository that an earlier stack left, in place of making them.

    A name that is given is looked for; else what carries this stack's tags; else the default name.

    Args:
        cloud: which AWS.
        template: the main one.
        base: name of the stack, which is not there yet.
        told: values by parameter, as far as they are known.

    Raises:
        UsageError: a bucket belongs to somebody else, several were left, or nobody may look for tags.
    """
    adopted = dict(told)
    there = {"BucketName": has_bucket, "RepositoryName": _has_repository}
    open_ = [name for name in _KINDS if not told.get(_existing(name))]
    left = _tagged(cloud, base) if any(not told.get(name) for name in open_) else []
    for name in open_:
        wanted = told.get(name) or _left(name, left, base) or _default(name, cloud, template)
        if there[name](cloud, wanted):
            adopted[_existing(name)] = wanted
    return adopted


def options_for(outputs: Mapping[str, str]) -> str:
    """What `stack deploy` must be told to use again what a stack left, with a space before each option.

    The bucket is always named, which holds where several were left; the repository where it is not the usual.

    Args:
        outputs: of the main stack, as long as it was there.
    """
    bucket, repository = outputs["Bucket"], outputs["RepositoryName"]
    named = {"BucketName": bucket}
    if repository != load_template(MAIN).parameters["RepositoryName"]["Default"]:
        named["RepositoryName"] = repository
    return "".join(f" --set {name}={shlex.quote(value)}" for name, value in named.items())


def account_of(cloud: Cloud) -> str:
    """Number of the account the credentials belong to."""
    with plain_errors("ask which account this is", service="STS"):
        account: str = cloud.client("sts").get_caller_identity()["Account"]
        return account


def has_bucket(cloud: Cloud, bucket: str) -> bool:
    """Whether there is a bucket of this name, to be used by this account.

    Raises:
        UsageError: there is, and it is not.
    """
    from botocore.exceptions import ClientError

    with plain_errors(f"look for the bucket {bucket}", service="S3"):
        try:
            cloud.client("s3").head_bucket(Bucket=bucket)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in {"404", "NoSuchBucket"}:
                return False
            if code == "403":
                raise UsageError(
                    f"the bucket {bucket} belongs to somebody else, or you may not use it",
                    next_step="name another with --s3-bucket, or s3_bucket in aws_config.ini",
                ) from error
            raise
    return True


def has_function(cloud: Cloud, name: str) -> bool:
    """Whether there is a function of this name; False where nobody may ask, as CloudFormation will."""
    from botocore.exceptions import ClientError

    with plain_errors(f"look for the function {name}", service="Lambda"):
        try:
            cloud.client("lambda").get_function(FunctionName=name)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ResourceNotFoundException" or is_denied(code):
                return False
            raise
    return True


def has_log_group(cloud: Cloud, name: str) -> bool:
    """Whether there is a log group of this name; False where nobody may ask."""
    from botocore.exceptions import ClientError

    with plain_errors(f"look for the log group {name}", service="CloudWatch Logs"):
        try:
            found = cloud.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        except ClientError as error:
            if is_denied(error.response["Error"]["Code"]):
                return False
            raise
    # names that merely begin so come after it
    return any(one.get("logGroupName") == name for one in found)


def _existing(name: str) -> str:
    """``ExistingBucket`` for ``BucketName``."""
    return f"Existing{name.removesuffix('Name')}"


def _default(name: str, cloud: Cloud, template: Template) -> str:
    """The name a stack gives that is told none; the embedded cloud has a bucket from its start."""
    if name == "RepositoryName":
        return str(template.parameters[name]["Default"])
    return Storage().s3_bucket if cloud.embedded else f"glacierflow-{account_of(cloud)}-{cloud.region}"


def _left(name: str, arns: list[str], base: str) -> str | None:
    before, kind = _KINDS[name]
    names = sorted(arn.partition(before)[2] for arn in arns if before in arn)
    if len(names) > 1:
        raise UsageError(
            f"earlier stacks {base} left more than one {kind}: {', '.join(names)}",
            next_step=f"say which to use, or name a new one: add --set {name}={names[0]}",
        )
    return names[0] if names else None


def _tagged(cloud: Cloud, base: str) -> list[str]:
    """ARNs of buckets and repositories that stacks of this name made, wherever they are now."""
    from botocore.exceptions import ClientError

    tags = {"project": "glacierflow", "stack": base}
    with plain_errors("look for what an earlier stack left", service="the Resource Groups Tagging API"):
        pages = cloud.client("resourcegroupstaggingapi").get_paginator("get_resources")
        try:
            found = pages.paginate(
                TagFilters=[{"Key": key, "Values": [value]} for key, value in tags.items()],
                ResourceTypeFilters=["s3", "ecr:repository"],
            ).build_full_result()["ResourceTagMappingList"]
        except ClientError as error:
            if is_denied(error.response["Error"]["Code"]):
                raise UsageError(
                    "you may not look for a bucket that an earlier stack left (tag:GetResources)",
                    next_step="ask for the permission, or say both: --set BucketName=NAME"
                    " --set RepositoryName=glacierflow",
                ) from error
            raise
    return [one["ResourceARN"] for one in found]


def _has_repository(cloud: Cloud, repository: str) -> bool:
    # Any: only AWS's own errors tell whether it is there
    client: Any = cloud.client("ecr")
    with plain_errors(f"look for the repository {repository}", service="ECR"):
        try:
            client.describe_repositories(repositoryNames=[repository])
        except client.exceptions.RepositoryNotFoundException:
            return False
    return True
