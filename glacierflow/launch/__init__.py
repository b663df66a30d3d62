"""Launchers, by the name of a service: one code path up to the last call, which is a launcher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glacierflow.aws.names import Places, find_targets
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.launch.batch import JobLauncher
from glacierflow.launch.ecs import find_cluster
from glacierflow.launch.lambda_ import find_function, function_name
from glacierflow.launch.launcher import Launcher
from glacierflow.launch.stepfunctions import find_machine
from glacierflow.model.manifest import ArrayRange, Service
from glacierflow.settings import LoadedSettings

__all__ = ["Launcher", "find_launcher"]


def find_launcher(
    service: Service,
    cloud: Cloud,
    loaded: LoadedSettings,
    places: Places,
    arrays: Sequence[ArrayRange],
    *,
    tags: Mapping[str, str],
    consumable_resource: str | None = None,
    via: Service = "batch",
    rounds: int | None = None,
) -> Launcher:
    """A service's places, looked up and found to exist.

    Args:
        service: where slots are to run.
        cloud: which AWS.
        loaded: settings and where they are from.
        places: names in the account.
        arrays: what will be submitted.
        tags: of everything that is started.
        via: where the state machine sends slots first: batch or lambda.
        rounds: how often the state machine tries failures again, or in how many further invocations a slot
            that Lambda's deadline cut goes on; None is the service's default.
        consumable_resource: AWS Batch consumable resource of which each child holds one.

    Raises:
        UsageError: something is missing, with the command that makes it.
        UnavailableError: AWS cannot be reached.
    """
    base = loaded.settings.batch.stack
    if service in {"batch", "stepfunctions"}:
        targets = find_targets(cloud, places, arrays)
        if service == "stepfunctions":
            function = find_function(cloud, function_name(cloud, loaded)) if via == "lambda" else None
            return find_machine(
                cloud, base, targets=targets, log_group=places.log_group, function=function, rounds=rounds
            )
        image = targets.image(arrays[0]) if arrays else None
        return JobLauncher(cloud, targets, image, tags, consumable_resource)
    if service == "lambda":
        return find_function(cloud, function_name(cloud, loaded), rounds=rounds or 0)
    if service in {"ecs", "fargate"}:
        return find_cluster(cloud, base, service, tags=tags, cluster=loaded.settings.ecs.cluster)
    raise UsageError(
        f"--service {service} cannot be submitted to",
        next_step="accepted: batch, lambda, ecs, fargate, stepfunctions",
    )
