"""Retry strategies as AWS Batch accepts and applies them."""

from __future__ import annotations

import re
from typing import Any

from moto.batch.exceptions import ClientException

__all__ = ["check_retry_strategy", "should_retry"]

MAX_ATTEMPTS, MAX_RULES, MAX_PATTERN = 10, 5, 512

_TEXT_PATTERN = re.compile(r"[A-Za-z0-9.:\s]*\*?")
_CODE_PATTERN = re.compile(r"[0-9]*\*?")
_CONDITIONS = ("onStatusReason", "onReason", "onExitCode")


def check_retry_strategy(strategy: dict[str, Any] | None) -> None:
    """Refuse what AWS refuses.

    Raises:
        ClientException: attempts outside 1..10, too many rules, rules without attempts, an unknown action,
            or a pattern with characters AWS calls restricted.
    """
    if not strategy:
        return
    attempts, rules = strategy.get("attempts"), strategy.get("evaluateOnExit") or []
    if attempts is not None and not 1 <= attempts <= MAX_ATTEMPTS:
        raise ClientException(f"Error executing request, Exception : Attempts must be 1 to {MAX_ATTEMPTS}.")
    if rules and attempts is None:
        raise ClientException("Attempts must be specified when evaluateOnExit is specified.")
    if len(rules) > MAX_RULES:
        raise ClientException(f"evaluateOnExit must have {MAX_RULES} conditions or less.")
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: dict[str, str]) -> None:
    if str(rule.get("action", "")).upper() not in {"RETRY", "EXIT"}:
        raise ClientException("Evaluate on exit action must be RETRY or EXIT.")
    for name in _CONDITIONS:
        pattern = rule.get(name)
        if pattern is None:
            continue
        allowed = _CODE_PATTERN if name == "onExitCode" else _TEXT_PATTERN
        if not pattern or len(pattern) > MAX_PATTERN or not allowed.fullmatch(pattern):
            raise ClientException("Evaluate on exit condition contains restricted characters.")


def should_retry(
    strategy: dict[str, Any], *, exit_code: int | None, reason: str | None, status_reason: str
) -> bool:
    """Whether a failed attempt is worth another one by the rules; the number of attempts is not looked at.

    The first rule all of whose conditions match decides; where none does, Batch retries.
    """
    facts = {
        "onExitCode": None if exit_code is None else str(exit_code),
        "onReason": reason or "",
        "onStatusReason": status_reason,
    }
    for rule in strategy.get("evaluateOnExit") or []:
        if all(_matches(rule[name], facts[name]) for name in _CONDITIONS if rule.get(name)):
            return str(rule["action"]).upper() == "RETRY"
    return True


def _matches(pattern: str, value: str | None) -> bool:
    if value is None:
        return False
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern
