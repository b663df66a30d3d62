"""Where each setting matters: on which ways of making images, at what moment, and why not on the others.

One table. ``docs/reference/configuration.md`` shows it, a submission tells from it what of its settings has
no effect on the service that was named, and a test looks for the effect of every cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from glacierflow.settings.fields import Ignored
from glacierflow.settings.models import iter_fields

Way = Literal["run", "task", "batch", "lambda", "ecs", "fargate", "stepfunctions", "open_region"]
When = Literal["plan", "start", "watch", "deploy"]
"""``plan``: it is in the manifest, as a choice of units or as a setting of the step. ``start``: it is in the
request that starts the slots, or decides whether there is one. ``watch``: somebody looks at the run.
``deploy``: a parameter of a stack."""

SUBMITTED: tuple[Way, ...] = ("batch", "lambda", "ecs", "fargate", "stepfunctions")
PATHS: tuple[Way, ...] = ("run", "task", *SUBMITTED, "open_region")

_ON_BATCH: tuple[Way, ...] = ("batch", "stepfunctions")
_IN_MEMORY_CLASSES: tuple[Way, ...] = ("batch", "ecs", "fargate", "stepfunctions")
_AT_HOME = "it is about AWS"
_IN_SLOT = "its manifest says which units its slot has"


@dataclass(frozen=True, slots=True)
class Reach:
    """What one setting reaches."""

    ways: tuple[Way, ...]
    when: tuple[When, ...] = ()
    elsewhere: str = ""
    """Why it has no effect on the other ways."""
    named: Mapping[Way, str] | None = None
    """Other reasons for some of them."""
    told: bool = False
    """Whether a submission says so where it was set by hand: it would be expected to count."""

    def why_not(self, way: Way) -> str | None:
        """Why it has no effect on this way; None where it has."""
        return None if way in self.ways else (self.named or {}).get(way) or self.elsewhere


def _chooses() -> Reach:
    own = "named in the call"
    return Reach(("run", *SUBMITTED), ("plan",), _IN_SLOT, {"open_region": own})


def _decides(*, in_notebook: str = "") -> Reach:
    ways = PATHS if not in_notebook else PATHS[:-1]
    return Reach(ways, ("plan",), in_notebook)


def _submits(*when: When) -> Reach:
    named: dict[Way, str] = {"task": "its manifest names its place"}
    return Reach(SUBMITTED, when, _AT_HOME, named)


def _deploys(ways: tuple[Way, ...], elsewhere: str) -> Reach:
    return Reach(ways, ("deploy",), elsewhere)


_NO_FILES = "an array has no files"
_FUNCTION = "it is about the function"
_INSTANCES = "there are no instances"
_MACHINE_KEEPS = "the machine takes it from aws_config.ini as `sync push` put it into the bucket"
_FUNCTION_HAS = "a function has the memory it has; what is retried on AWS Batch gets its class"

_REACH: dict[str, Reach] = {
    "REGIONS.regions": _chooses(),
    "REGIONS.start_end_index": _chooses(),
    "DATES.date1": _chooses(),
    "DATES.date2": _chooses(),
    "PATHS.base_dir": Reach(("run",), ("plan",), "products go to the bucket", {"task": "its manifest says"}),
    "PATHS.local_base_dir": Reach(
        ("run",), ("plan",), "products go to the bucket", {"task": "its manifest says"}
    ),
    "SETTINGS.execution_mode": Reach(
        ("run",), ("plan",), "products go to the bucket", {"task": "its manifest says"}
    ),
    "FLAGS.download_flag": _decides(in_notebook=_NO_FILES),
    "SETTINGS.satellite": _chooses(),
    "SETTINGS.dry_run": Reach(
        ("run", *SUBMITTED), ("start",), "it works", {"open_region": "nothing is read before it is computed"}
    ),
    "SETTINGS.memory": _decides(),
    "SETTINGS.email": _deploys(SUBMITTED, "it is about the account"),
    "IMAGERY.folder_structure": _decides(in_notebook=_NO_FILES),
    "IMAGERY.quicklooks": _decides(in_notebook=_NO_FILES),
    "IMAGERY.overviews": _decides(in_notebook=_NO_FILES),
    "AWS_ACCOUNT.aws_region": Reach(
        SUBMITTED,
        ("start", "deploy"),
        "images lie in imagery_region",
        {"task": "the service says where it is"},
    ),
    "AWS_ACCOUNT.aws_profile": Reach(
        ("run", *SUBMITTED), ("start",), "it has a role", {"open_region": "`cloud` of the call"}
    ),
    "AWS_ACCOUNT.account_id": Reach(
        SUBMITTED, ("deploy",), "the account is that of the credentials; `stack policies` takes this one"
    ),
    "STORAGE.s3_bucket": Reach(
        SUBMITTED,
        ("start", "deploy"),
        "products go to base_dir",
        {"task": "its manifest says", "open_region": _NO_FILES},
    ),
    "STORAGE.s3_base_path": _decides(in_notebook=_NO_FILES),
    "BATCH.stack": _submits("start"),
    "BATCH.job_queue": Reach(("batch",), ("start",), "there is no queue", {"stepfunctions": _MACHINE_KEEPS}),
    "BATCH.ondemand_job_queue": Reach(
        ("batch",), ("start",), "there is no queue", {"stepfunctions": _MACHINE_KEEPS}
    ),
    "BATCH.job_definition": Reach(
        ("batch",), ("start",), "there is no job definition", {"stepfunctions": _MACHINE_KEEPS}
    ),
    "BATCH.instance_types": _deploys(_ON_BATCH, _INSTANCES),
    "BATCH.classes": Reach(
        _IN_MEMORY_CLASSES, ("start",), "memory is what there is", {"lambda": _FUNCTION_HAS}, told=True
    ),
    "BATCH.consumable_resource": Reach(
        ("batch",),
        ("start",),
        "there is no array of children",
        {
            "stepfunctions": "its SubmitJob cannot ask for one",
            "lambda": "ReservedConcurrency limits the function",
            "ecs": "RunTask knows none",
            "fargate": "RunTask knows none",
        },
        told=True,
    ),
    "BATCH.owner": Reach(SUBMITTED, ("start",), "nothing is tagged"),
    "BATCH.breaker_children": Reach(SUBMITTED, ("watch",), "nobody watches a run of others"),
    "BATCH.breaker_share": Reach(SUBMITTED, ("watch",), "nobody watches a run of others"),
    "COST_OPTIMIZATION.use_spot_instances": Reach(
        _IN_MEMORY_CLASSES,
        ("start",),
        "there is no machine to choose",
        {"lambda": "Lambda has no spot capacity"},
        told=True,
    ),
    "COST_OPTIMIZATION.spot_allocation_strategy": _deploys(_ON_BATCH, _INSTANCES),
    "COST_OPTIMIZATION.budget_limit": _deploys(SUBMITTED, "it is about the account"),
    "MONITORING.log_group": Reach(
        _IN_MEMORY_CLASSES,
        ("deploy", "watch"),
        "the log goes to the terminal",
        {"lambda": "Lambda names the function's group", "open_region": "Python's logging"},
    ),
    "MONITORING.log_retention_days": _deploys(SUBMITTED, "there is no log group"),
    "MONITORING.enable_detailed_monitoring": _deploys(_ON_BATCH, _INSTANCES),
    "NOTIFICATIONS.sns_topic_arn": Reach(SUBMITTED, ("watch", "deploy"), "who runs it sees its end"),
    "NOTIFICATIONS.email_notifications": _deploys(
        _ON_BATCH, "the stack's topic is told of jobs of AWS Batch and by the state machine"
    ),
    "SECURITY.iam_execution_role": _deploys(_IN_MEMORY_CLASSES, "no service pulls an image for it"),
    "SECURITY.iam_task_role": Reach(
        _IN_MEMORY_CLASSES,
        ("deploy",),
        "it has your credentials",
        {"lambda": "ExistingLambdaRole is the function's", "task": "it has the role it was started with"},
    ),
    "LAMBDA.function_name": Reach(("lambda",), ("start", "deploy"), _FUNCTION),
    "LAMBDA.memory_size": _deploys(("lambda",), _FUNCTION),
    "LAMBDA.timeout": _deploys(("lambda",), _FUNCTION),
    "LAMBDA.ephemeral_storage": _deploys(("lambda",), _FUNCTION),
    "LAMBDA.ecr_repository": _deploys(SUBMITTED, "no image is pulled"),
    "LAMBDA.ecr_image_uri": _deploys(("lambda",), _FUNCTION),
    "LAMBDA.architecture": _deploys(("lambda",), _FUNCTION),
    "ECS.cluster": Reach(("ecs", "fargate"), ("start", "deploy"), "there is no cluster of tasks"),
    "EXPERIMENTAL.enable_lambda_processing": Reach(("lambda",), ("start",), _FUNCTION),
    "EXPERIMENTAL.enable_step_functions": Reach(
        _ON_BATCH, ("start", "deploy"), "`--service` names another way", {"run": _AT_HOME}
    ),
}


def reach_of(section: str, key: str) -> Reach:
    """Where a setting matters.

    Raises:
        KeyError: there is no such setting, or the table lacks it.
    """
    name = f"{section}.{key}"
    if name in _REACH:
        return _REACH[name]
    ignored = {f"{of}.{one}": mark.why for of, one, mark in _ignored()}
    if name in ignored:
        return Reach((), (), ignored[name])
    if section == "IMAGERY" and name in {f"{of}.{one}" for of, one, _ in iter_fields()}:
        return _decides()
    raise KeyError(name)


def without_effect(by_hand: Iterable[str], way: Way) -> Iterator[str]:
    """Sentences on settings that were set by hand and would be expected to count on this way, and do not.

    Args:
        by_hand: names of settings, ``SECTION.key``.
        way: where the slots run first.
    """
    for name in by_hand:
        section, _, key = name.partition(".")
        reach = reach_of(section, key)
        why = reach.why_not(way)
        if reach.told and why:
            yield f"[{section}] {key} has no effect with --service {way}: {why}"


def _ignored() -> Iterator[tuple[str, str, Ignored]]:
    for section, key, field in iter_fields():
        for mark in field.metadata:
            if isinstance(mark, Ignored):
                yield section, key, mark
