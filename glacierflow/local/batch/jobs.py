"""Batch jobs as records: what was submitted, what became of it, and how AWS would describe it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
WAITING = frozenset({"SUBMITTED", "PENDING", "RUNNABLE"})
DONE = frozenset({"SUCCEEDED", "FAILED"})

Json = dict[str, Any]


def now_ms() -> int:
    """The time as Batch gives it: milliseconds since 1970."""
    return int(time.time() * 1000)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was submitted; a parent and all its children share one."""

    name: str
    region: str
    queue: str
    """ARN of the job queue."""
    definition: str
    """ARN of the job definition, with its revision."""
    image: str
    command: list[str]
    environment: dict[str, str]
    vcpus: float
    memory_mib: int
    retry: Json
    """The retry strategy in force: ``attempts`` and ``evaluateOnExit``."""
    timeout_s: int | None
    log_group: str
    log_prefix: str
    parameters: dict[str, str]
    depends_on: list[Json]
    tags: dict[str, str]
    propagate_tags: bool
    user: str | None = None
    """``uid:gid`` of a container; None: its image's own."""
    read_only: bool = False
    """Whether a container's root file system is."""
    start_error: str | None = None
    """Why ECS would refuse to start the task, where AWS only notices after the submission."""

    @property
    def max_attempts(self) -> int:
        """How often a job may start."""
        return int(self.retry.get("attempts", 1))

    @property
    def definition_name(self) -> str:
        """``name:revision`` of the job definition."""
        return self.definition.rpartition("job-definition/")[2]


@dataclass(eq=False, slots=True)
class Job:
    """A plain job, an array's parent, or an array's child."""

    spec: JobSpec
    job_id: str
    arn: str
    index: int | None = None
    parent: Job | None = None
    children: list[Job] = field(default_factory=list)
    status: str = "SUBMITTED"
    status_reason: str | None = None
    created_at: int = field(default_factory=now_ms)
    started_at: int | None = None
    stopped_at: int | None = None
    attempts: list[Json] = field(default_factory=list)
    exit_code: int | None = None
    container_reason: str | None = None
    log_stream: str | None = None
    cancelled: bool = False
    terminated: bool = False
    unmet: int = 0
    """Dependencies that have not succeeded yet."""
    dependents: list[Job] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Children by state."""

    @property
    def done(self) -> bool:
        """Whether the job has ended."""
        return self.status in DONE

    @property
    def units(self) -> list[Job]:
        """What really runs: the children, or the job itself."""
        return self.children or [self]

    def add_children(self, size: int) -> None:
        """Make this job the parent of an array."""
        self.children = [
            Job(
                self.spec,
                f"{self.job_id}:{index}",
                f"{self.arn}:{index}",
                index,
                self,
                created_at=self.created_at,
            )
            for index in range(size)
        ]
        self.counts["SUBMITTED"] = size

    def summary(self) -> Json:
        """The entry of ListJobs."""
        array: Json | None = None
        if self.children:
            array = {"size": len(self.children)}
        elif self.index is not None:
            array = {"index": self.index}
        return _present(
            {
                "jobArn": self.arn,
                "jobId": self.job_id,
                "jobName": self.spec.name,
                "jobDefinition": self.spec.definition,
                "createdAt": self.created_at,
                "status": self.status,
                "statusReason": self.status_reason,
                "startedAt": self.started_at,
                "stoppedAt": self.stopped_at,
                "container": _present({"exitCode": self.exit_code, "reason": self.container_reason}) or None,
                "arrayProperties": array,
            }
        )

    def describe(self) -> Json:
        """The entry of DescribeJobs."""
        details = self.summary()
        if self.children:
            counts = {state: self.counts[state] for state in STATES}
            details["arrayProperties"] = {"size": len(self.children), "statusSummary": counts}
        details["container"] = self._container()
        return details | _present(
            {
                "jobQueue": self.spec.queue,
                "attempts": self.attempts,
                "dependsOn": self.spec.depends_on,
                "parameters": self.spec.parameters,
                "retryStrategy": self.spec.retry or None,
                "timeout": {"attemptDurationSeconds": self.spec.timeout_s} if self.spec.timeout_s else None,
                "tags": self.spec.tags,
                "propagateTags": self.spec.propagate_tags,
                "platformCapabilities": ["EC2"],
                "isCancelled": self.cancelled,
                "isTerminated": self.terminated,
            }
        )

    def _container(self) -> Json:
        spec = self.spec
        vcpus = int(spec.vcpus) if spec.vcpus == int(spec.vcpus) else spec.vcpus
        return _present(
            {
                "image": spec.image,
                "command": spec.command,
                "environment": [{"name": name, "value": value} for name, value in spec.environment.items()],
                "resourceRequirements": [
                    {"type": "VCPU", "value": str(vcpus)},
                    {"type": "MEMORY", "value": str(spec.memory_mib)},
                ],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {"awslogs-group": spec.log_group, "awslogs-stream-prefix": spec.log_prefix},
                },
                "user": spec.user,
                "readonlyRootFilesystem": spec.read_only or None,
                "mountPoints": [],
                "volumes": [],
                "ulimits": [],
                "networkInterfaces": [],
                "exitCode": self.exit_code,
                "reason": self.container_reason,
                "logStreamName": self.log_stream,
            }
        )

    def to_json(self) -> Json:
        """Everything worth keeping over a restart; a parent carries its children."""
        state = {name: getattr(self, name) for name in _KEPT}
        if self.parent is None:
            state["spec"] = asdict(self.spec)
            state["children"] = [child.to_json() for child in self.children]
        return state

    @classmethod
    def from_json(cls, state: Json, parent: Job | None = None) -> Job:
        """The inverse of :meth:`to_json`."""
        spec = parent.spec if parent else JobSpec(**state["spec"])
        job = cls(spec=spec, parent=parent, **{name: state[name] for name in _KEPT})
        job.children = [cls.from_json(child, job) for child in state.get("children", [])]
        job.counts = Counter(child.status for child in job.children)
        return job


_KEPT = (
    "job_id",
    "arn",
    "index",
    "status",
    "status_reason",
    "created_at",
    "started_at",
    "stopped_at",
    "attempts",
    "exit_code",
    "container_reason",
    "log_stream",
    "cancelled",
    "terminated",
)


def _present(values: Json) -> Json:
    return {name: value for name, value in values.items() if value is not None}
