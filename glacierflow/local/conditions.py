"""Conditions of IAM and bucket policies: a statement whose condition does not hold says nothing, as on AWS.

moto takes it for a refusal, and so would refuse every request to a bucket that demands TLS. The embedded
endpoint counts as TLS. Keys and operators that are not known here never hold.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult

from glacierflow.local import moto_private
from glacierflow.local.options import ACCOUNT_ID

__all__ = ["holds", "install", "known"]

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


def install() -> None:
    """Put this in the place of moto's."""
    # Any: a method is replaced
    statement: Any = IAMPolicyStatement
    statement.is_action_permitted = _is_action_permitted
