"""From the name of a service to its launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glacierflow.aws import Cloud
from glacierflow.errors import UsageError
from glacierflow.manifest import ArrayRange, Service
from glacierflow.services.functions import function_name
from glacierflow.services.launch.functions import find_function
from glacierflow.services.launch.jobs import JobLauncher
from glacierflow.services.launch.launcher import Launcher
from glacierflow.services.launch.machines import find_machine
from glacierflow.services.launch.tasks import find_cluster
from glacierflow.services.places import Places
from glacierflow.services.targets import find_targets
from glacierflow.settings import LoadedSettings

__all__ = ["find_launcher"]


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
        rounds: how often the state machine tries failures again; None is its default.
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
        return find_function(cloud, function_name(cloud, loaded))
    if service in {"ecs", "fargate"}:
        return find_cluster(cloud, base, service, tags=tags, cluster=loaded.settings.ecs.cluster)
    raise UsageError(
        f"--service {service} cannot be submitted to",
        next_step="accepted: batch, lambda, ecs, fargate, stepfunctions",
    )
