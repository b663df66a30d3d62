"""AWS Lambda as a launcher: one asynchronous invocation a slot; and the function it invokes.

How many run at once is bounded by the function's reserved concurrency; the rest waits in Lambda's own queue.
An invocation that went wrong is not repeated blindly: its receipt says why, and ``retry`` knows what to do.
One that its deadline cut starts another for what it leaves, as often as the submission allowed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.launch.launcher import check_lambda_fit, manifest_uri
from glacierflow.model.manifest import Manifest, Service
from glacierflow.runs.plan import job_name
from glacierflow.runs.records import JobRecord, list_attempts, write_job
from glacierflow.settings import LoadedSettings
from glacierflow.stack.deploy import describe
from glacierflow.stack.templates import stack_name
from glacierflow.store import Store

_PER_SECOND = 50
"""Asynchronous invocations; Lambda takes ten times a function's concurrency a second."""

MOST_ROUNDS = 10
"""Invocations in which a slot may go on by itself. Lambda stops a chain of invocations of one function that
start each other at about 16 (AWS Lambda developer guide, recursive loop detection)."""

_LONGEST_S = 900
_AT_DEADLINE_S = 5
"""For an answer, when an invocation has seconds left."""
_SERVICE = "Lambda"


@dataclass(frozen=True, slots=True)
class FunctionLauncher:
    """One Lambda function, found to exist."""

    cloud: Cloud
    name: str
    arn: str
    memory_mb: int
    timeout_s: int
    image: str | None
    rounds: int = 0
    """In how many further invocations a slot goes on by itself where the deadline cuts it."""
    service: Service = "lambda"

    def check(self, manifest: Manifest) -> None:
        """Every slot is expected to end in the invocations it may have."""
        check_lambda_fit(
            manifest, memory_mb=self.memory_mb, timeout_s=self.timeout_s, invocations=1 + self.rounds
        )

    def launch(self, manifest: Manifest, store: Store, known: Sequence[JobRecord] = ()) -> list[JobRecord]:  # noqa: ARG002 - the store knows
        """Invoke every slot that has left no trace yet: twice would be safe, and cost."""
        client = self.cloud.client("lambda")
        # an earlier submission that was broken off has left no record, but its slots may have begun
        begun = list_attempts(store, manifest.run_id)
        for slot in range(len(manifest.slots)):
            if slot in begun:
                continue
            start = time.monotonic()
            with plain_errors(f"invoke {self.name} for slot {slot}", service="Lambda"):
                client.invoke(**_request(self.name, manifest, slot, self.rounds))
            time.sleep(max(0.0, 1 / _PER_SECOND - (time.monotonic() - start)))
        return record_arrays(
            manifest, store, self.service, job_id=self.arn, place=self.name, log_group=self._log
        )

    @property
    def _log(self) -> str:
        return f"/aws/lambda/{self.name}"


def send_on(cloud: Cloud, name: str, manifest: Manifest, slot: int, rounds: int) -> None:
    """From within a function: start another invocation of it for what this one leaves of a slot.

    Args:
        cloud: which AWS.
        name: of the function.
        manifest: the run.
        slot: which slot.
        rounds: how many more the other one may start.

    Raises:
        UsageError: AWS refuses, as where the function's role may not invoke it.
        UnavailableError: AWS cannot be reached.
    """
    hasty = replace(cloud, retries=2, read_timeout_s=_AT_DEADLINE_S)
    with plain_errors(f"invoke {name} for what is left of slot {slot}", service=_SERVICE):
        hasty.client("lambda").invoke(**_request(name, manifest, slot, rounds))


def _request(name: str, manifest: Manifest, slot: int, rounds: int) -> dict[str, Any]:
    event = {"manifest": manifest_uri(manifest), "slot": slot} | ({"rounds": rounds} if rounds else {})
    return {"FunctionName": name, "InvocationType": "Event", "Payload": json.dumps(event)}


def record_arrays(
    manifest: Manifest,
    store: Store,
    service: Service,
    *,
    job_id: str,
    place: str,
    log_group: str | None,
    tasks: Sequence[str] = (),
    queues: Sequence[str] = (),
) -> list[JobRecord]:
    """One record an array for a service without jobs of its own; the receipts tell how its slots are.

    Where there are tasks, a record is about the slots that have one, from the array's first on.
    """
    records = []
    for number, array in enumerate(manifest.arrays):
        own = tuple(filter(None, tasks[array.first_slot : array.first_slot + array.size]))
        if tasks and not own:
            continue
        record = JobRecord(
            number=number,
            name=job_name(manifest.run_id, number),
            job_id=job_id,
            job_queue=queues[number] if queues else service,
            job_definition=place,
            first_slot=array.first_slot,
            size=len(own) if tasks else array.size,
            submitted_at=dt.datetime.now(dt.UTC),
            log_group=log_group,
            memory_mib=array.memory_mib,
            on_demand=array.on_demand,
            service=service,
            tasks=own,
        )
        write_job(store, manifest.run_id, record)
        records.append(record)
    return records


def find_function(cloud: Cloud, name: str, *, rounds: int = 0) -> FunctionLauncher:
    """The function of this name, whose slots go on by themselves in so many further invocations.

    Raises:
        UsageError: there is none.
        UnavailableError: AWS cannot be reached.
    """
    with function_errors(cloud, name):
        answer = cloud.client("lambda").get_function(FunctionName=name)
    facts = answer["Configuration"]
    return FunctionLauncher(
        cloud=cloud,
        name=facts["FunctionName"],
        arn=facts["FunctionArn"],
        memory_mb=int(facts["MemorySize"]),
        timeout_s=int(facts["Timeout"]),
        image=answer.get("Code", {}).get("ResolvedImageUri") or answer.get("Code", {}).get("ImageUri"),
        rounds=rounds,
    )


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function as it is configured."""

    name: str
    arn: str
    role: str
    memory_mb: int
    timeout_s: int
    ephemeral_mb: int
    image: str | None
    """As it was given: by tag, or by digest."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an invocation answered."""

    payload: Any
    raised: bool
    """Whether the handler raised, ran out of time or of memory; the payload then tells."""

    @property
    def body(self) -> dict[str, Any]:
        """The body of an answer in the predecessor's form; the answer itself otherwise."""
        if not isinstance(self.payload, dict):
            return {}
        text = self.payload.get("body")
        body: dict[str, Any] = json.loads(text) if isinstance(text, str) else self.payload
        return body

    @property
    def error(self) -> str | None:
        """Why it went wrong; None where it went well."""
        if self.raised:
            return str(self.body.get("errorMessage", "the function gave no reason"))
        code = self.payload.get("statusCode", 200) if isinstance(self.payload, dict) else 200
        return str(self.body.get("error", "no reason given")) if code >= 400 else None

    @property
    def goes_on(self) -> str | None:
        """Run id of work the deadline left undone; None where nothing is left, or it went on by itself."""
        left = self.body.get("left") or self.body.get("outcome") == "interrupted"
        left = left and not self.body.get("sent_on")
        return str(self.body["run_id"]) if left and "run_id" in self.body else None


def function_name(cloud: Cloud, loaded: LoadedSettings) -> str:
    """Set by hand, else the stack's, else what the stack would call it."""
    if loaded.settings.lambda_.function_name is not None:
        return loaded.settings.lambda_.function_name
    name = stack_name(loaded.settings.batch.stack, "lambda")
    state = describe(cloud, name)
    return state.outputs.get("FunctionName", name) if state else name


def function_facts(cloud: Cloud, name: str) -> FunctionFacts:
    """How a function is configured.

    Raises:
        UsageError: there is none of this name.
        UnavailableError: AWS cannot be reached.
    """
    with function_errors(cloud, name):
        answer = cloud.client("lambda").get_function(FunctionName=name)
    facts, code = answer["Configuration"], answer.get("Code", {})
    return FunctionFacts(
        name=facts["FunctionName"],
        arn=facts["FunctionArn"],
        role=facts["Role"],
        memory_mb=int(facts["MemorySize"]),
        timeout_s=int(facts["Timeout"]),
        ephemeral_mb=int(facts.get("EphemeralStorage", {}).get("Size", 512)),
        image=code.get("ImageUri"),
    )


def point_at(cloud: Cloud, name: str, image: str) -> None:
    """Make a function run an image, and wait until it does.

    Raises:
        UsageError: AWS refuses the image.
        UnavailableError: AWS cannot be reached, or the update does not end.
    """
    from botocore.exceptions import WaiterError

    client = cloud.client("lambda")
    with function_errors(cloud, name):
        client.update_function_code(FunctionName=name, ImageUri=image)
    try:
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
    except WaiterError as error:
        raise UnavailableError(
            f"the function {name} did not take the image {image}: {error}",
            next_step="look at LastUpdateStatusReason of `aws lambda get-function-configuration`",
        ) from error


def call(cloud: Cloud, name: str, event: Mapping[str, Any]) -> Answer:
    """Invoke a function and wait for its answer; never twice, whatever happens to the connection.

    Raises:
        UsageError: there is no such function, or the event is refused.
        UnavailableError: AWS cannot be reached, or the function is busy.
    """
    patient = replace(cloud, retries=0, read_timeout_s=_LONGEST_S + 30)
    with function_errors(cloud, name):
        answer = patient.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
        content = answer["Payload"].read()
    return Answer(json.loads(content or b"null"), raised="FunctionError" in answer)


@contextlib.contextmanager
def function_errors(cloud: Cloud, name: str) -> Iterator[None]:
    """Errors as sentences; a function that is not there with the command that makes it."""
    from botocore.exceptions import ClientError

    with plain_errors(f"use the function {name}", service=_SERVICE):
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            raise UsageError(
                f"there is no function {name} in {cloud.region}",
                next_step="run `glacierflow lambda deploy`, or set function_name in [LAMBDA]",
            ) from error
