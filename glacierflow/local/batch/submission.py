"""SubmitJob: what AWS checks, the job that comes of it, and the retry strategies it accepts."""

from __future__ import annotations

import json
import re
from typing import Any

from moto.batch.exceptions import ClientException
from moto.batch.models import JobDefinition

from glacierflow.local.batch.jobs import Job, JobSpec

Json = dict[str, Any]

MAX_PAYLOAD_BYTES = 30 * 1024
MAX_OVERRIDES_CHARACTERS = 8192
MAX_DEPENDENCIES = 20
MIN_TIMEOUT_S = 60
ARRAY_SIZES = range(2, 10_001)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")

MAX_ATTEMPTS, MAX_RULES, MAX_PATTERN = 10, 5, 512

_TEXT_PATTERN = re.compile(r"[A-Za-z0-9.:\s]*\*?")
_CODE_PATTERN = re.compile(r"[0-9]*\*?")
_CONDITIONS = ("onStatusReason", "onReason", "onExitCode")


def check_timeout(timeout: Json | None) -> None:
    """Refuse a timeout below Batch's minimum of 60 s."""
    if timeout and timeout.get("attemptDurationSeconds", MIN_TIMEOUT_S) < MIN_TIMEOUT_S:
        raise ClientException(f"attemptDurationSeconds must be at least {MIN_TIMEOUT_S} seconds.")


def check_environment(variables: list[Json] | None) -> None:
    """Refuse names that Batch keeps for itself."""
    for variable in variables or []:
        if str(variable.get("name", "")).startswith("AWS_BATCH"):
            raise ClientException(
                f"Environment variable {variable['name']} starts with AWS_BATCH, which is reserved."
            )


def _check(request: Json) -> None:
    if len(json.dumps(request)) > MAX_PAYLOAD_BYTES:
        raise ClientException("SubmitJob request payload must be at most 30 KiB.")
    if not _NAME.fullmatch(request.get("jobName") or ""):
        raise ClientException("Job name should match valid pattern: ^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")
    size = array_size(request)
    if size is not None and size not in ARRAY_SIZES:
        raise ClientException("Array size must be between 2 and 10000.")
    check_retry_strategy(request.get("retryStrategy"))
    check_timeout(request.get("timeout"))
    check_environment((request.get("containerOverrides") or {}).get("environment"))
    if len(request.get("dependsOn") or []) > MAX_DEPENDENCIES:
        raise ClientException(f"A job can depend on at most {MAX_DEPENDENCIES} jobs.")


def array_size(request: Json) -> int | None:
    """Size of the array asked for; None for a plain job."""
    size: int | None = (request.get("arrayProperties") or {}).get("size")
    return size


def make_spec(request: Json, definition: JobDefinition, queue_arn: str, region: str) -> JobSpec:
    """The definition with the request's overrides.

    Raises:
        ClientException: AWS would refuse the request.
    """
    _check(request)
    container: Json = definition.container_properties or {}
    overrides: Json = request.get("containerOverrides") or {}
    resources = _merged(container, overrides, "resourceRequirements", "type")
    log = (container.get("logConfiguration") or {}).get("options", {})
    timeout = request.get("timeout") or definition.timeout or {}
    too_long = len(json.dumps(overrides)) > MAX_OVERRIDES_CHARACTERS
    return JobSpec(
        name=request["jobName"],
        region=region,
        queue=queue_arn,
        definition=definition.arn,
        image=container.get("image", ""),
        command=overrides.get("command") or container.get("command") or [],
        environment=_merged(container, overrides, "environment", "name"),
        # "vcpus" and "memory" are the old way to say it, which AWS still takes
        vcpus=float(resources.get("VCPU") or container.get("vcpus") or 1),
        memory_mib=int(resources.get("MEMORY") or container.get("memory") or 512),
        retry=request.get("retryStrategy") or definition.retry_strategy or {},
        timeout_s=timeout.get("attemptDurationSeconds"),
        log_group=log.get("awslogs-group", "/aws/batch/job"),
        log_prefix=log.get("awslogs-stream-prefix", definition.name[:200]),
        parameters={**(definition.parameters or {}), **(request.get("parameters") or {})},
        depends_on=request.get("dependsOn") or [],
        tags=request.get("tags") or {},
        propagate_tags=bool(request.get("propagateTags", definition.propagate_tags)),
        user=container.get("user"),
        read_only=bool(container.get("readonlyRootFilesystem")),
        start_error="Container Overrides length must be at most 8192" if too_long else None,
    )


def _merged(container: Json, overrides: Json, what: str, key: str) -> dict[str, str]:
    entries = [*(container.get(what) or []), *(overrides.get(what) or [])]
    return {entry[key]: str(entry.get("value", "")) for entry in entries}


def dependencies_of(job: Job, known: dict[str, Job]) -> dict[Job, list[Job]]:
    """What each unit of the job has to wait for.

    Raises:
        ClientException: a job that does not exist, or a kind of dependency that does not fit.
    """
    needed: dict[Job, list[Job]] = {unit: [] for unit in job.units}
    for dependency in job.spec.depends_on:
        kind, other_id = dependency.get("type"), dependency.get("jobId")
        if kind == "SEQUENTIAL" and not other_id:
            if not job.children:
                raise ClientException("SEQUENTIAL dependencies are for array jobs.")
            for before, after in zip(job.children, job.children[1:], strict=False):
                needed[after].append(before)
            continue
        other = known.get(other_id or "")
        if other is None:
            raise ClientException(f"Dependency job {other_id} does not exist.")
        if kind == "N_TO_N":
            if len(other.children) != len(job.children) or not job.children:
                raise ClientException("N_TO_N dependencies need two array jobs of the same size.")
            for unit, partner in zip(job.children, other.children, strict=True):
                needed[unit].append(partner)
        else:
            for unit in needed:
                needed[unit].append(other)
    return needed


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
