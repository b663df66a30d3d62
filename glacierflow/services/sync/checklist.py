"""Whether the bucket's copy of the project is what a job needs: the predecessor's checklist, by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from glacierflow.services.findings import Finding
from glacierflow.services.sync.project import AWS_CONFIG, CONFIG, PREFIX, ProjectFile, is_excluded
from glacierflow.services.sync.push import PushPlan, plan_push
from glacierflow.services.sync.remote import Bucket

if TYPE_CHECKING:
    from glacierflow.aws import Cloud

__all__ = ["check_copy"]

_SETTINGS = {CONFIG, AWS_CONFIG}
_ANCILLARY = "ancillary/"


def check_copy(
    files: Sequence[ProjectFile], bucket: Bucket, cloud: Cloud, *, function_name: str
) -> list[Finding]:
    """Compare the copy in the bucket with the project here.

    Args:
        files: the project.
        bucket: where its copy lies.
        cloud: whose Lambda and IAM are asked whether the function may read the copy.
        function_name: that function.
    """
    plan = plan_push(files, bucket)
    settings = [file for file in files if file.name in _SETTINGS]
    ancillary = [file for file in files if file.name.startswith(_ANCILLARY)]
    sources = [file for file in files if file not in settings and file not in ancillary]
    return [
        _group("settings in force", settings, plan),
        _group("project sources", sources, plan),
        _group("ancillary data", ancillary, plan),
        _excluded(plan),
        _strangers(plan),
        _readable(bucket, cloud, function_name),
    ]


def _group(title: str, files: Sequence[ProjectFile], plan: PushPlan) -> Finding:
    missing = [file.name for file in files if file in plan.missing]
    stale = [file.name for file in files if file in plan.changed and file not in plan.missing]
    problems = [*_few("missing", missing), *_few("different from here", stale)]
    if problems:
        return Finding(title, "problem", "; ".join(problems), "run `glacierflow sync push`")
    return Finding(title, "ok", f"{len(files)} files, the same as here")


def _few(what: str, names: Sequence[str], most: int = 3) -> Iterator[str]:
    if names:
        more = f" and {len(names) - most} more" if len(names) > most else ""
        yield f"{what}: {', '.join(names[:most])}{more}"


def _excluded(plan: PushPlan) -> Finding:
    # no file of the project has such a name, so each of them is a stranger
    found = sorted(key for key in plan.strangers if is_excluded(key.removeprefix(PREFIX)))
    if found:
        return Finding(
            "no excluded files",
            "problem",
            "; ".join(_few("should not be there", found)),
            "run `glacierflow sync push --delete`",
        )
    return Finding("no excluded files", "ok", "none of them is in the bucket")


def _strangers(plan: PushPlan) -> Finding:
    found = [key for key in plan.strangers if not is_excluded(key.removeprefix(PREFIX))]
    if found:
        return Finding(
            "nothing left over",
            "problem",
            "; ".join(_few("not among the files here", found)),
            "run `glacierflow sync push --delete`, or update this checkout",
        )
    return Finding("nothing left over", "ok", "every object there is a file here")


def _readable(bucket: Bucket, cloud: Cloud, function_name: str) -> Finding:
    """Whether the function's role may read all of the copy, by IAM's own simulation.

    A policy of single files allows no star; one that forbids the settings alone does, so they are asked, too.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    title = "readable by Lambda"
    try:
        function = cloud.client("lambda").get_function(FunctionName=function_name)
        role = function["Configuration"]["Role"]
        if cloud.embedded:
            return Finding(title, "unknown", "the embedded cloud's IAM simulates nothing")
        answer = cloud.client("iam").simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=["s3:GetObject"],
            ResourceArns=[f"arn:aws:s3:::{bucket.name}/{PREFIX}{name}" for name in ("*", CONFIG, AWS_CONFIG)],
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ResourceNotFoundException":
            text = f"there is no function {function_name}"
            return Finding(title, "unknown", text, "if you want it: `glacierflow lambda deploy`")
        return Finding(title, "unknown", f"AWS answers {code}", "ask an administrator to look")
    except ResponseParserError:
        # a proxy's page
        return Finding(title, "unknown", "IAM's simulation gave no answer that AWS would give")
    except (BotoCoreError, KeyError) as error:
        return Finding(title, "unknown", f"could not be asked: {error}")
    denied = [
        result["EvalResourceName"]
        for result in answer["EvaluationResults"]
        if result["EvalDecision"] != "allowed"
    ]
    if denied:
        return Finding(
            title,
            "problem",
            f"{role} may not read {denied[0]}",
            "give it s3:GetObject there (`glacierflow stack policies DIR` writes the policy)",
        )
    return Finding(title, "ok", f"{role} may read all of it")
