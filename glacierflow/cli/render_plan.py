"""Lines about a plan, for a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glacierflow.manifest import ArrayRange, Manifest

__all__ = ["call_names", "plan_lines", "service_calls"]

_MOST_UNITS = 200
"""A plan of more units shows the first ones, and counts the rest."""


def plan_lines(manifest: Manifest, requests: list[dict[str, Any]]) -> list[str]:
    """What a submission would do: units, classes, arrays, and the calls in their order."""
    units = [(slot, unit) for slot, units in enumerate(manifest.slots) for unit in units]
    lines = [
        f"{len(units)} units in {len(manifest.slots)} slots, {len(manifest.arrays)} jobs, to {manifest.store}"
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


def call_names(manifest: Manifest, requests: list[dict[str, Any]]) -> list[str]:
    """The AWS calls of a submission, in their order, where no earlier run does the same."""
    from glacierflow.layout import RunLayout

    run = RunLayout(manifest.run_id)
    queues = sorted({request["jobQueue"] for request in requests})
    definitions = sorted({request["jobDefinition"] for request in requests})
    calls = [
        "cloudformation:DescribeStacks",
        f"s3:HeadBucket {manifest.store}",
        f"batch:DescribeJobQueues {' '.join(queues)}",
        *(f"batch:DescribeJobDefinitions {name}" for name in definitions),
        f"s3:ListObjectsV2 {manifest.store}/runs/",
        f"s3:PutObject {manifest.store}/{run.manifest}",
    ]
    for number, request in enumerate(requests):
        calls.append(f"batch:SubmitJob {json.dumps(request, separators=(',', ':'))}")
        calls.append(f"s3:PutObject {manifest.store}/{run.job(number)}")
    return calls


def service_calls(manifest: Manifest, *, function: str, cluster: str) -> list[str]:
    """The same for a service that is not AWS Batch: one call a slot, all of one form.

    Args:
        manifest: the run.
        function: name of the Lambda function.
        cluster: name of the ECS cluster.
    """
    from glacierflow.layout import RunLayout

    run, slots = RunLayout(manifest.run_id), len(manifest.slots)
    where = f"{manifest.store}/{run.manifest}"
    looks, starts = {
        "lambda": (
            [f"lambda:GetFunction {function}"],
            f"{slots} x lambda:Invoke {function} (Event) {{manifest: {where}, slot: 0..{slots - 1}}}",
        ),
        "stepfunctions": ([], f"states:StartExecution {cluster} {{manifest: {where}}}"),
    }.get(
        manifest.service,
        (
            [f"ecs:DescribeTaskDefinition {cluster}"],
            f"{slots} x ecs:RunTask {cluster} {{manifest: {where}, index: 0..{slots - 1}}}",
        ),
    )
    records = [f"s3:PutObject {manifest.store}/{run.job(number)}" for number in range(len(manifest.arrays))]
    return [
        "cloudformation:DescribeStacks",
        f"s3:HeadBucket {manifest.store}",
        *looks,
        f"s3:ListObjectsV2 {manifest.store}/runs/",
        f"s3:PutObject {where}",
        starts,
        *records,
    ]
