"""Job definitions, and task definitions, that name one image by its digest, one for each memory class."""

from __future__ import annotations

from typing import Any

from glacierflow.aws import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.manifest import ArrayRange
from glacierflow.services import stack
from glacierflow.services.failures import plain_errors
from glacierflow.services.places import find_places
from glacierflow.services.targets import find_targets, revisions
from glacierflow.services.templates import MAIN, load_template, stack_name
from glacierflow.settings import LoadedSettings

__all__ = ["pin_definitions"]

_DEFINITIONS = {"AWS::Batch::JobDefinition", "AWS::ECS::TaskDefinition"}
_BESIDE = ("ecs", "fargate")
"""Templates beside the main one whose definitions name the same image."""


def pin_definitions(image: str, loaded: LoadedSettings, cloud: Cloud) -> dict[int, str]:
    """Make the definitions of all memory classes name an image; ``name:revision`` of the jobs' by class.

    Definitions of a stack are changed through the stack, so that it stays the truth about them; others get a
    new revision with everything else as it was. The stacks for ECS and Fargate follow where there are any.

    Raises:
        UsageError: there are no job definitions, or the stack would change in more than these.
        UnavailableError: AWS cannot be reached, or the stack could not be changed.
    """
    places = find_places(loaded, cloud)
    if f"JobDefinition{min(places.job_definitions)}" in places.outputs:
        base = loaded.settings.batch.stack
        _through_the_stack(image, base, MAIN, cloud)
        for template in _BESIDE:
            if stack.describe(cloud, stack_name(base, template)) is not None:
                _through_the_stack(image, base, template, cloud)
    else:
        client = cloud.client("batch")
        for name in places.job_definitions.values():
            _new_revision(client, name.rpartition("/")[2].partition(":")[0], image)
    places = find_places(loaded, cloud)
    arrays = {
        memory: ArrayRange(first_slot=0, size=1, memory_mib=memory) for memory in places.job_definitions
    }
    targets = find_targets(cloud, places, list(arrays.values()))
    wrong = [memory for memory, array in arrays.items() if targets.image(array) != image]
    if wrong:
        raise UsageError(
            f"job definitions of {', '.join(str(one) for one in wrong)} MiB name another image still",
            next_step="is job_definition in [BATCH] of aws_config.ini pinned to a revision? Leave that out",
        )
    return {memory: targets.destination(array).job_definition for memory, array in arrays.items()}


def _through_the_stack(image: str, base: str, template: str, cloud: Cloud) -> None:
    name = stack_name(base, template)
    proposal = stack.propose(cloud, name, load_template(template), {"Image": image})
    if proposal is None:
        return
    others = sorted({change.logical_id for change in proposal.changes if change.kind not in _DEFINITIONS})
    if others:
        stack.discard(cloud, proposal)
        raise UsageError(
            f"the stack {name} was made from another template: {', '.join(others)} would change too",
            next_step=f"see `glacierflow stack diff{_with(template)}`, "
            f"then `glacierflow stack deploy{_with(template)} --set Image={image}`",
        )
    for _ in stack.apply(cloud, proposal):
        pass
    state = stack.describe(cloud, name)
    if state is None or not state.status.endswith("_COMPLETE") or "ROLLBACK" in state.status:
        told = "gone" if state is None else f"{state.status}: {state.reason or ''}"
        raise UnavailableError(
            f"the stack {name} is {told}", next_step="look at its events in CloudFormation"
        )


def _with(template: str) -> str:
    return "" if template == MAIN else f" --with {template}"


def _new_revision(client: Any, name: str, image: str) -> None:  # noqa: ANN401 - a boto3 client
    found = list(revisions(client, name))
    if not found:
        raise UsageError(
            f"there is no job definition {name}", next_step="run `glacierflow stack deploy` first"
        )
    newest = max(found, key=lambda one: int(one["revision"]))
    if newest["containerProperties"]["image"] == image:
        return
    accepted = client.meta.service_model.operation_model("RegisterJobDefinition").input_shape.members
    request = {key: value for key, value in newest.items() if key in accepted}
    request["containerProperties"] = newest["containerProperties"] | {"image": image}
    with plain_errors(f"register the job definition {name}"):
        client.register_job_definition(**request)
