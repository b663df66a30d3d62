"""How a change set is worked out and carried out: by resource, with events, outputs and a rollback.

moto compares templates as text only, forgets outputs and events of resources, and answers 500 where a
resource cannot be made. Resources are made one after another, so an execution has ended when it is answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import moto.cloudformation.models as moto_formation
import moto.cloudformation.parsing as parsing

from glacierflow.local import moto_private
from glacierflow.local.formation.kinds import Json
from glacierflow.local.moto_private import StackResources
from glacierflow.stack.templates import parse_template

_NO_CHANGES = (
    "The submitted information didn't contain changes. Submit different information to create a change set."
)

_PASS_ON = {"AWS::EC2::LaunchTemplate", "AWS::S3::Bucket"}
"""Types whose change, of a version or a name, reaches the resources that mention them."""


def install() -> None:
    """Replace change sets, executions and deletions."""
    # Any: methods are replaced
    backend: Any = moto_formation.CloudFormationBackend
    backend.create_change_set = _proposing(backend.create_change_set)
    backend.execute_change_set = _execute
    backend.list_stack_resources = lambda self, name: (self.get_stack(name), _resources(self.get_stack(name)))
    backend.describe_stack_resources = _describe_resources
    backend.delete_stack = _delete_stack
    stack: Any = moto_formation.Stack
    stack.parameter_list = property(_parameter_list)
    stack.delete = _delete
    stack.parse_template = staticmethod(_parse)
    change_set: Any = moto_formation.ChangeSet
    moto_private.replace_change_set_parse(change_set, _parse_change_set)
    resources: Any = parsing.ResourceMap
    resources.load_parameters = _loading(resources.load_parameters)
    module: Any = parsing
    module.clean_json = _without_no_values(parsing.clean_json)


def _parse(body: Any) -> Json:  # noqa: ANN401 - text, or nothing yet
    """As AWS reads a template; moto takes ``!Condition`` for a function."""
    return parse_template(body) if isinstance(body, str) else dict(body)


def _parse_change_set(self: Any) -> None:  # noqa: ANN401
    self.template_dict = _parse(self.template)


def _loading(original: Any) -> Any:  # noqa: ANN401 - a function of moto
    """Default values of lists are lists too."""

    def load_parameters(self: Any) -> None:  # noqa: ANN401
        original(self)
        resources = StackResources(self)
        for name, parameter in resources.template.get("Parameters", {}).items():
            value = self.resolved_parameters[name]
            if "List" in parameter["Type"] and isinstance(value, str):
                self.resolved_parameters[name] = resources.made[name] = value.split(",")

    return load_parameters


def _without_no_values(original: Any) -> Any:  # noqa: ANN401 - a function of moto
    """``AWS::NoValue`` leaves a list, as on AWS; moto would keep a null there."""

    def clean_json(resource_json: Any, resources_map: Any) -> Any:  # noqa: ANN401
        cleaned = original(resource_json, resources_map)
        return [one for one in cleaned if one is not None] if isinstance(resource_json, list) else cleaned

    return clean_json


def _text(value: Any) -> str:  # noqa: ANN401
    return ",".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _parameter_list(self: Any) -> list[Json]:  # noqa: ANN401
    return [
        {"ParameterKey": name, "ParameterValue": _text(value)}
        for name, value in self.resource_map.resolved_parameters.items()
    ]


def _proposing(original: Any) -> Any:  # noqa: ANN401
    def create_change_set(self: Any, **request: Any) -> Any:  # noqa: ANN401
        request["parameters"] = {name: _text(value) for name, value in request["parameters"].items()}
        if request["change_set_type"] == "CREATE":
            _forget_proposal(self, request["stack_name"])
        answer = original(self, **request)
        change_set = self.change_sets[answer[0]]
        change_set.changes = [
            moto_formation.Change(action, name, kind) for action, name, kind in _changes(change_set)
        ]
        empty = request["change_set_type"] == "UPDATE" and not change_set.changes
        change_set.status = "FAILED" if empty else "CREATE_COMPLETE"
        change_set.execution_status = "UNAVAILABLE" if empty else "AVAILABLE"
        change_set.status_reason = _NO_CHANGES if empty else None
        return answer

    return create_change_set


def _forget_proposal(backend: Any, name: str) -> None:  # noqa: ANN401
    """A stack that was proposed and never made is proposed anew, as on AWS."""
    for stack_id, stack in list(backend.stacks.items()):
        if stack.name == name and stack.status == "REVIEW_IN_PROGRESS":
            del backend.stacks[stack_id]


def _loaded(stack: Any, template: Json, parameters: Json) -> Any:  # noqa: ANN401
    """Parameters and conditions of a template, without making a resource."""
    fresh: Any = parsing.ResourceMap(
        stack.stack_id,
        stack.name,
        parameters,
        {},
        account_id=stack.account_id,
        region_name=stack.region_name,
        template=template,
        cross_stack_resources={},
    )
    fresh.load()
    return fresh


def _present(loaded: Any) -> dict[str, Json]:  # noqa: ANN401
    return {
        name: body
        for name, body in StackResources(loaded).bodies.items()
        if "Condition" not in body or loaded.lazy_condition_map[body["Condition"]]
    }


def _there(stack: Any) -> dict[str, Any]:  # noqa: ANN401
    """Resources of a stack that were made, by logical id."""
    resources = StackResources(stack.resource_map)
    return {name: resources.made[name] for name in resources.bodies if resources.made.get(name) is not None}


def _changes(change_set: Any) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401
    stack = change_set.stack
    new = _loaded(stack, change_set.template_dict, change_set.parameters)
    wanted, there, before = _present(new), _there(stack), stack.resource_map
    bodies = StackResources(before).bodies
    old_values = getattr(before, "resolved_parameters", {})
    changed = {name for name, value in new.resolved_parameters.items() if old_values.get(name) != value}
    old_conditions = getattr(before, "lazy_condition_map", {})
    switched = {
        name for name in new.lazy_condition_map if old_conditions.get(name) != new.lazy_condition_map[name]
    }
    touched = _mentioning(wanted, changed | switched)
    for name, body in wanted.items():
        if name not in there:
            yield "Add", name, body["Type"]
        elif bodies[name] != body or name in touched:
            yield "Modify", name, body["Type"]
    for name in there:
        if name not in wanted:
            yield "Remove", name, bodies[name]["Type"]


def _mentioning(resources: dict[str, Json], names: set[str]) -> set[str]:
    """Resources that mention one of the names, or another resource that does."""
    texts = {name: json.dumps(body) for name, body in resources.items()}
    found: set[str] = set()
    wanted = set(names)
    while wanted:
        marks = [mark for name in wanted for mark in (f'"{name}"', f"${{{name}}}", f"${{{name}.")]
        new = {name for name, text in texts.items() if any(mark in text for mark in marks)} - found
        found |= new
        wanted = {name for name in new if resources[name]["Type"] in _PASS_ON}
    return found


def _event(stack: Any, name: str, kind: str, status: str, reason: str | None = None) -> None:  # noqa: ANN401
    made = StackResources(stack.resource_map).made.get(name)
    stack.events.append(
        moto_formation.Event(
            stack_id=stack.stack_id,
            stack_name=stack.name,
            logical_resource_id=name,
            physical_resource_id=getattr(made, "physical_resource_id", ""),
            resource_type=kind,
            resource_status=status,
            resource_status_reason=reason,
            resource_properties=None,
        )
    )


def _execute(self: Any, change_set_name: str, stack_name: str | None = None) -> None:  # noqa: ANN401, ARG001
    change_set = self.describe_change_set(change_set_name)
    stack = self.stacks[change_set.stack_id]
    verb = "CREATE" if change_set.change_set_type == "CREATE" else "UPDATE"
    before = (stack.template, dict(stack.parameters))
    steps = list(_changes(change_set))
    change_set.execution_status = "EXECUTE_COMPLETE"
    moto_private.add_stack_event(stack, f"{verb}_IN_PROGRESS", "User Initiated")
    failure = _carry_out(stack, change_set.template, change_set.parameters, steps)
    if failure is None:
        _settle(stack, f"{verb}_COMPLETE")
        return
    name, reason = failure
    _roll_back(stack, verb, f"The following resource(s) failed to {verb.lower()}: [{name}].", before)
    stack.status_reason = reason


def _carry_out(
    stack: Any,  # noqa: ANN401
    template: str,
    parameters: Json,
    steps: list[tuple[str, str, str]],
) -> tuple[str, str] | None:
    """Do the steps; the first that fails, and why."""
    resource_map, resources = stack.resource_map, StackResources(stack.resource_map)
    old_bodies = dict(resources.bodies)
    stack.template, stack.parameters = template, dict(parameters)
    resources.take(moto_private.parse_stack(stack))
    resource_map.input_parameters = dict(parameters)
    resource_map.load()
    for action, name, kind in steps:
        verb = {"Add": "CREATE", "Modify": "UPDATE", "Remove": "DELETE"}[action]
        _event(stack, name, kind, f"{verb}_IN_PROGRESS")
        try:
            _step(stack, action, name, old_bodies.get(name, {}))
        except Exception as error:  # noqa: BLE001 - whatever moto raises is why the resource failed
            reason = getattr(error, "message", None) or str(error) or type(error).__name__
            _event(stack, name, kind, f"{verb}_FAILED", reason)
            return name, reason
        _event(stack, name, kind, f"{verb}_COMPLETE")
    return None


def _step(stack: Any, action: str, name: str, old_body: Json) -> None:  # noqa: ANN401
    resource_map, resources = stack.resource_map, StackResources(stack.resource_map)
    if action == "Add":
        resource_map[name]
    elif action == "Modify":
        body = resources.bodies[name]
        changed = parsing.parse_and_update_resource(
            name, body, resource_map, account_id=stack.account_id, region_name=stack.region_name
        )
        if changed is not None:
            resources.made[name] = changed
    else:
        gone = resources.made.pop(name)
        if old_body.get("DeletionPolicy") != "Retain":
            resources.delete(gone, old_body)


def _settle(stack: Any, status: str) -> None:  # noqa: ANN401
    stack.description = stack.template_dict.get("Description")
    moto_private.make_outputs(stack)
    stack.status = status
    moto_private.add_stack_event(stack, status)


def _roll_back(stack: Any, verb: str, reason: str, before: tuple[Any, Json]) -> None:  # noqa: ANN401
    prefix = "ROLLBACK" if verb == "CREATE" else "UPDATE_ROLLBACK"
    moto_private.add_stack_event(stack, f"{prefix}_IN_PROGRESS", reason)
    if verb == "CREATE":
        _delete_resources(stack)
        stack.status = "ROLLBACK_COMPLETE"
        moto_private.add_stack_event(stack, "ROLLBACK_COMPLETE")
        return
    template, parameters = before
    proposal: Any = moto_formation.ChangeSet(
        "UPDATE", "", "", stack, template, parameters, "", None, None, None
    )
    _carry_out(stack, template, parameters, list(_changes(proposal)))
    _settle(stack, "UPDATE_ROLLBACK_COMPLETE")


def _delete_stack(self: Any, name_or_stack_id: str) -> None:  # noqa: ANN401
    """A stack of which something could not be deleted is still there."""
    for stack_id, stack in list(self.stacks.items()):
        if name_or_stack_id in {stack_id, stack.name}:
            stack.delete()
            if stack.status == "DELETE_COMPLETE":
                self.deleted_stacks[stack_id] = self.stacks.pop(stack_id)


def _delete(self: Any) -> None:  # noqa: ANN401 - a Stack
    moto_private.add_stack_event(self, "DELETE_IN_PROGRESS", "User Initiated")
    left = _delete_resources(self)
    self.status = "DELETE_FAILED" if left else "DELETE_COMPLETE"
    moto_private.add_stack_event(self, self.status)


def _delete_resources(stack: Any) -> list[str]:  # noqa: ANN401
    """Delete in passes, for one may stand in another's way; names of those that stay against the will."""
    resources = StackResources(stack.resource_map)
    waiting = {name: one for name, one in _there(stack).items() if not isinstance(one, str)}
    bodies = resources.bodies
    for name in list(waiting):
        if bodies[name].get("DeletionPolicy") == "Retain":
            _event(stack, name, bodies[name]["Type"], "DELETE_SKIPPED")
            del waiting[name], resources.made[name]
    problems: dict[str, str] = {}
    for _ in range(parsing.MAX_UPDATE_ATTEMPTS):
        for name, one in list(waiting.items()):
            try:
                resources.delete(one, bodies[name])
            except Exception as error:  # noqa: BLE001 - tried again in the next pass
                problems[name] = getattr(error, "message", None) or str(error)
                continue
            _event(stack, name, bodies[name]["Type"], "DELETE_COMPLETE")
            del waiting[name], resources.made[name]
    for name in waiting:
        _event(stack, name, bodies[name]["Type"], "DELETE_FAILED", problems.get(name))
    return list(waiting)


def _resources(stack: Any) -> list[Any]:  # noqa: ANN401
    return list(_there(stack).values())


def _describe_resources(self: Any, stack_name: str, logical_resource_id: str | None) -> tuple[Any, list[Any]]:  # noqa: ANN401
    stack = self.get_stack(stack_name)
    found = _resources(stack)
    wanted = [one for one in found if logical_resource_id in {None, one.logical_resource_id}]
    return stack, wanted
