"""Values of parameters against what their templates allow, before AWS or the embedded cloud is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from glacierflow.errors import UsageError
from glacierflow.services.templates import Template

__all__ = ["check_values"]

Json = dict[str, Any]


def check_values(given: Mapping[str, str], templates: Iterable[Template]) -> None:
    """Refuse a value that CloudFormation would refuse, and the embedded cloud would take.

    Args:
        given: values by parameter, for all templates together; a list is one text with commas.
        templates: what is to be deployed; a parameter that none of them has is passed over.

    Raises:
        UsageError: with the parameter, the value, and what is allowed.
    """
    for template in templates:
        for name, value in given.items():
            if name in template.parameters:
                _check(name, value, template.parameters[name])


def _check(name: str, value: str, declared: Json) -> None:
    kind = str(declared["Type"])
    is_list = "List" in kind
    for one in (part.strip() for part in value.split(",")) if is_list else (value,):
        for allowed in _broken(one, kind, declared):
            raise UsageError(
                f"the parameter {name} = {one} is not accepted",
                next_step=f"give --set {name}=VALUE, or its key in aws_config.ini, with {allowed}",
            )


def _broken(value: str, kind: str, declared: Json) -> Iterator[str]:
    """What would be allowed in place of the value, for each rule that it breaks."""
    choices = [str(one) for one in declared.get("AllowedValues", ())]
    if choices and value not in choices:
        yield f"one of {', '.join(choices)}"
    if kind in {"Number", "List<Number>"}:
        low, high = (declared.get(key) for key in ("MinValue", "MaxValue"))
        number = _number(value)
        if number is None:
            yield "a number"
        elif (low is not None and number < float(low)) or (high is not None and number > float(high)):
            yield f"a number{_span(low, high)}"
        return
    shortest, longest = (declared.get(key) for key in ("MinLength", "MaxLength"))
    if (shortest and len(value) < int(shortest)) or (longest and len(value) > int(longest)):
        yield f"a number of characters{_span(shortest, longest)}"
    pattern = declared.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, value):
        yield str(declared.get("ConstraintDescription") or f"what matches {pattern}")


def _span(low: object, high: object) -> str:
    """`` from 1 to 9``, with one end where only one is set."""
    ends = (("from", low), ("to", high))
    return "".join(f" {word} {end}" for word, end in ends if end is not None)


def _number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value.strip()) else None
