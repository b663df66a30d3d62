"""Lines about a plan, for a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glacierflow.model.manifest import ArrayRange, Manifest


_MOST_UNITS = 200
"""A plan of more units shows the first ones, and counts the rest."""


def plan_lines(manifest: Manifest, requests: list[dict[str, Any]]) -> list[str]:
    """What a submission would do: units, classes, arrays, and the calls in their order."""
    units = [(slot, unit) for slot, units in enumerate(manifest.slots) for unit in units]
    order = "by index in the catalogue" if manifest.order == "catalogue" else "largest first"
    lines = [
        f"{len(units)} units in {len(manifest.slots)} slots, {len(manifest.arrays)} jobs,"
        f" to {manifest.store}",
        f"slots stand {order}:",
    ]
    lines += [
        f"  slot {slot:<5} index {manifest.regions[unit.region].index:<5} {unit.region:<32}"
        f" {unit.satellite}  {unit.date1} to {unit.date2}"
        for slot, unit in units[:_MOST_UNITS]
    ]
    if len(units) > _MOST_UNITS:
        lines.append(f"  ... and {len(units) - _MOST_UNITS} more units; --json has all")
    lines += [
        f"  {_kind(array)}: {request['jobName']} to {_destination(manifest, request)}"
        for array, request in zip(manifest.arrays, requests, strict=True)
    ]
    return lines


def _destination(manifest: Manifest, request: dict[str, Any]) -> str:
    return str(request["jobQueue"]) if manifest.service == "batch" else manifest.service


def _kind(array: ArrayRange) -> str:
    kind = f"array of {array.size}" if array.size > 1 else "plain job"
    return f"{kind}, {array.memory_mib:,} MiB each" if array.memory_mib else kind


def call_names(
    manifest: Manifest,
    requests: list[dict[str, Any]],
    *,
    via: str,
    rounds: int | None,
    stack: str,
    function: str | None,
    cluster: str | None = None,
) -> list[str]:
    """The AWS calls of a submission, in their order, where no earlier run does the same.

    Args:
        manifest: the run.
        requests: SubmitJob's, as AWS Batch would get them.
        via: where a state machine sends slots first.
        rounds: how often a state machine or a function goes on, where that is said.
        stack: name of the main stack.
        function: name of the Lambda function, where it was set by hand, so that no stack is asked for it.
        cluster: of ECS, where one was set by hand.
    """
    from glacierflow.model.layout import runs_prefix
    from glacierflow.stack.templates import stack_name

    told = "" if rounds is None else f", rounds: {rounds}"
    named = function or stack_name(stack, "lambda")
    function_looks = [
        *([] if function else [_stack_look(stack, "lambda")]),
        f"lambda:GetFunction {named}",
    ]
    looks, starts = {
        "batch": (_batch_looks(requests), _submissions(manifest, requests)),
        "stepfunctions": (
            [
                *_batch_looks(requests),
                *(function_looks if via == "lambda" else []),
                _stack_look(stack, "stepfunctions"),
            ],
            [
                f"states:StartExecution {{manifest: {_where(manifest)}, via: {via}{told}}}",
                *_records(manifest),
            ],
        ),
        "lambda": (
            function_looks,
            _invocations(manifest, named, told if rounds else ""),
        ),
    }.get(manifest.service, (_task_looks(stack), _tasks(manifest, cluster)))
    return [
        f"cloudformation:DescribeStacks {stack}",
        f"s3:HeadBucket {manifest.store}",
        *looks,
        *_structure_looks(manifest),
        f"s3:ListObjectsV2 {manifest.store}/{runs_prefix()}",
        f"s3:PutObject {_where(manifest)}",
        *starts,
    ]


def _structure_looks(manifest: Manifest) -> list[str]:
    """Landsat's folders are the same in both structures."""
    from glacierflow.model.layout import Layout

    if manifest.slots[0][0].satellite == "landsat":
        return []
    layout = Layout(manifest.settings.base_path)
    return [f"s3:ListObjectsV2 {manifest.store}/{layout.satellite_prefixes('sentinel2')[0]}"]


def _where(manifest: Manifest) -> str:
    from glacierflow.model.layout import RunLayout

    return f"{manifest.store}/{RunLayout(manifest.run_id).manifest}"


def _records(manifest: Manifest) -> list[str]:
    from glacierflow.model.layout import RunLayout

    run = RunLayout(manifest.run_id)
    return [f"s3:PutObject {manifest.store}/{run.job(number)}" for number in range(len(manifest.arrays))]


def _stack_look(stack: str, part: str) -> str:
    from glacierflow.stack.templates import stack_name

    return f"cloudformation:DescribeStacks {stack_name(stack, part)}"


def _batch_looks(requests: list[dict[str, Any]]) -> list[str]:
    queues = sorted({request["jobQueue"] for request in requests})
    definitions = sorted({request["jobDefinition"] for request in requests})
    return [
        f"batch:DescribeJobQueues {' '.join(queues)}",
        *(f"batch:DescribeJobDefinitions {name}" for name in definitions),
    ]


def _submissions(manifest: Manifest, requests: list[dict[str, Any]]) -> list[str]:
    calls = [f"batch:SubmitJob {json.dumps(request, separators=(',', ':'))}" for request in requests]
    return [call for pair in zip(calls, _records(manifest), strict=True) for call in pair]


def _invocations(manifest: Manifest, function: str, more: str) -> list[str]:
    from glacierflow.model.layout import RunLayout

    slots = len(manifest.slots)
    told = f"{{manifest: {_where(manifest)}, slot: 0..{slots - 1}{more}}}"
    return [
        f"s3:ListObjectsV2 {manifest.store}/{RunLayout(manifest.run_id).attempts_prefix}",
        f"{slots} x lambda:Invoke {function} (Event) {told}",
        *_records(manifest),
    ]


def _task_looks(stack: str) -> list[str]:
    return [_stack_look(stack, "ecs"), "ecs:DescribeTaskDefinition of the smallest memory class"]


def _tasks(manifest: Manifest, cluster: str | None) -> list[str]:
    where = f"cluster: {cluster}, " if cluster else ""
    calls = []
    for array in manifest.arrays:
        provider = "FARGATE" if array.on_demand else "FARGATE_SPOT"
        slots = f"{array.first_slot}..{array.first_slot + array.size - 1}"
        told = f"{where}capacity: {provider}, {array.memory_mib} MiB, "
        told += f"manifest: {_where(manifest)}, index: {slots}"
        calls.append(f"{array.size} x ecs:RunTask {{{told}}}")
    return [*calls, *_records(manifest)]
