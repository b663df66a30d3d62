"""The Lambda function as a thing to deploy, to call and to look at."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.services.failures import plain_errors
from glacierflow.services.stack import describe
from glacierflow.services.templates import stack_name
from glacierflow.settings import LoadedSettings
from glacierflow.settings.load import DEFAULT

__all__ = [
    "Answer",
    "FunctionFacts",
    "call",
    "function_errors",
    "function_facts",
    "function_name",
    "point_at",
]

_LONGEST_S = 900
_SERVICE = "Lambda"


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
        """Run id of work the deadline left undone; None where nothing is left."""
        left = self.body.get("left") or self.body.get("outcome") == "interrupted"
        return str(self.body["run_id"]) if left and "run_id" in self.body else None


def function_name(cloud: Cloud, loaded: LoadedSettings) -> str:
    """Set by hand, else the stack's, else the default."""
    name = loaded.settings.lambda_.function_name
    if loaded.origins.get("LAMBDA.function_name", DEFAULT) != DEFAULT:
        return name
    state = describe(cloud, stack_name(loaded.settings.batch.stack, "lambda"))
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
