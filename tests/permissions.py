"""What our code asks of AWS, read from the code: for the rights of each role, and the page about them.

``python tests/permissions.py`` writes docs/reference/permissions.md anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import grimp
from botocore import xform_name

ROOT = Path(__file__).parents[1]

IAM_NAMES = {
    "s3:ListObjectsV2": ("s3:ListBucket",),
    "s3:ListObjectVersions": ("s3:ListBucketVersions",),
    "s3:HeadBucket": ("s3:ListBucket",),
    "s3:HeadObject": ("s3:GetObject",),
    "s3:CopyObject": ("s3:GetObject", "s3:PutObject"),
    "s3:DeleteObjects": ("s3:DeleteObject",),
    "s3:CreateMultipartUpload": ("s3:PutObject",),
    "s3:UploadPart": ("s3:PutObject",),
    "s3:CompleteMultipartUpload": ("s3:PutObject",),
    "s3:GetBucketEncryption": ("s3:GetEncryptionConfiguration",),
    "s3:ListBuckets": ("s3:ListAllMyBuckets",),
    "lambda:Invoke": ("lambda:InvokeFunction",),
    "stepfunctions:StartExecution": ("states:StartExecution",),
}
"""Operation -> actions, where they are not called alike (service authorization reference)."""
PREFIXES = {"stepfunctions": "states", "resourcegroupstaggingapi": "tag", "service-quotas": "servicequotas"}
"""Service of boto3 -> prefix of IAM."""
FREE = {"sts:GetCallerIdentity"}
"""Needs no permission (STS API reference)."""


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("glacierflow", exclude_type_checking_imports=True, cache_dir=None)


@cache
def operations(service: str) -> dict[str, str]:
    """Method of a boto3 client -> operation."""
    model = botocore.session.get_session().get_service_model(service)
    return {xform_name(name): name for name in model.operation_names}


@cache
def _tree(module: str) -> ast.Module:
    path = ROOT / module.replace(".", "/")
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


@cache
def called_in(module: str) -> frozenset[str]:
    """Actions that the calls in one module need: methods of the services it has a client of."""
    services, methods = set(), set()
    for node in ast.walk(_tree(module)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        first = node.args[0] if node.args else None
        text = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        if node.func.attr in {"client", "imagery_client", "create_client"}:
            services |= {text} if text else {"s3"} if node.func.attr == "imagery_client" else set()
        elif node.func.attr in {"get_paginator", "can_paginate"} and text:
            methods.add(text)
        else:
            methods.add(node.func.attr)
    return frozenset(
        action
        for service in services
        for method, operation in operations(service).items()
        if method in methods
        for action in actions_of(service, operation)
    )


def actions_of(service: str, operation: str) -> tuple[str, ...]:
    named = IAM_NAMES.get(f"{service}:{operation}")
    return named or (f"{PREFIXES.get(service, service)}:{operation}",)


def reached(*roots: str) -> set[str]:
    """Modules that some modules are or import; the embedded cloud is no caller of AWS."""
    found = set(roots)
    for root in roots:
        found |= imports().find_upstream_modules(root)
    return {name for name in found if not name.startswith("glacierflow.local")}


def calls(*roots: str) -> Iterator[tuple[str, str]]:
    """Action and module of every call that some modules, or what they import, make."""
    for module in sorted(reached(*roots)):
        for action in sorted(called_in(module) - FREE):
            yield action, module


ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "child": (("template/JobRole",), ("glacierflow.task",)),
    "function": (("lambda/LambdaRole",), ("glacierflow.functions.handler",)),
    "scheduler": (
        ("schedule/SchedulerRole", "template/SubmitterPolicy"),
        ("glacierflow.functions.scheduler.handler",),
    ),
    "submitter": (
        (
            "template/SubmitterPolicy",
            "lambda/SubmitterPolicy",
            "ecs/SubmitterPolicy",
            "stepfunctions/SubmitterPolicy",
        ),
        ("glacierflow.cli.batch", "glacierflow.cli.logs", "glacierflow.doctor", "glacierflow.cli.results"),
    ),
}
"""Role -> policies it has, those attached to it included; and the modules that run under it."""

_DEPLOYS = "deploying, in a module that the role needs for DescribeStacks alone"
_SYNC = "sync and clean, for whoever keeps the bucket"
_CHANGE = ("CreateChangeSet", "DeleteChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "DeleteStack")
_STACK = {f"cloudformation:{name}": _DEPLOYS for name in (*_CHANGE, "DescribeStackEvents")}
_UPDATE = {"lambda:UpdateFunctionCode": "lambda deploy, for whoever deploys"}
_LOOKS = "a look at a run on ECS, which the scheduler never starts"
NOT_THEIRS: dict[str, dict[str, str]] = {
    "child": {},
    "function": {
        **_STACK,
        **_UPDATE,
        "cloudformation:DescribeStacks": "looking for the function by its stack: it knows its own name",
        "lambda:GetFunction": "finding the function before it is called: it knows its own name",
        "s3:DeleteObject": _SYNC,
    },
    "scheduler": {
        **_STACK,
        **_UPDATE,
        "batch:TerminateJob": "cancelling, for people: denied",
        "ecs:DescribeTaskDefinition": _LOOKS,
        "ecs:DescribeTasks": _LOOKS,
        "ecs:RunTask": "launching on ECS, which the scheduler never does",
        "ecs:StopTask": _LOOKS,
        "lambda:InvokeFunction": "calling the function, which the state machine does",
        "s3:DeleteObject": _SYNC,
        "states:StopExecution": "cancelling, for people",
    },
    "submitter": {**_STACK, **_UPDATE, "s3:DeleteObject": _SYNC},
}
"""Role -> call that a module it imports makes, and the role does not; and when it is made."""


def missing(role: str, allowed: set[str]) -> dict[str, str]:
    """Calls of a role that nothing allows, with their module."""
    _, roots = ROLES[role]
    own = [
        name for name in imports().modules if name in roots or name.startswith(tuple(f"{r}." for r in roots))
    ]
    return {
        action: module
        for action, module in calls(*own)
        if action not in allowed and action not in NOT_THEIRS[role]
    }


def page(statements: list[tuple[str, dict[str, object]]]) -> str:
    """The table of every role: action, resource, and which modules call it."""
    text = _HEAD
    for role, (policies, roots) in ROLES.items():
        own = [
            name
            for name in imports().modules
            if name in roots or name.startswith(tuple(f"{r}." for r in roots))
        ]
        where: dict[str, set[str]] = {}
        for action, module in calls(*own):
            where.setdefault(action, set()).add(module.removeprefix("glacierflow."))
        text += f"\n## The {role}\n\nPolicies: {', '.join(f'`{one}`' for one in policies)}.\n\n"
        text += "| may | on | called in |\n|---|---|---|\n"
        for policy, statement in statements:
            if policy in policies and statement["Effect"] == "Allow":
                for action in sorted(listed(statement["Action"])):
                    by = (
                        ", ".join(f"`{one}`" for one in sorted(where.get(action, ())))
                        or "AWS, or a call above"
                    )
                    resources = "<br>".join(
                        f"`{one.split(':', 5)[-1]}`" for one in listed(statement["Resource"])
                    )
                    text += f"| `{action}` | {resources} | {by} |\n"
        kept = NOT_THEIRS[role]
        if kept:
            text += "\nNot allowed, although a module it imports could ask for it:\n\n"
            text += "".join(f"- `{action}`: {reason}\n" for action, reason in sorted(kept.items()))
    return text


def listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


_HEAD = """# Permissions of each role

This page is made from the code and the templates (`python tests/permissions.py`). A test compares what
the code calls with what the policies allow: no call is refused, and nothing is allowed that is not called
by us, or by AWS in our name. Resources are those of a stack with default names. The roles that AWS itself
uses (execution, instance, state machine) are described in the templates. `glacierflow stack policies DIR`
writes the policies of your own stack.
"""


if __name__ == "__main__":
    from test_policies import statements

    (ROOT / "docs/reference/permissions.md").write_text(page(statements()))
