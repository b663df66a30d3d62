"""Amazon ECS as a launcher: one task a slot on Fargate Spot, or on Fargate where the manifest says on-demand.

Overrides of RunTask belong to the whole call, so every slot is a call of its own, with a client token: the
same run and slot asked for twice are one task.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.launch.lambda_ import record_arrays
from glacierflow.launch.launcher import manifest_uri
from glacierflow.model.manifest import ArrayRange, Manifest, Service
from glacierflow.runs.records import JobRecord
from glacierflow.stack.deploy import outputs_with
from glacierflow.stack.templates import stack_name
from glacierflow.store import Store

_PER_SECOND = 15
"""RunTask calls; Fargate sustains 20 a second for an account."""
_TRIES, _PATIENCE_S = 6, 5.0
"""How often a task that found no capacity is asked for, and the wait before the second time; doubled then.
The last time Fargate Spot is no longer insisted on."""
_NO_SPOT_S = 300.0
"""How long Fargate Spot is not asked again, once a task found none in all its tries."""
_RECORD_S = 5.0
"""Between two records of what was started, which is all that a kill can cost."""
_NO_CAPACITY = ("RESOURCE", "AGENT", "Capacity is unavailable", "no container instance")


@dataclass(slots=True)
class _Spot:
    """What one launch has learned of Fargate Spot."""

    missing: bool = False
    ask_at: float = 0.0

    @property
    def asked(self) -> bool:
        """Whether it is worth asking for."""
        return not self.missing or time.monotonic() >= self.ask_at

    def lost(self) -> None:
        """There is none; tasks go to Fargate for a while."""
        self.missing, self.ask_at = True, time.monotonic() + _NO_SPOT_S


@dataclass(frozen=True, slots=True)
class TaskLauncher:
    """One cluster with a task definition for each memory class."""

    cloud: Cloud
    cluster: str
    definitions: Mapping[int, str]
    """By memory class in MiB: ARN with its revision."""
    subnets: tuple[str, ...]
    security_group: str
    public_ip: str
    """ENABLED or DISABLED."""
    log_group: str | None
    tags: Mapping[str, str]
    service: Service = "fargate"
    image: str | None = None

    def check(self, manifest: Manifest) -> None:
        """ECS takes what has a memory class."""
        for array in manifest.arrays:
            self._definition(array)

    def requests(self, manifest: Manifest) -> list[dict[str, Any]]:
        """The parameters of RunTask for each slot."""
        return [self._request(manifest, array, slot) for array, slot in _slots(manifest)]

    def launch(self, manifest: Manifest, store: Store, known: Sequence[JobRecord] = ()) -> list[JobRecord]:
        """Start every task; those that were started before are the same ones by their tokens.

        What was started is recorded as it goes, so that it can be seen and ended whatever comes. Where
        Fargate Spot has no capacity, one task waits for it and the others go to Fargate; it is asked again
        now and then.
        """
        if sum(record.size for record in known) == len(manifest.slots):
            return list(known)
        client, tasks = self.cloud.client("ecs"), [""] * len(manifest.slots)
        for one in known:
            tasks[one.first_slot : one.first_slot + one.size] = one.tasks

        def record() -> list[JobRecord]:
            return record_arrays(
                manifest,
                store,
                self.service,
                job_id=self.cluster,
                place=self.cluster,
                log_group=self.log_group,
                tasks=tasks,
            )

        spot, recorded = _Spot(), time.monotonic()
        try:
            for array, slot in _slots(manifest):
                if not tasks[slot]:
                    start = time.monotonic()
                    tasks[slot] = self._run(client, manifest, array, slot, spot, record)
                    if time.monotonic() >= recorded + _RECORD_S:
                        record()
                        recorded = time.monotonic()
                    time.sleep(max(0.0, 1 / _PER_SECOND - (time.monotonic() - start)))
        finally:
            records = record()
        return records

    def _run(
        self,
        client: Any,  # noqa: ANN401
        manifest: Manifest,
        array: ArrayRange,
        slot: int,
        spot: _Spot,
        before_waiting: Callable[[], object],
    ) -> str:
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            if last and not array.on_demand:
                spot.lost()
            on_demand = array.on_demand or not spot.asked
            with plain_errors(f"run the task of slot {slot}", service="ECS"):
                answer = client.run_task(**self._request(manifest, array, slot, on_demand=on_demand))
            if answer["tasks"]:
                spot.missing = spot.missing and on_demand
                arn: str = answer["tasks"][0]["taskArn"]
                return arn
            reason = "; ".join(str(one.get("reason")) for one in answer["failures"]) or "no reason given"
            if not any(text in reason for text in _NO_CAPACITY):
                raise UsageError(f"ECS would not run the task of slot {slot}: {reason}")
            if spot.missing and not on_demand:
                spot.lost()
            if attempt == 0:
                before_waiting()
            if not last:
                time.sleep(_PATIENCE_S * 2**attempt)
        raise UnavailableError(
            f"ECS found no capacity for the task of slot {slot}: {reason}",
            next_step="submit again: what was started is not started twice; or use --service batch",
        )

    def _definition(self, array: ArrayRange) -> str:
        memory = array.memory_mib or MEMORY_CLASSES_MIB[0]
        if memory not in self.definitions:
            raise UsageError(
                f"the cluster {self.cluster} has no task definition for {memory} MiB",
                next_step="run `glacierflow stack deploy --with ecs`",
            )
        return self.definitions[memory]

    def _request(
        self, manifest: Manifest, array: ArrayRange, slot: int, *, on_demand: bool = False
    ) -> dict[str, Any]:
        environment = {"GLACIERFLOW_MANIFEST": manifest_uri(manifest), "GLACIERFLOW_INDEX": str(slot)}
        provider = "FARGATE" if array.on_demand or on_demand else "FARGATE_SPOT"
        # a token goes with all the rest of a request, so one for other capacity is another
        asked = [manifest.run_id, str(slot), provider]
        token = hashlib.sha256("/".join(asked).encode()).hexdigest()
        pairs = [{"name": name, "value": value} for name, value in environment.items()]
        return {
            "cluster": self.cluster,
            "taskDefinition": self._definition(array),
            "count": 1,
            # always said: a cluster's default strategy knows nothing of what the manifest says
            "capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1, "base": 0}],
            "clientToken": token,
            "startedBy": manifest.fingerprint[:32],
            "propagateTags": "TASK_DEFINITION",
            "enableECSManagedTags": True,
            "tags": [
                {"key": key, "value": value}
                for key, value in {**self.tags, "project": "glacierflow", "run": manifest.run_id}.items()
            ],
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": list(self.subnets),
                    "securityGroups": [self.security_group],
                    "assignPublicIp": self.public_ip,
                }
            },
            "overrides": {"containerOverrides": [{"name": "child", "environment": pairs}]},
        }


def _slots(manifest: Manifest) -> Iterator[tuple[ArrayRange, int]]:
    for array in manifest.arrays:
        for slot in range(array.first_slot, array.first_slot + array.size):
            yield array, slot


def find_cluster(
    cloud: Cloud,
    base: str,
    service: Service,
    *,
    tags: Mapping[str, str],
    cluster: str | None = None,
) -> TaskLauncher:
    """The cluster of the stack ``{base}-ecs``, or the one that is named, with that stack's task definitions.

    Raises:
        UsageError: that stack is not deployed.
        UnavailableError: AWS cannot be reached.
    """
    told = outputs_with(cloud, stack_name(base, "ecs"), "Cluster", made_by="ecs")
    definitions = {
        memory: told[f"TaskDefinition{memory}"]
        for memory in MEMORY_CLASSES_MIB
        if f"TaskDefinition{memory}" in told
    }
    with plain_errors("look up the task definition", service="ECS"):
        found = cloud.client("ecs").describe_task_definition(taskDefinition=min(definitions.items())[1])
    container = found["taskDefinition"]["containerDefinitions"][0]
    logs = container.get("logConfiguration", {}).get("options", {})
    return TaskLauncher(
        cloud=cloud,
        cluster=cluster or told["Cluster"],
        definitions=definitions,
        subnets=tuple(told["TaskSubnets"].split(",")),
        security_group=told["TaskSecurityGroup"],
        public_ip=told["TaskPublicIp"],
        log_group=logs.get("awslogs-group"),
        tags=tags,
        service=service,
        image=container["image"],
    )
