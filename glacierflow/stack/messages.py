"""What CloudFormation says, in plain words: states of a stack, and why a resource failed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

from glacierflow.errors import UsageError


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one resource failed, and what to do."""

    logical_id: str
    sentence: str
    next_step: str


_STATES = {
    "CREATE_COMPLETE": "in place",
    "UPDATE_COMPLETE": "in place",
    "IMPORT_COMPLETE": "in place",
    "REVIEW_IN_PROGRESS": "proposed, but never carried out",
    "ROLLBACK_COMPLETE": "could not be made; what was begun was taken back",
    "CREATE_FAILED": "could not be made, and what was begun is still there",
    "ROLLBACK_FAILED": "could not be made, and what was begun could not be taken back",
    "UPDATE_ROLLBACK_COMPLETE": "in place as before: the last change failed and was taken back",
    "UPDATE_ROLLBACK_FAILED": "stuck: the last change failed and could not be taken back",
    "UPDATE_FAILED": "changed in part: the last change failed",
    "DELETE_COMPLETE": "deleted",
    "DELETE_FAILED": "could not be deleted",
}

_GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}

_FOLLOWS = re.compile(r"Resource (creation|update) [Cc]ancelled|^The following resource\(s\) failed")
"""Events that only follow from another one's failure."""

_ADMINISTRATOR = "have an administrator do it: `glacierflow stack policies DIR` writes what each role needs"
_RULES: tuple[tuple[str, str, str], ...] = (
    (
        r"service control policy|explicit deny in an? (?:resource|service|identity)",
        "a rule of your organisation forbids it",
        "ask whoever runs the organisation's policies",
    ),
    (
        r"not authorized to perform: (iam:\w+)",
        "you may not {0}, which making a role needs",
        _ADMINISTRATOR + "; then pass the roles with --set ExistingJobRole=ARN and the like",
    ),
    (r"not authorized to perform:? (\w+:\w+)", "you may not {0}", _ADMINISTRATOR),
    (r"AccessDenied|is not authorized|UnauthorizedOperation", "a permission is missing", _ADMINISTRATOR),
    (
        r"service.linked role|AWSServiceRoleFor",
        "AWS Batch or EC2 Spot was never used in this account, and its service-linked role is missing",
        "run `aws iam create-service-linked-role --aws-service-name batch.amazonaws.com` once",
    ),
    (
        r"already exists|AlreadyExists|BucketAlreadyOwnedByYou",
        "something of that name is there already, of an earlier stack or made by hand",
        "use it (--set ExistingBucket=NAME, ExistingRepository=NAME and the like), or choose another name",
    ),
    (
        r"image manifest, config or layer media type .*not supported",
        "Lambda takes a single image without attestations, and this one is an index",
        "run `glacierflow container build --target lambda`, then `glacierflow lambda deploy`",
    ),
    (
        r"bucket .*not empty|BucketNotEmpty",
        "the bucket is not empty",
        "nothing needs to be done: the bucket is meant to stay",
    ),
    (
        r"[Ll]imit ?[Ee]xceeded|limit for|exceeded your|maximum number",
        "a quota of the account is used up",
        "ask for more in the Service Quotas console, or delete what is no longer needed",
    ),
    (
        r"found existing JobQueue relationship|JobQueue.*(in use|still)",
        "a job queue still uses it",
        "delete that queue first, or take it out of the environment's order",
    ),
    (
        r"[Ii]nstance ?[Tt]ype.*(not supported|invalid|Unable)|not a valid instance",
        "an instance family is not offered in this region",
        "name others: --set InstanceTypes=r6i,m6i",
    ),
    (
        r"[Ss]ubnet.*(not exist|invalid|NotFound)|InvalidSubnet",
        "a subnet does not exist in this region",
        "name subnets of this region: --set Vpc=vpc-... --set Subnets=subnet-...,subnet-...",
    ),
    (
        r"has dependencies|DependencyViolation|resource .* has a dependent object",
        "something outside the stack still uses it",
        "remove what uses it, then delete again",
    ),
)


def state_in_words(status: str) -> str:
    """A stack's status as a phrase: ``UPDATE_ROLLBACK_COMPLETE`` is "in place as before: ..."."""
    if status in _STATES:
        return _STATES[status]
    if status.endswith("_IN_PROGRESS"):
        return f"{status.removesuffix('_IN_PROGRESS').replace('_', ' ').lower()} under way"
    return status.replace("_", " ").lower()


def ended_well(status: str) -> bool:
    """Whether the stack is as it should be."""
    return status in _GOOD


def blocked(name: str, status: str) -> None:
    """Refuse to change a stack in a state that AWS would refuse, with the way out.

    Raises:
        UsageError: the stack cannot be changed now.
    """
    if status in _GOOD or status == "UPDATE_ROLLBACK_COMPLETE":
        return
    ways = {
        "ROLLBACK_COMPLETE": f"run `glacierflow stack delete --stack {name}`, then deploy again",
        "UPDATE_ROLLBACK_FAILED": f"run `aws cloudformation continue-update-rollback --stack-name {name}`",
    }
    way = "wait until it has ended: `glacierflow stack status`" if status.endswith("_IN_PROGRESS") else None
    raise UsageError(
        f"the stack {name} cannot be changed: {state_in_words(status)} ({status})",
        next_step=ways.get(status) or way or f"run `glacierflow stack delete --stack {name}`, deploy again",
    )


def reasons(steps: Iterable[Step]) -> list[Reason]:
    """Why a deployment failed: the first failures, not what only followed from them."""
    failed = [step for step in steps if step.status.endswith("_FAILED") and not step.is_stack]
    causes = [step for step in failed if not _FOLLOWS.search(step.reason or "")]
    return [_reason(step) for step in causes or failed]


def _reason(step: Step) -> Reason:
    text = " ".join((step.reason or "AWS gives no reason").split())
    for pattern, sentence, next_step in _RULES:
        found = re.search(pattern, text)
        if found:
            return Reason(
                step.logical_id, f"{sentence.format(*found.groups())} (AWS says: {text})", next_step
            )
    return Reason(step.logical_id, text, "look the resource up in the CloudFormation console")


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a stack: what happened to which resource, and why."""

    at: dt.datetime
    logical_id: str
    kind: str
    status: str
    reason: str | None
    event_id: str
    is_stack: bool
    """Whether it is about the stack itself."""
