"""What AWS Batch's and ECS's own words mean: the strings they document, as one table.

Sources: AWS Batch user guide (job retries, jobs stuck in RUNNABLE, time limit actions), Amazon ECS developer
guide (stopped task errors).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from glacierflow.runs.states import FORGOTTEN, AttemptState, Evidence, FailureClass, Verdict

_STUCK = re.compile(r"(CAPACITY|MISCONFIGURATION|ACTION_REQUIRED|UNDETERMINED)(?::(\w+))?")
_STUCK_SENTENCES: dict[str, tuple[FailureClass, str, str]] = {
    "INSUFFICIENT_INSTANCE_CAPACITY": (
        "capacity",
        "AWS had no machine of the allowed types to give",
        "`retry --only capacity` sends it to the on-demand queue; more instance families or zones help too",
    ),
    "COMPUTE_ENVIRONMENT_MAX_RESOURCE": (
        "config",
        "the job asks for more vCPUs than the compute environment may ever have (maxvCpus)",
        "raise maxvCpus of the stack, or use a smaller memory class",
    ),
    "JOB_RESOURCE_REQUIREMENT": (
        "config",
        "the job asks for more memory or vCPUs than any allowed instance type offers",
        "allow larger instance types in the stack, or use a smaller memory class",
    ),
    "EC2_INSTANCE_CONFIGURATION_UNSUPPORTED": (
        "config",
        "EC2 cannot start the instances as the compute environment describes them",
        "check instance types, image and launch template: `glacierflow doctor`",
    ),
    "SERVICE_ROLE_PERMISSIONS": (
        "config",
        "AWS Batch's service role lacks a permission it needs to start machines",
        "use the service-linked role, or add what it lacks: `glacierflow doctor`",
    ),
    "ACTION_REQUIRED": (
        "config",
        "a compute environment of the queue is invalid or disabled",
        "see `glacierflow batch queue` for the environment and its reason",
    ),
}
_STUCK_OTHERWISE: dict[str, tuple[FailureClass, str, str]] = {
    "CAPACITY": _STUCK_SENTENCES["INSUFFICIENT_INSTANCE_CAPACITY"],
    "MISCONFIGURATION": (
        "config",
        "AWS Batch finds the queue misconfigured for this job",
        "see `glacierflow batch queue` and `glacierflow doctor`",
    ),
    "ACTION_REQUIRED": _STUCK_SENTENCES["ACTION_REQUIRED"],
    "UNDETERMINED": (
        "capacity",
        "it waited at the head of the queue and AWS Batch does not know why",
        "see `glacierflow batch queue`; vCPU quota and network are the usual causes: `glacierflow doctor`",
    ),
}


def judge_waiting(reason: str) -> Verdict | None:
    """What blocks a waiting job, where Batch says that it is stuck."""
    found = _STUCK.search(reason)
    if found is None:
        return None
    known = _STUCK_SENTENCES.get(found[2] or "", _STUCK_OTHERWISE[found[1]])
    return Verdict(*known, uncertain=found[1] == "UNDETERMINED")


def _text(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def judge_reasons(evidence: Evidence) -> Verdict | None:
    """What Batch's reasons tell of a job that has ended; None where they tell nothing."""
    if evidence.state not in {"FAILED", FORGOTTEN}:
        return None
    text = _text(evidence.status_reason, evidence.container_reason)
    if "JobStateTimeLimit" in text:
        stuck = judge_waiting(text) or Verdict(*_STUCK_OTHERWISE["UNDETERMINED"])
        return Verdict(
            stuck.failure, f"{stuck.sentence}, so the queue's time limit cancelled it", stuck.next_step
        )
    for pattern, rule in _BATCH_RULES:
        if pattern.search(text):
            return rule(evidence, text)
    if evidence.ended_by_request:
        return _cancelled(evidence, text)
    if evidence.cause is not None:
        return _OF_CAUSE[evidence.cause](evidence, text)
    return None


Rule = Callable[[Evidence, str], Verdict]


def _timeout(evidence: Evidence, _text: str) -> Verdict:
    ran = _ran_for(evidence.attempts)
    return Verdict(
        "timeout",
        f"it was stopped at its time limit{f' after {ran}' if ran else ''}; Batch does not retry that",
        "`retry --only timeout` gives it twice the time; what it finished is kept",
    )


def _ran_for(attempts: Sequence[AttemptState]) -> str | None:
    if not attempts or attempts[-1].started_at is None or attempts[-1].stopped_at is None:
        return None
    minutes = (attempts[-1].stopped_at - attempts[-1].started_at).total_seconds() / 60
    return f"{minutes:.0f} minutes"


def out_of_memory(_evidence: Evidence, _text: str) -> Verdict:
    """It needed more memory than it had."""
    return Verdict(
        "oom",
        "it ran out of memory",
        "`retry --only oom` gives it the next larger memory class",
    )


def reclaimed(evidence: Evidence, _text: str) -> Verdict:
    """Its machine went away."""
    count = max(1, sum(_is_reclaim(attempt) for attempt in evidence.attempts))
    times = "" if count == 1 else f" in {count} of its {len(evidence.attempts)} attempts"
    return Verdict(
        "spot",
        f"its machine was taken back{times} (a spot reclaim, or a lost host)",
        "`retry --only spot` sends it to the on-demand queue; what it finished is kept",
    )


def _cancelled(evidence: Evidence, _text: str) -> Verdict:
    said = f": {evidence.status_reason}" if evidence.status_reason else ""
    return Verdict("cancelled", f"somebody ended it{said}", "`retry --only cancelled` if it is still wanted")


def _dependency(_evidence: Evidence, _text: str) -> Verdict:
    return Verdict(
        "cancelled", "a job it depended on failed", "put that job right first, then `retry --only cancelled`"
    )


def _image_missing(evidence: Evidence, text: str) -> Verdict:
    return _config(
        "the container image could not be found in its repository",
        "push the image, or name one that exists in the job definition",
    )(evidence, text)


def _start(evidence: Evidence, text: str) -> Verdict:
    said = evidence.container_reason or evidence.status_reason or ""
    network = re.search(r"i/o timeout|context deadline|timed? ?out|no route|connection refused", text, re.I)
    alike = [one for one in evidence.attempts if _is_start(one)]
    if network and len(alike) > 1:
        return Verdict(
            "config",
            f"none of {len(alike)} attempts could reach the registry, as if there were no route: {said}",
            "give the subnets a public address, a NAT, or endpoints for ECR, logs and S3",
        )
    return Verdict(
        "start",
        f"its container could not be started: {said}",
        "`retry --only start` tries again; if it comes back, see `glacierflow doctor`",
    )


def _lost_sight(evidence: Evidence, text: str) -> Verdict:
    """Said of a container that has run: where an attempt left a trace, it is no failure to start."""
    if not evidence.started:
        return _start(evidence, text)
    return Verdict(
        "killed",
        f"its machine lost sight of it while it ran: {evidence.container_reason or evidence.status_reason}",
        "`retry --only killed` tries again; what it finished is kept",
    )


def _is_start(attempt: AttemptState) -> bool:
    return bool(_NOT_STARTED.search(_text(attempt.status_reason, attempt.reason)))


def _is_reclaim(attempt: AttemptState) -> bool:
    return bool(_RECLAIM.search(_text(attempt.status_reason, attempt.reason)))


def _config(sentence: str, next_step: str) -> Rule:
    return lambda _evidence, _text: Verdict("config", sentence, next_step)


WRONG_ARCHITECTURE = Verdict(
    "config",
    "the container image is built for another processor architecture",
    "build the image for the architecture of the instances (x86_64 or arm64)",
)
_RECLAIM = re.compile(r"Host EC2|Spot Task was interrupted|Spot interruption")
_NOT_STARTED = re.compile(
    r"Task failed to start|(DockerTimeout|ContainerRuntimeTimeout|CannotPull\w*|CannotStart\w*|"
    r"CannotCreate\w*|CannotInspect\w*|ResourceInitialization|TaskFailedToStart|InternalError)(Error|:)"
)
_PERMISSION = (
    r"unable to assume (the )?role|AssumeRole|is not authorized to perform|AccessDenied|"
    r"no basic auth credentials|403 Forbidden"
)

# The first that matches decides: an end from outside before what the container said while it was ended.
_BATCH_RULES: tuple[tuple[re.Pattern[str], Rule], ...] = (
    (re.compile(r"attempt duration exceeded timeout"), _timeout),
    (re.compile(r"OutOfMemory|OOM-killed"), out_of_memory),
    (_RECLAIM, reclaimed),
    (
        re.compile(r"Capacity is unavailable at this time"),
        lambda _evidence, _text: Verdict(*_STUCK_SENTENCES["INSUFFICIENT_INSTANCE_CAPACITY"]),
    ),
    (
        re.compile(r"Job Queue deleted or CE disabled"),
        _config(
            "its queue was deleted, or a compute environment of it disabled",
            "enable it, or deploy again: `glacierflow batch queue` shows what there is",
        ),
    ),
    (re.compile(r"cancelled as parent was terminated"), _cancelled),
    (
        re.compile(
            r"no matching manifest|descriptor matching platform|exec format error|"
            r"does not match the (specified|detected) .*platform"
        ),
        lambda _evidence, _text: WRONG_ARCHITECTURE,
    ),
    (
        re.compile(_PERMISSION),
        _config(
            "a role may not do what starting the container needs",
            "check execution role and job role: `glacierflow doctor` and `glacierflow stack policies`",
        ),
    ),
    (
        re.compile(
            r"manifest unknown|manifest for .* not found|repository does not exist|pull access denied|"
            r"name unknown|RepositoryNotFound|ImageNotFound|: not found|repository \S+ not found"
        ),
        _image_missing,
    ),
    (
        re.compile(r"executable file not found|no such file or directory.*exec|exec: .*no such file"),
        _config(
            "the container has no such command",
            "the job definition's command must be one the image has: python -m glacierflow.task",
        ),
    ),
    (
        re.compile(r"[Oo]verrides length must be|exceed\w* .*(tags|characters)|[Tt]oo many tags"),
        _config(
            "AWS refuses the job's overrides or tags as too long", "use a shorter bucket name or fewer tags"
        ),
    ),
    (
        re.compile(r"no space left on device"),
        _config("the machine's disk is full", "give the launch template a larger disk, or keep no downloads"),
    ),
    (re.compile(r"CannotInspectContainer|CannotStopContainer|Agent disconnected"), _lost_sight),
    (_NOT_STARTED, _start),
    (re.compile(r"Dependent Job failed"), _dependency),
)

_OF_CAUSE: dict[FailureClass, Rule] = {"start": _start, "timeout": _timeout}
"""What is said of an end that no message of AWS tells of."""
