"""AWS Step Functions as a launcher: one execution that submits, tries again, verifies and tells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import Targets
from glacierflow.cloud import Cloud
from glacierflow.launch.lambda_ import FunctionLauncher, record_arrays
from glacierflow.launch.launcher import manifest_uri
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest, Service
from glacierflow.runs.plan import job_name
from glacierflow.runs.records import JobRecord
from glacierflow.runs.states import SlotState
from glacierflow.stack.deploy import outputs_with
from glacierflow.stack.templates import stack_name
from glacierflow.store import Store

_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class MachineLauncher:
    """A state machine, found to exist."""

    cloud: Cloud
    arn: str
    targets: Targets
    log_group: str | None
    function: FunctionLauncher | None = None
    """Where it sends the slots first; None is AWS Batch."""
    rounds: int | None = None
    """How often it tries failures again; None is its default."""
    service: Service = "stepfunctions"

    @property
    def image(self) -> str | None:
        """As the smallest job definition names it."""
        named = {definition.image for definition in self.targets.definitions.values()}
        return min((image for image in named if image), default=None)

    def check(self, manifest: Manifest) -> None:
        """AWS Batch takes whatever has a memory class, and the function what fits it."""
        if self.function is not None:
            self.function.check(manifest)

    def launch(self, manifest: Manifest, store: Store, known: Sequence[JobRecord] = ()) -> list[JobRecord]:
        """Start the execution; one of the same name and input is the same one."""
        if len(known) == len(manifest.arrays):
            return list(known)
        told = {"manifest": manifest_uri(manifest), "via": "lambda" if self.function else "batch"}
        more = {} if self.rounds is None else {"rounds": self.rounds}
        with plain_errors("start the state machine", service="Step Functions"):
            answer = self.cloud.client("stepfunctions").start_execution(
                stateMachineArn=self.arn, name=_execution_name(manifest), input=json.dumps(told | more)
            )
        return record_arrays(
            manifest,
            store,
            self.service,
            job_id=answer["executionArn"],
            place=self.arn,
            log_group=f"/aws/lambda/{self.function.name}" if self.function else self.log_group,
            queues=[
                "lambda" if self.function else self.targets.destination(array).job_queue
                for array in manifest.arrays
            ],
        )


def _execution_name(manifest: Manifest) -> str:
    """The run's id, from its end where it is too long: time stamp and fingerprint stand there."""
    return manifest.run_id[-_LONGEST_NAME:].lstrip("-_")


def find_machine(
    cloud: Cloud,
    base: str,
    *,
    targets: Targets,
    log_group: str,
    function: FunctionLauncher | None = None,
    rounds: int | None = None,
) -> MachineLauncher:
    """The state machine of the stack ``{base}-stepfunctions``.

    Raises:
        UsageError: that stack is not deployed.
        UnavailableError: AWS cannot be reached.
    """
    name = stack_name(base, "stepfunctions")
    outputs = outputs_with(cloud, name, "StateMachine", made_by="schedule,stepfunctions")
    return MachineLauncher(cloud, outputs["StateMachine"], targets, log_group, function, rounds)


def describe_execution(arn: str, cloud: Cloud) -> dict[str, Any] | None:
    """What Step Functions says of an execution; None where it knows none: it forgets one after 90 days.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    from botocore.exceptions import ClientError

    with plain_errors("describe the execution", service="Step Functions"):
        try:
            answer: dict[str, Any] = cloud.client("stepfunctions").describe_execution(executionArn=arn)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
                raise
            return None
    return answer


def read_unsent(store: Store, run_id: str) -> dict[str, str]:
    """Why AWS Batch did not take jobs that a state machine sent, by their names; empty where it took all.

    Raises:
        StoreError: the store cannot be read.
    """
    found: dict[str, str] = json.loads(store.get(RunLayout(run_id).unsent) or b"{}")
    return found


def running_executions(jobs: Sequence[JobRecord], cloud: Cloud) -> list[str]:
    """ARNs of the executions that go on, also those that have no job in AWS Batch just now.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    arns = sorted({job.job_id for job in jobs if job.service == "stepfunctions"})
    return [arn for arn in arns if (describe_execution(arn, cloud) or {}).get("status") == "RUNNING"]


def not_begun(
    manifest: Manifest, jobs: Sequence[JobRecord], store: Store, cloud: Cloud
) -> dict[int, SlotState]:
    """How the slots stand of jobs that a state machine has not come to, or that Batch did not take.

    Of an execution that Step Functions has forgotten the receipts tell.

    Raises:
        UsageError: AWS refuses to answer.
        UnavailableError: AWS cannot be reached.
    """
    slots: dict[int, SlotState] = {}
    refused = read_unsent(store, manifest.run_id) if jobs else {}
    for job in jobs:
        name, state = job_name(manifest.run_id, job.number), SlotState("SUBMITTED", job.job_id)
        if name in refused:
            reason = f"AWS Batch did not take the job: {refused[name]}"
            state = SlotState("FAILED", job.job_id, status_reason=reason, cause="start", explained=True)
        else:
            answer = describe_execution(job.job_id, cloud)
            if answer is None:
                continue
            if answer["status"] != "RUNNING":
                state = never_sent(job, answer)
        slots.update(dict.fromkeys(range(job.first_slot, job.first_slot + job.size), state))
    return slots


def never_sent(job: JobRecord, answer: Mapping[str, Any]) -> SlotState:
    """Of a slot whose execution has ended before it was sent."""
    reason = f"the state machine ended {answer['status']}: {answer.get('cause', '')}"
    return SlotState("FAILED", job.job_id, status_reason=reason, cause="start", explained=True)
