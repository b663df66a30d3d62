"""Members that moto keeps to itself, which no other module of the embedded cloud touches.

A release of moto may rename one. ``check_moto`` says at start-up which, before a request fails for it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import moto

from glacierflow.errors import UsageError

_MEMBERS = {
    "moto.batch.models": (
        *("_compute_environments", "_job_queues", "_job_definitions", "_validate_compute_resources"),
    ),
    "moto.s3.models": ("_value_buffer",),
    "moto.s3.responses": ("_handle_range_header",),
    "moto.core.responses": ("_authenticate_and_authorize_normal_action", "_get_action", "_get_param"),
    "moto.iam.access_control": ("_action", "_statement"),
    "moto.cloudformation.models": (*("_parse_template", "_add_stack_event", "_create_output_map"),),
    "moto.cloudformation.parsing": (
        *("_resource_json_map", "_parsed_resources", "_template", "_delete_resource"),
    ),
    "moto.ec2.models.route_tables": ("_associations",),
    "moto.ecs.models": ("_get_cluster", "_calculate_task_resource_requirements"),
    "moto.stepfunctions.parser.asl.component.state.exec.state_task.state_task": (
        *("_eval_parameters", "_get_supported_parameters"),
    ),
    "moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service": (
        *("_normalise_parameters", "_normalise_response"),
    ),
}
"""By the module of moto that defines or sets them."""

Json = dict[str, Any]


def check_moto() -> None:
    """Know that this moto has every member that is used here, without importing the parts not needed yet.

    Raises:
        UsageError: it lacks one.
    """
    lacking = [
        f"{module} {member}"
        for module, members in _MEMBERS.items()
        for member in members
        if not re.search(rf"\b{member}\b", _source(module))
    ]
    if lacking:
        version = importlib.metadata.version("moto")
        raise UsageError(
            f"moto {version} lacks what the embedded cloud needs of it: {', '.join(lacking)}",
            next_step="install the version that glacierflow names: pip install 'glacierflow[local]'",
        )


def _source(module: str) -> str:
    """The text of a module, found without importing what stands above it."""
    path = Path(moto.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


class BatchTables(NamedTuple):
    """What moto's AWS Batch of one region knows, each by ARN."""

    environments: Json
    queues: Json
    definitions: Json


def batch_tables(backend: Any) -> BatchTables:  # noqa: ANN401 - moto's classes are abstract to a type checker
    """The tables of a ``BatchBackend``."""
    return BatchTables(backend._compute_environments, backend._job_queues, backend._job_definitions)


def check_compute_resources(backend: Any, resources: Json) -> None:  # noqa: ANN401
    """Refuse resources of a compute environment as moto refuses them when it is made."""
    backend._validate_compute_resources(resources)


def buffer_of(key: Any) -> Any:  # noqa: ANN401
    """The file-like object that holds the bytes of an S3 object."""
    return key._value_buffer


def set_buffer(key: Any, buffer: Any) -> None:  # noqa: ANN401
    """Let another file-like object hold them."""
    key._value_buffer = buffer


def range_of(response: Any) -> Any:  # noqa: ANN401
    """The method of ``S3Response`` that cuts a range out of an object."""
    return response._handle_range_header


def replace_range(response: Any, method: Any) -> None:  # noqa: ANN401
    """Put another in its place."""
    response._handle_range_header = method


def authorize_action(response: Any) -> Any:  # noqa: ANN401
    """The method of ``BaseResponse`` that asks the policies about a request."""
    return response._authenticate_and_authorize_normal_action


def replace_authorize(response: Any, method: Any) -> None:  # noqa: ANN401
    """Put another in its place."""
    response._authenticate_and_authorize_normal_action = method


def action_of(response: Any) -> str:  # noqa: ANN401
    """The action that a request asks for, as moto reads it."""
    action: str = response._get_action()
    return action


@contextlib.contextmanager
def as_action(response: Any, action: str) -> Iterator[None]:  # noqa: ANN401
    """Let moto take a request for one of another action."""
    response._get_action = lambda: action
    try:
        yield
    finally:
        del response._get_action


def statement_of(statement: Any) -> Json:  # noqa: ANN401
    """What an ``IAMPolicyStatement`` says."""
    content: Json = statement._statement
    return content


def set_action(request: Any, names: dict[str, str]) -> None:  # noqa: ANN401
    """Name the action that an ``IAMRequestBase`` asks about as IAM names it."""
    request._action = names.get(request._action, request._action)


def parameter_of(response: Any, name: str) -> Any:  # noqa: ANN401
    """A parameter of the request that a response answers; None where it is not given."""
    return response._get_param(name)


def cluster_of(backend: Any, name: str) -> Any:  # noqa: ANN401
    """A cluster of ECS by its name or ARN."""
    return backend._get_cluster(name)


def replace_task_needs(backend: Any, needs: Json) -> None:  # noqa: ANN401
    """Let a task of ECS need these resources of its machine, whatever its containers ask for."""
    backend._calculate_task_resource_requirements = lambda *_: dict(needs)


def drop_association(table: Any, subnet_id: str) -> None:  # noqa: ANN401
    """Part a route table from a subnet."""
    for one in [one for one, subnet in table._associations.items() if subnet == subnet_id]:
        del table._associations[one]


def add_stack_event(stack: Any, status: str, reason: str | None = None) -> None:  # noqa: ANN401
    """Add an event of a stack itself."""
    stack._add_stack_event(status, resource_status_reason=reason)


def parse_stack(stack: Any) -> Json:  # noqa: ANN401
    """Read a stack's template anew; the template as a dictionary."""
    stack._parse_template()
    template: Json = stack.template_dict
    return template


def make_outputs(stack: Any) -> None:  # noqa: ANN401
    """Work out what a stack puts out."""
    stack.output_map = stack._create_output_map()


def replace_change_set_parse(change_set: Any, method: Any) -> None:  # noqa: ANN401
    """Read the template of a change set by another method."""
    change_set._parse_template = method


class StackResources:
    """What a ``ResourceMap`` holds: bodies of the template, and what was made of them, by logical id."""

    def __init__(self, resource_map: Any) -> None:  # noqa: ANN401
        self._map = resource_map

    @property
    def template(self) -> Json:
        """The template."""
        content: Json = self._map._template
        return content

    @property
    def bodies(self) -> dict[str, Json]:
        """The resources of the template."""
        bodies: dict[str, Json] = self._map._resource_json_map
        return bodies

    @property
    def made(self) -> Json:
        """What was made; also the values of parameters."""
        made: Json = self._map._parsed_resources
        return made

    def take(self, template: Json) -> None:
        """Take another template; nothing is made yet."""
        self._map._template, self._map._resource_json_map = template, template["Resources"]

    def delete(self, resource: Any, body: Json) -> None:  # noqa: ANN401
        """Delete one resource in the service it belongs to."""
        self._map._delete_resource(resource, body)


def supported_parameters(service: Any) -> set[str]:  # noqa: ANN401
    """Names of the parameters that a task state of Step Functions may give."""
    return service._get_supported_parameters() or set()


def replace_task_parameters(service: Any, effective: Any, request: Any, answer: Any) -> None:  # noqa: ANN401
    """Change what a task state of Step Functions sends and gets.

    Args:
        service: the class of such states.
        effective: called with moto's own method, makes the one that works out the parameters.
        request: changes the spelling of parameters.
        answer: changes the spelling of the answer.
    """
    service._eval_parameters = effective(service._eval_parameters)
    service._normalise_parameters, service._normalise_response = request, answer
