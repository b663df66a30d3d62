"""Lambda functions and what hangs on them; ECS clusters and task definitions."""

from __future__ import annotations

from typing import Any

import moto.awslambda.models as moto_lambda
import moto.ecs.models as moto_ecs
import moto.stepfunctions.models as moto_machines

from glacierflow.local.formation.kinds import Json, Settings, mend, settings_type


def install() -> None:
    """Mend what moto reads in part, and add the type it skips without a word."""
    function: Any = moto_lambda.LambdaFunction
    machines: Any = moto_machines
    ecs: Any = moto_ecs
    mend(function, create=_make_function, update=_change_function)
    mend(moto_lambda.LayerVersion, delete=_end_layer)
    mend(ecs.Cluster, create=_make_cluster, update=_change_cluster, delete=_end_cluster)
    mend(ecs.TaskDefinition, create=_make_definition, update=_change_definition, delete=_end_definition)
    mend(machines.StateMachine, create=_make_machine, update=_change_machine, delete=_end_machine)
    settings_type("AWS::Lambda::EventInvokeConfig", _put_event_config, _end_event_config)


def _substituted(properties: Json) -> Json:
    """With ``${Name}`` in the definition replaced, which moto leaves as it is."""
    definition: str = properties["DefinitionString"]
    for name, value in properties.get("DefinitionSubstitutions", {}).items():
        definition = definition.replace(f"${{{name}}}", str(value))
    return properties | {"DefinitionString": definition}


def _machines(account_id: str, region: str) -> Any:  # noqa: ANN401
    """The backend that executes; it brings an interpreter along, which takes a while to import."""
    from moto.stepfunctions.parser.models import stepfunctions_parser_backends

    return stepfunctions_parser_backends[account_id][region]


def _make_machine(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    tags = [{"key": one["Key"], "value": one["Value"]} for one in properties.get("Tags", [])]
    definition = _substituted(properties)["DefinitionString"]
    return _machines(account_id, region).create_state_machine(
        properties.get("StateMachineName", name), definition, properties["RoleArn"], tags=tags
    )


def _change_machine(machine: Any, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend = _machines(account_id, region)
    told = _substituted(properties)
    return backend.update_state_machine(
        machine.arn, definition=told["DefinitionString"], role_arn=told["RoleArn"]
    )


def _end_machine(machine: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    _machines(account_id, region).delete_state_machine(machine.arn)


def _end_layer(layer: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    backend: Any = moto_lambda.lambda_backends[account_id][region]
    backend.delete_layer_version(layer.name, str(layer.version))


def _make_function(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend: Any = moto_lambda.lambda_backends[account_id][region]
    tags = {one["Key"]: one["Value"] for one in properties.get("Tags", [])}
    # a template's reference to a layer is the layer itself to moto, and its ARN to AWS
    layers = [getattr(layer, "arn", layer) for layer in properties.get("Layers", [])]
    told = {"FunctionName": name, "Tags": tags, "Layers": layers}
    return backend.create_function(dict(properties) | told)


def _change_function(function: Any, properties: Json, _: str, __: str) -> Any:  # noqa: ANN401
    function.update_configuration(properties)
    function.update_function_code(properties["Code"])
    function.reserved_concurrency = properties.get("ReservedConcurrentExecutions")
    return function


def _put_event_config(name: str, properties: Json, account_id: str, region: str) -> str:
    backend: Any = moto_lambda.lambda_backends[account_id][region]
    told = {key: value for key, value in properties.items() if key not in {"FunctionName", "Qualifier"}}
    # text in a template, numbers in the API
    numbers = {key: int(value) for key, value in told.items() if key.startswith("Maximum")}
    backend.put_function_event_invoke_config(properties["FunctionName"], told | numbers)
    return name


def _end_event_config(_: Settings, __: str, ___: str) -> None:
    """Goes with its function."""


def _make_cluster(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend: Any = moto_ecs.ecs_backends[account_id][region]
    return _change_cluster(backend.create_cluster(name), properties, account_id, region)


def _change_cluster(cluster: Any, properties: Json, _: str, __: str) -> Any:  # noqa: ANN401
    cluster.capacity_providers = properties.get("CapacityProviders")
    strategy = properties.get("DefaultCapacityProviderStrategy")
    cluster.default_capacity_provider_strategy = _lower_keys(strategy) if strategy else None
    return cluster


def _end_cluster(cluster: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    backend: Any = moto_ecs.ecs_backends[account_id][region]
    backend.delete_cluster(cluster.arn)


def _make_definition(_: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend: Any = moto_ecs.ecs_backends[account_id][region]
    return backend.register_task_definition(
        family=properties["Family"],
        container_definitions=[_lower_keys(one) for one in properties["ContainerDefinitions"]],
        volumes=[_lower_keys(one) for one in properties.get("Volumes", [])],
        network_mode=properties.get("NetworkMode"),
        tags=[_lower_keys(one) for one in properties.get("Tags", [])],
        requires_compatibilities=properties.get("RequiresCompatibilities"),
        cpu=properties.get("Cpu"),
        memory=properties.get("Memory"),
        task_role_arn=properties.get("TaskRoleArn"),
        execution_role_arn=properties.get("ExecutionRoleArn"),
        runtime_platform=_lower_keys(properties.get("RuntimePlatform")),
        ephemeral_storage=_lower_keys(properties.get("EphemeralStorage")),
    )


def _change_definition(_: Any, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    """A task definition never changes; another revision takes its place."""
    return _make_definition("", properties, account_id, region)


def _end_definition(definition: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    backend: Any = moto_ecs.ecs_backends[account_id][region]
    backend.deregister_task_definition(definition.arn)


def _lower_keys(value: Any) -> Any:  # noqa: ANN401 - whatever a template says
    """In the API's spelling; the options of a log driver are in their own spelling already."""
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _lower_keys(one) for key, one in value.items()}
    return [_lower_keys(one) for one in value] if isinstance(value, list) else value
