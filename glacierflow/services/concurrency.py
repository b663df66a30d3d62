"""How many invocations at once an account lets a function reserve, asked before a stack would fail of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glacierflow.aws import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.services.failures import plain_errors
from glacierflow.services.stack import describe
from glacierflow.services.templates import load_template, stack_name

__all__ = ["Fit", "fit_reservation"]

_PARAMETER = "ReservedConcurrency"
_LEFT_TO_OTHERS = 100
"""Invocations at once that AWS keeps for functions without a reservation (Lambda's documentation,
"Configuring reserved concurrency"); accounts that may run fewer in all can reserve none."""


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
        room = _room(cloud, (known | dict(given))["FunctionName"] if state else None)
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
