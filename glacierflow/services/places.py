"""Where things are in the account: queues, job definitions, bucket and more, by name, found with one call.

A value set by hand (a file, the environment, the command line) wins over what the stack of
``batch/template.yaml`` put out; where neither says anything, the names the template gives by default hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.faults import is_denied
from glacierflow.runs.workload import MEMORY_CLASSES_MIB
from glacierflow.services.failures import plain_errors
from glacierflow.settings import LoadedSettings
from glacierflow.settings.load import DEFAULT

__all__ = ["Places", "find_places"]

_LOG_GROUP = "/glacierflow/batch"
"""Of the template's ``LogGroupName``."""


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
    by_hand = loaded.origins.get("BATCH.job_definition", DEFAULT) != DEFAULT
    return Places(
        bucket=pick("STORAGE.s3_bucket", settings.storage.s3_bucket, "Bucket"),
        spot_queue=pick("BATCH.job_queue", settings.batch.job_queue, "SpotQueue"),
        ondemand_queue=pick("BATCH.ondemand_job_queue", settings.batch.ondemand_job_queue, "OnDemandQueue"),
        log_group=pick("MONITORING.log_group", settings.monitoring.log_group or _LOG_GROUP, "LogGroup"),
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
