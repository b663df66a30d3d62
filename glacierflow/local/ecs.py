"""Amazon ECS on moto: moto keeps clusters and task definitions, and tasks are ours and really run.

As in AWS: a task waits in PROVISIONING for a place, runs with its memory, writes to its log group and ends
STOPPED with an exit code and a reason; a call with the same client token is the same task; Fargate Spot takes
tasks back (``--spot-reclaim``).
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse

from glacierflow.local import moto_private
from glacierflow.local.batch.attempt import Attempt, Order, Runner, StartError
from glacierflow.local.options import CloudOptions

_SPOT_NOTICE_S, _STOP_GRACE_S = 120.0, 30.0
"""Seconds of ECS between SIGTERM and SIGKILL."""
_RECLAIM_WITHIN_S = (0.2, 3.0)
"""Real seconds after its start at which a task gets its notice."""
_POLL_S = 0.05
_OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
_CPU_UNITS = 1024
"""ECS CPU units in a vCPU."""

_NO_NEEDS: dict[str, Any] = {"CPU": 0, "MEMORY": 0, "PORTS": [], "PORTS_UDP": []}

LogLine = Callable[[str, str, str, str | None], None]


class _Places:
    """The vCPUs that tasks share; a task bigger than all of them runs alone."""

    def __init__(self, vcpus: float) -> None:
        self._free, self._all = vcpus, vcpus
        self._changed = threading.Condition()

    def take(self, vcpus: float) -> float:
        wanted = min(vcpus, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        return wanted

    def give_back(self, vcpus: float) -> None:
        with self._changed:
            self._free += vcpus
            self._changed.notify_all()


class TaskRunner:
    """Runs tasks, one thread each."""

    def __init__(self, options: CloudOptions, runner: Runner, log: LogLine) -> None:
        self._options, self._runner, self._log = options, runner, log
        self._places = _Places(options.vcpus)
        self._running: dict[str, tuple[Any, Attempt]] = {}
        """Task and attempt by the task's id."""
        self._closing: str | None = None
        """Why nothing is started any more."""

    def launch(self, task: Any, definition: Any) -> None:  # noqa: ANN401 - moto is untyped
        """Start a task that moto has just made."""
        task.advance = _stay  # its state is what really happens, not a number of looks
        task.last_status = "PROVISIONING"
        task.created_at = task.started_at = task.stopped_at = None
        threading.Thread(target=self._run, args=(task, definition), daemon=True).start()

    def stop(self, task: Any, reason: str) -> None:  # noqa: ANN401
        """SIGTERM now, SIGKILL after the grace period."""
        task.desired_status = "STOPPED"
        self._end(task, reason, "UserInitiated", _STOP_GRACE_S)

    def stop_all(self, reason: str, wait_s: float) -> None:
        """End everything that runs, within ``wait_s`` real seconds, and start nothing more."""
        self._closing = reason
        for task, _ in list(self._running.values()):
            self.stop(task, reason)
        until = time.monotonic() + wait_s
        while self._running and time.monotonic() < until:
            time.sleep(_POLL_S)
        for _, attempt in list(self._running.values()):
            attempt.kill()

    def _run(self, task: Any, definition: Any) -> None:  # noqa: ANN401
        order, container = _order(task, definition), definition.container_definitions[0]
        options = (container.get("logConfiguration") or {}).get("options", {})
        stream = f"{options.get('awslogs-stream-prefix', 'ecs')}/{container['name']}/{task.id}"

        def say(line: str | None) -> None:
            if "awslogs-group" in options:
                self._log(task.region_name, options["awslogs-group"], stream, line)

        taken = self._places.take(order.vcpus)
        try:
            if self._closing:
                self.stop(task, self._closing)
            if task.desired_status == "STOPPED":
                _stopped(task, None)
                return
            try:
                attempt = self._runner.start(order)
            except StartError as error:
                task.stopped_reason, task.stop_code = str(error), "TaskFailedToStart"
                _stopped(task, None)
                return
            self._running[task.id] = task, attempt
            task.started_at, task.last_status = dt.datetime.now(dt.UTC), "RUNNING"
            if task.desired_status == "STOPPED" or self._closing:
                # asked for while it started, when there was nothing to end yet
                task.stopped_reason = task.stopped_reason or self._closing
                self._let_go(task, _STOP_GRACE_S)
            say(None)
            self._maybe_reclaim(task)
            for line in attempt.lines():
                say(line.rstrip("\n"))
            ended = attempt.wait()
            del self._running[task.id]
            task.containers[0].reason = _OUT_OF_MEMORY if ended.out_of_memory else None
            if not task.stopped_reason:
                task.stopped_reason = "Essential container in task exited"
                task.stop_code = "EssentialContainerExited"
            _stopped(task, ended.exit_code)
        finally:
            self._places.give_back(taken)

    def _maybe_reclaim(self, task: Any) -> None:  # noqa: ANN401
        if task.capacity_provider_name != "FARGATE_SPOT":
            return
        chance = random.Random(f"{self._options.seed}/{task.started_by}/{task.overrides}")  # noqa: S311
        if chance.random() < self._options.spot_reclaim:
            words = "Your Spot Task was interrupted.", "SpotInterruption", _SPOT_NOTICE_S
            _later(chance.uniform(*_RECLAIM_WITHIN_S), lambda: self._end(task, *words))

    def _end(self, task: Any, reason: str, code: str, grace_s: float) -> None:  # noqa: ANN401
        if task.last_status == "STOPPED" or task.stopped_reason:
            return
        task.stopped_reason, task.stop_code = reason, code
        self._let_go(task, grace_s)

    def _let_go(self, task: Any, grace_s: float) -> None:  # noqa: ANN401
        _, attempt = self._running.get(task.id, (None, None))
        if attempt is not None:
            attempt.ask_to_end()
            _later(self._options.real_seconds(grace_s), attempt.kill)


def _stay() -> None:
    """Nothing; with a name, by which it is saved with its task."""


def _later(seconds: float, what: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, what)
    timer.daemon = True
    timer.start()


def _stopped(task: Any, exit_code: int | None) -> None:  # noqa: ANN401
    task.stopped_at = dt.datetime.now(dt.UTC)
    task.containers[0].exitCode = exit_code
    task.containers[0].last_status = "STOPPED"
    task.desired_status = "STOPPED"
    task.last_status = "STOPPED"


def _order(task: Any, definition: Any) -> Order:  # noqa: ANN401
    """The task's one container, its overrides on top of its definition."""
    container = definition.container_definitions[0]
    overrides: Mapping[str, Any] = task.overrides or {}
    own: Mapping[str, Any] = {}
    for one in overrides.get("containerOverrides", []):
        if one.get("name") == container["name"]:
            own = one
    environment = {
        entry["name"]: entry["value"]
        for entry in (*container.get("environment", []), *own.get("environment", []))
    }
    return Order(
        owner=task.id,
        region=task.region_name,
        image=container["image"],
        command=own.get("command") or container.get("command") or ["python", "-m", "glacierflow.task"],
        environment=environment,
        vcpus=float(overrides.get("cpu") or definition.cpu or _CPU_UNITS) / _CPU_UNITS,
        memory_mib=int(overrides.get("memory") or definition.memory or container.get("memory", 512)),
        user=container.get("user"),
        read_only=bool(container.get("readonlyRootFilesystem", False)),
    )


def install(runner: TaskRunner) -> None:
    """Let moto's tasks run, be stopped, and be asked for twice with one token."""
    # Any: methods are replaced
    backend: Any = EC2ContainerServiceBackend
    response: Any = EC2ContainerServiceResponse
    make, stop, answer = backend.run_task, backend.stop_task, response.run_task
    tokens: dict[str, Any] = {}

    def run_task(self: Any, cluster: str, definition: str, *more: Any) -> Any:  # noqa: ANN401
        *others, strategy = more
        strategy = strategy or moto_private.cluster_of(self, cluster).default_capacity_provider_strategy
        provider = strategy[0]["capacityProvider"] if strategy else None
        if provider not in {None, *(moto_private.cluster_of(self, cluster).capacity_providers or ())}:
            # moto would look for instances behind it
            raise InvalidParameterException("The specified capacity provider was not found.")
        tasks = make(self, cluster, definition, *others, strategy)
        for task in tasks:
            task.capacity_provider_name = provider or task.capacity_provider_name
            runner.launch(task, self.describe_task_definition(definition))
        return tasks

    def stop_task(self: Any, cluster: str, task: str, reason: str) -> Any:  # noqa: ANN401
        (found,) = self.describe_tasks(cluster, [task]) or [None]
        if found is None:
            return stop(self, cluster, task, reason)
        runner.stop(found, reason)
        return found

    def answer_once(self: Any) -> Any:  # noqa: ANN401
        token = moto_private.parameter_of(self, "clientToken")
        if token is None or token not in tokens:
            result = answer(self)
            if token is None:
                return result
            tokens[token] = result
        return tokens[token]

    # only set where the VPC has DNS host names, and asked for always
    network_interface: Any = NetworkInterface
    network_interface.private_dns_name = ""
    # it adds up what the containers ask for, which on Fargate may be said of the task alone
    moto_private.replace_task_needs(backend, _NO_NEEDS)
    backend.run_task, backend.stop_task, response.run_task = run_task, stop_task, answer_once
