"""The names of things in the account: bucket, queues, job definitions and more; and that they exist.

A value set by hand (a file, the environment, the command line) wins over what the stack of
``batch/template.yaml`` put out; where neither says anything, the names the template gives by default hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.faults import is_denied
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.model.manifest import ArrayRange
from glacierflow.runs.plan import Destination
from glacierflow.settings import LoadedSettings
from glacierflow.settings.load import DEFAULT

_DEFAULT_LOG_GROUP = "/aws/batch/job"


@dataclass(frozen=True, slots=True)
class Places:
    """Names of what a run needs; None where there is neither a stack nor a setting that names it."""

    bucket: str
    spot_queue: str
    ondemand_queue: str
    log_group: str
    job_definition: str
    """As set by hand, or the name without the class, ``glacierflow``."""
    job_definitions: Mapping[int, str]
    """By memory class in MiB: a name, ``name:revision`` or ARN."""
    classes: tuple[int, ...] = MEMORY_CLASSES_MIB
    """Memory classes in MiB that jobs may have."""
    repository: str | None = None
    """URI of the image repository, without a tag."""
    consumable_resource: str | None = None
    """AWS Batch consumable resource of which each child holds one; None where nothing limits how many run."""
    topic: str | None = None
    """ARN of the topic that tells of ended runs."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """All outputs of the stack; empty where there is none."""
    notice: str | None = None
    """Why the stack could not be asked, where it could not."""

    @property
    def queues(self) -> dict[str, str]:
        """Where jobs may be, as those who look for jobs take it."""
        return {"job_queue": self.spot_queue, "ondemand_job_queue": self.ondemand_queue}

    def definition_of(self, memory_mib: int | None) -> str:
        """The job definition of a memory class; None means the smallest.

        Raises:
            UsageError: there is no such class.
        """
        wanted = min(self.job_definitions) if memory_mib is None else memory_mib
        if wanted not in self.job_definitions:
            classes = ", ".join(str(one) for one in sorted(self.job_definitions))
            raise UsageError(
                f"there is no memory class of {wanted} MiB", next_step=f"choose one of {classes}"
            )
        return self.job_definitions[wanted]

    def queue_of(self, *, on_demand: bool) -> str:
        """The job queue for spot or for on-demand instances."""
        return self.ondemand_queue if on_demand else self.spot_queue


def find_places(loaded: LoadedSettings, cloud: Cloud | None) -> Places:
    """Names by precedence: set by hand, output of the stack, default.

    Args:
        loaded: settings with their origins.
        cloud: asked for the outputs of the stack ``[BATCH] stack`` with one DescribeStacks; None asks
            nobody, for a dry run that works offline.

    Raises:
        CredentialsError: there are no credentials, or AWS refuses them.
        UnavailableError: AWS cannot be reached.
    """
    settings = loaded.settings
    outputs, notice = ({}, None) if cloud is None else _outputs(cloud, settings.batch.stack)

    def pick(key: str, setting: str, output: str) -> str:
        by_hand = loaded.origins.get(key, DEFAULT) != DEFAULT
        return setting if by_hand else outputs.get(output, setting)

    definition = settings.batch.job_definition
    log_group = settings.monitoring.log_group or f"/{settings.batch.stack}/batch"  # the template's default
    by_hand = loaded.origins.get("BATCH.job_definition", DEFAULT) != DEFAULT
    return Places(
        bucket=pick("STORAGE.s3_bucket", settings.storage.s3_bucket, "Bucket"),
        spot_queue=pick("BATCH.job_queue", settings.batch.job_queue, "SpotQueue"),
        ondemand_queue=pick("BATCH.ondemand_job_queue", settings.batch.ondemand_job_queue, "OnDemandQueue"),
        log_group=pick("MONITORING.log_group", log_group, "LogGroup"),
        job_definition=definition,
        job_definitions=_definitions(definition, {} if by_hand else outputs),
        classes=settings.batch.memory_classes_mib,
        repository=outputs.get("Repository"),
        topic=pick("NOTIFICATIONS.sns_topic_arn", settings.notifications.sns_topic_arn or "", "Topic")
        or None,
        consumable_resource=pick(
            "BATCH.consumable_resource", settings.batch.consumable_resource or "", "ConsumableResource"
        )
        or None,
        outputs=outputs,
        notice=notice,
    )


def _definitions(name: str, outputs: Mapping[str, str]) -> dict[int, str]:
    """A revision or an ARN stands for every class; a bare name gets the class at its end."""
    whole = ":" in name
    return {
        memory: outputs.get(f"JobDefinition{memory}", name if whole else f"{name}-{memory}")
        for memory in MEMORY_CLASSES_MIB
    }


def _outputs(cloud: Cloud, stack: str) -> tuple[dict[str, str], str | None]:
    from botocore.exceptions import ClientError

    with plain_errors(f"describe the stack {stack}", service="CloudFormation"):
        try:
            found = cloud.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if is_denied(code):
                return {}, f"you may not describe the stack {stack}, so default names are used"
            if code == "ValidationError":  # there is no such stack
                return {}, None
            raise
    return {one["OutputKey"]: one["OutputValue"] for one in found[0].get("Outputs", [])}, None


@dataclass(frozen=True, slots=True)
class _Definition:
    revision: str
    """``name:revision``, so that a later revision does not change a run that is on its way."""
    log_group: str
    image: str | None


@dataclass(frozen=True, slots=True)
class Targets:
    """The places of a run's arrays, checked to exist."""

    places: Places
    definitions: Mapping[str, _Definition]
    """By name."""

    def destination(self, array: ArrayRange) -> Destination:
        """Queue, and job definition with its revision."""
        named = named_destination(self.places, array)
        return Destination(named.job_queue, self.definitions[named.job_definition].revision)

    def log_group(self, array: ArrayRange) -> str:
        """CloudWatch log group of an array's children."""
        return self.definitions[self.places.definition_of(array.memory_mib)].log_group

    def image(self, array: ArrayRange) -> str | None:
        """The container image as the job definition names it."""
        return self.definitions[self.places.definition_of(array.memory_mib)].image


def named_destination(places: Places, array: ArrayRange) -> Destination:
    """Queue and job definition of an array by name, before anybody looked whether they exist."""
    return Destination(places.queue_of(on_demand=array.on_demand), places.definition_of(array.memory_mib))


def find_targets(cloud: Cloud, places: Places, arrays: Sequence[ArrayRange]) -> Targets:
    """Look up what some arrays need: one call for all queues, one for each memory class.

    Raises:
        UsageError: a queue or a job definition is missing, or a queue is disabled.
        UnavailableError: AWS cannot be reached.
    """
    client = cloud.client("batch")
    named = [named_destination(places, array) for array in arrays]
    _check_queues(client, sorted({one.job_queue for one in named}))
    names = sorted({one.job_definition for one in named})
    return Targets(places, {name: _newest(client, name) for name in names})


def _check_queues(client: Any, wanted: list[str]) -> None:  # noqa: ANN401
    with plain_errors(f"look up the job queue {' and '.join(wanted)}"):
        queues = client.describe_job_queues(jobQueues=wanted)["jobQueues"]
    # a place may be named or be an ARN
    found = {name: queue for queue in queues for name in (queue["jobQueueName"], queue["jobQueueArn"])}
    for name in wanted:
        if name not in found:
            raise UsageError(
                f"there is no job queue {name} in {client.meta.region_name}",
                next_step="run `glacierflow stack deploy`, or set job_queue in [BATCH] of aws_config.ini",
            )
        if found[name].get("state", "ENABLED") != "ENABLED":
            raise UsageError(f"the job queue {name} is disabled", next_step="enable it, or name another")


def _newest(client: Any, wanted: str) -> _Definition:  # noqa: ANN401
    definitions = list(revisions(client, wanted))
    if not definitions:
        raise UsageError(
            f"there is no active job definition {wanted} in {client.meta.region_name}",
            next_step="run `glacierflow stack deploy`, or set job_definition in [BATCH] of aws_config.ini",
        )
    newest = max(definitions, key=lambda definition: int(definition["revision"]))
    container = newest.get("containerProperties", {})
    logs = container.get("logConfiguration", {}).get("options", {})
    return _Definition(
        revision=f"{newest['jobDefinitionName']}:{newest['revision']}",
        log_group=logs.get("awslogs-group", _DEFAULT_LOG_GROUP),
        image=container.get("image"),
    )


def revisions(client: Any, wanted: str, *, retired: bool = False) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Job definitions that a name, ``name:revision`` or ARN can mean.

    Args:
        client: of AWS Batch.
        wanted: the name; asked for without its revision, as the embedded cloud takes no ``name:revision``.
        retired: also those that are no longer active.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    name, _, revision = wanted.rpartition("/")[2].partition(":")
    only = {} if retired else {"status": "ACTIVE"}
    with plain_errors(f"look up the job definition {wanted}"):
        pages = client.get_paginator("describe_job_definitions").paginate(jobDefinitionName=name, **only)
        for page in pages:
            for definition in page["jobDefinitions"]:
                if not revision or str(definition["revision"]) == revision:
                    yield definition
