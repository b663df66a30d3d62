"""Batch resources: without a service role, with every property kept, and changed by an update."""

from __future__ import annotations

from typing import Any

import moto.batch.models as moto_batch
from moto.iam.models import iam_backends

from glacierflow.local import moto_private
from glacierflow.local.formation.kinds import Json, mend

_MAPS = {"Tags", "Options", "Parameters"}
"""Properties whose keys are the user's own."""

_SERVICE = "batch.amazonaws.com"


def install() -> None:
    """Mend compute environments, job queues and job definitions."""
    # Any: to a type checker moto's classes are abstract
    moto: Any = moto_batch
    mend(
        moto.ComputeEnvironment, create=_make_environment, update=_change_environment, delete=_end_environment
    )
    mend(moto.JobQueue, create=_make_queue, update=_change_queue, delete=_end_queue)
    mend(moto.JobDefinition, create=_make_definition, update=_change_definition, delete=_end_definition)


def to_request(properties: Any) -> Any:  # noqa: ANN401
    """CloudFormation's property names in the API's spelling, ``MaxvCpus`` -> ``maxvCpus``."""
    if isinstance(properties, list):
        return [to_request(one) for one in properties]
    if not isinstance(properties, dict):
        return properties
    return {
        name[:1].lower() + name[1:]: dict(value) if name in _MAPS else to_request(value)
        for name, value in properties.items()
    }


def _backend(account_id: str, region: str) -> Any:  # noqa: ANN401
    return moto_batch.batch_backends[account_id][region]


def _service_role(account_id: str) -> str:
    """The service-linked role, which AWS makes by itself."""
    backend = iam_backends[account_id]["aws"]
    path = f"/aws-service-role/{_SERVICE}/"
    found = next((role for role in backend.roles.values() if role.path == path), None)
    role = found or backend.create_service_linked_role(_SERVICE, "", "")
    arn: str = role.arn
    return arn


def _make_environment(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend, request = _backend(account_id, region), to_request(properties)
    existing = backend.get_compute_environment_by_name(name)
    if existing is not None:
        return _change_environment(existing, properties, account_id, region)
    return backend.create_compute_environment(
        name,
        request["type"],
        request.get("state", "ENABLED"),
        request["computeResources"],
        request.get("serviceRole") or _service_role(account_id),
        request.get("tags"),
    )


def _change_environment(environment: Any, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    request, backend = to_request(properties), _backend(account_id, region)
    found = backend.get_compute_environment(environment.arn)
    moto_private.check_compute_resources(backend, request["computeResources"])
    found.compute_resources = request["computeResources"]
    backend.update_compute_environment(found.arn, request.get("state", "ENABLED"), {}, None)
    return found


def _end_environment(environment: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    _backend(account_id, region).delete_compute_environment(environment.arn)


def _make_queue(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend, request = _backend(account_id, region), to_request(properties)
    existing = backend.get_job_queue_by_name(name)
    if existing is not None:
        return _change_queue(existing, properties, account_id, region)
    return backend.create_job_queue(
        queue_name=name,
        priority=request["priority"],
        state=request.get("state", "ENABLED"),
        compute_env_order=request["computeEnvironmentOrder"],
        schedule_policy=request.get("schedulingPolicyArn"),
        tags=request.get("tags"),
    )


def _change_queue(queue: Any, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    request, backend = to_request(properties), _backend(account_id, region)
    backend.update_job_queue(
        queue.arn,
        request["priority"],
        request.get("state", "ENABLED"),
        request["computeEnvironmentOrder"],
        request.get("schedulingPolicyArn"),
    )
    return backend.get_job_queue(queue.arn)


def _end_queue(queue: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    _backend(account_id, region).delete_job_queue(queue.arn)


def _make_definition(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    request = to_request(properties)
    return _backend(account_id, region).register_job_definition(
        def_name=name,
        parameters=request.get("parameters", {}),
        _type=request["type"],
        tags=request.get("tags", {}),
        retry_strategy=request.get("retryStrategy"),
        container_properties=request.get("containerProperties"),
        node_properties=request.get("nodeProperties"),
        eks_properties=request.get("eksProperties"),
        timeout=request.get("timeout"),
        platform_capabilities=request.get("platformCapabilities"),
        propagate_tags=request.get("propagateTags"),
    )


def _change_definition(definition: Any, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    """A new revision; the one before is deregistered unless the template says to keep it."""
    made = _make_definition(definition.name, properties, account_id, region)
    keeps = properties.get("ResourceRetentionPolicy", {}).get("SkipDeregisterOnUpdate")
    if str(keeps).lower() != "true":
        _end_definition(definition, account_id, region)
    return made


def _end_definition(definition: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    _backend(account_id, region).deregister_job_definition(definition.arn)
