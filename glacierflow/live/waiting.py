"""What waits on a service that has no job queues: tasks of a cluster, executions of a machine, a function."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.launch.lambda_ import function_errors, function_name
from glacierflow.model.manifest import Service
from glacierflow.model.records import Record
from glacierflow.settings import LoadedSettings
from glacierflow.stack.deploy import describe, outputs_with
from glacierflow.stack.templates import stack_name

_DESCRIBE_LIMIT = 100
"""Tasks that one DescribeTasks takes."""


class Oldest(Record):
    """What has waited, or run, for longest."""

    name: str
    """Id of a task, or name of an execution."""
    state: str
    age_s: float | None
    """Seconds since it was asked for; None where the service does not say."""


class WaitingReport(Record):
    """One cluster, state machine or function."""

    service: Service
    name: str
    depth: dict[str, int]
    """By state, in the service's own words; ended ones are not counted."""
    oldest: Oldest | None = None
    """Of those that have not begun, or of all where every one has."""
    reserved_concurrency: int | None = None
    """Invocations of the function at a time; None where it shares what the account has."""
    failed_calls: int | None = None
    """Calls that Lambda gave up, in the stack's queue for them; None where nobody tells."""
    notice: str | None = None
    """What cannot be known, and why."""

    @property
    def healthy(self) -> bool:
        """Whether what waits can start."""
        return self.reserved_concurrency != 0


def look_at_service(
    service: Service, cloud: Cloud, loaded: LoadedSettings, *, now: dt.datetime | None = None
) -> WaitingReport:
    """Ask what waits there.

    Args:
        service: lambda, ecs, fargate or stepfunctions.
        cloud: whose.
        loaded: settings, which name the stack and what is in it.
        now: the time; None is the present.

    Raises:
        UsageError: it is not deployed, or AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    now = now or dt.datetime.now(dt.UTC)
    base = loaded.settings.batch.stack
    if service == "lambda":
        return _function(cloud, loaded)
    if service == "stepfunctions":
        made_by = "schedule,stepfunctions"
        told = outputs_with(cloud, stack_name(base, service), "StateMachine", made_by=made_by)
        return _machine(cloud, told["StateMachine"], now)
    cluster = loaded.settings.ecs.cluster
    if cluster is None:
        cluster = outputs_with(cloud, stack_name(base, "ecs"), "Cluster", made_by="ecs")["Cluster"]
    return _cluster(cloud, service, cluster, now)


def _cluster(cloud: Cloud, service: Service, cluster: str, now: dt.datetime) -> WaitingReport:
    client = cloud.client("ecs")
    tasks: list[dict[str, Any]] = []
    with plain_errors(f"list the tasks of the cluster {cluster}", service="ECS"):
        pages = client.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus="RUNNING")
        arns = [arn for page in pages for arn in page["taskArns"]]
        for first in range(0, len(arns), _DESCRIBE_LIMIT):
            some = arns[first : first + _DESCRIBE_LIMIT]
            tasks += client.describe_tasks(cluster=cluster, tasks=some)["tasks"]
    # one may have ended between the two calls
    live = [task for task in tasks if task["lastStatus"] != "STOPPED"]
    waiting = [task for task in live if task["lastStatus"] != "RUNNING"] or live
    first_task = min(waiting, key=lambda task: task.get("createdAt", now), default=None)
    return WaitingReport(
        service=service,
        name=cluster,
        depth=dict(Counter(task["lastStatus"] for task in live)),
        oldest=first_task
        and Oldest(
            name=first_task["taskArn"].rpartition("/")[2],
            state=first_task["lastStatus"],
            age_s=_age(first_task, "createdAt", now),
        ),
    )


def _machine(cloud: Cloud, arn: str, now: dt.datetime) -> WaitingReport:
    name = arn.rpartition(":")[2]
    with plain_errors(f"list the executions of {name}", service="Step Functions"):
        pages = cloud.client("stepfunctions").get_paginator("list_executions")
        told = pages.paginate(stateMachineArn=arn, statusFilter="RUNNING")
        running = [execution for page in told for execution in page["executions"]]
    first = min(running, key=lambda execution: execution["startDate"], default=None)
    return WaitingReport(
        service="stepfunctions",
        name=name,
        depth={"RUNNING": len(running)} if running else {},
        oldest=first and Oldest(name=first["name"], state="RUNNING", age_s=_age(first, "startDate", now)),
        notice="an execution starts at once; its slots wait in the queues of AWS Batch, or with --via lambda"
        " in the machine",
    )


def _function(cloud: Cloud, loaded: LoadedSettings) -> WaitingReport:
    name = function_name(cloud, loaded)
    with function_errors(cloud, name):
        answer = cloud.client("lambda").get_function(FunctionName=name)
    state = describe(cloud, stack_name(loaded.settings.batch.stack, "lambda"))
    failed, reason = _failed_calls(cloud, state.outputs if state else {})
    notice = "Lambda does not let anybody look into the queue of a function's calls"
    return WaitingReport(
        service="lambda",
        name=name,
        depth={},
        reserved_concurrency=answer.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
        failed_calls=failed,
        notice=f"{notice}; {reason}" if reason else notice,
    )


def _failed_calls(cloud: Cloud, outputs: Mapping[str, str]) -> tuple[int | None, str | None]:
    """How many the stack's queue holds; or None, and why."""
    queue = outputs.get("FailuresQueue")
    if queue is None:
        return None, "there is no stack with a queue for failed calls"
    what = "ApproximateNumberOfMessages"
    try:
        with plain_errors("look at the queue of failed calls", service="SQS"):
            answer = cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=[what])
    except UsageError as error:
        return None, str(error)
    return int(answer["Attributes"][what]), None


def _age(found: Mapping[str, Any], key: str, now: dt.datetime) -> float | None:
    return round((now - found[key]).total_seconds(), 1) if key in found else None
