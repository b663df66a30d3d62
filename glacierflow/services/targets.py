"""Where the arrays of a run go: the names of queues and job definitions, looked up and found to exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.manifest import ArrayRange
from glacierflow.runs.plan import Destination
from glacierflow.services.failures import plain_errors
from glacierflow.services.places import Places

__all__ = ["Targets", "find_targets", "named_destination", "revisions"]

_DEFAULT_LOG_GROUP = "/aws/batch/job"


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
