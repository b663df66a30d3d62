"""Is the bucket's copy of the project what a job needs, and were the images built from these sources?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import Places, find_targets
from glacierflow.cloud import Cloud
from glacierflow.errors import Finding, GlacierflowError
from glacierflow.image.build import revision_of
from glacierflow.launch.ecs import find_cluster
from glacierflow.launch.lambda_ import function_facts, function_name
from glacierflow.model.manifest import ArrayRange
from glacierflow.settings import LoadedSettings
from glacierflow.stack.deploy import describe
from glacierflow.stack.templates import stack_name
from glacierflow.sync.push import AWS_CONFIG, CONFIG, PREFIX, ProjectFile, PushPlan, is_excluded, plan_push
from glacierflow.sync.remote import Bucket

_SETTINGS = {CONFIG, AWS_CONFIG}
_ANCILLARY = "ancillary/"

_NAME = "image of {} in step"
_NEW_IMAGE = {
    "AWS Batch": "run `glacierflow container build` and `glacierflow container push`",
    "Lambda": "run `glacierflow container build --target lambda` and `glacierflow lambda deploy`",
    "ECS": "run `glacierflow container build`, `glacierflow container push`, and with the digest it prints "
    "`glacierflow stack deploy --with ecs --set Image=REPOSITORY@DIGEST`",
}
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?P<name>[^:@]+)(?P<rest>[@:].+)")
_REVISION = re.compile(r"-([0-9a-f]{12})(-lambda)?$")
"""End of a tag that a push gave: twelve digits of the commit, and what of it is Lambda's image."""


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


def check_revision(checkout: Path, cloud: Cloud, loaded: LoadedSettings, places: Places) -> list[Finding]:
    """Compare the commit in the images' tags with the checkout's: jobs run what is in an image, not in S3.

    Of Lambda and ECS, only where they are deployed.
    """
    services: dict[str, Callable[[], Iterable[str | None]]] = {
        "AWS Batch": lambda: _of_batch(cloud, places),
        "Lambda": lambda: _of_lambda(cloud, loaded),
        "ECS": lambda: _of_ecs(cloud, loaded),
    }
    here, found = revision_of(checkout), []
    for service, images in services.items():
        try:
            found += [_compare(service, _tags(cloud, image), here) for image in dict.fromkeys(images())]
        except GlacierflowError as error:
            found.append(Finding(_NAME.format(service), "unknown", error.message, error.next_step))
    return found


def _of_batch(cloud: Cloud, places: Places) -> Iterable[str | None]:
    arrays = [ArrayRange(first_slot=0, size=1, memory_mib=memory) for memory in places.job_definitions]
    targets = find_targets(cloud, places, arrays)
    return [targets.image(array) for array in arrays]


def _of_lambda(cloud: Cloud, loaded: LoadedSettings) -> Iterable[str | None]:
    by_hand = loaded.settings.lambda_.function_name is not None
    if not by_hand and describe(cloud, stack_name(loaded.settings.batch.stack, "lambda")) is None:
        return []
    return [function_facts(cloud, function_name(cloud, loaded)).image]


def _of_ecs(cloud: Cloud, loaded: LoadedSettings) -> Iterable[str | None]:
    stack = loaded.settings.batch.stack
    if describe(cloud, stack_name(stack, "ecs")) is None:
        return []
    return [find_cluster(cloud, stack, "ecs", tags={}).image]


def _compare(service: str, tags: list[str], here: str) -> Finding:
    title = _NAME.format(service)
    built = {found[1] for tag in tags if (found := _REVISION.search(tag))}
    if not built or not re.fullmatch(r"[0-9a-f]{40}", here):
        why = "the image's tags name no commit" if not built else "this checkout is at no clean commit"
        return Finding(title, "unknown", f"{why}, so they cannot be compared")
    if here[:12] in built:
        return Finding(title, "ok", f"{service} runs an image of commit {here[:12]}, which is here")
    return Finding(
        title,
        "problem",
        f"{service} runs an image of commit {', '.join(sorted(built))}, here is {here[:12]}",
        f"{_NEW_IMAGE[service]}, or check out that commit",
    )


def _tags(cloud: Cloud, image: str | None) -> list[str]:
    """All tags of an image in ECR; of one elsewhere, the tag in its name."""
    if image is None:
        return []
    match = _ECR.fullmatch(image)
    if match is None:
        return [image.rpartition(":")[2]]
    rest = match["rest"]
    wanted = {"imageDigest": rest[1:]} if rest.startswith("@") else {"imageTag": rest[1:]}
    with plain_errors(f"look up {image}", service="ECR"):
        found = cloud.client("ecr").describe_images(repositoryName=match["name"], imageIds=[wanted])
    return [tag for one in found["imageDetails"] for tag in one.get("imageTags", [])]
