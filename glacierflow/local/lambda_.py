"""AWS Lambda on moto: moto keeps the functions, and invocations are ours and really run, as processes.

As in AWS: one invocation a process with the function's time and memory; asynchronous ones wait for a free
place within the reserved concurrency, are tried again as the function's configuration says, and end in its
queue for failures; synchronous ones beyond it are throttled.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.awslambda.models import LambdaFunction
from moto.core.exceptions import JsonRESTError
from moto.sqs.models import sqs_backends

from glacierflow.local.batch import attempt as attempt_module
from glacierflow.local.batch.attempt import child_argv, cloud_environment, process_environment
from glacierflow.local.options import ACCOUNT_ID, CloudOptions

DEFAULT_HANDLER = "glacierflow.functions.handler.handler"
"""What the image's own command is."""

_ASYNC_RETRIES, _ASYNC_PAUSE_S = 2, 60.0
"""Lambda's defaults for an asynchronous invocation that raised."""
_POLL_S = 0.1

LogLine = Callable[[str, str, str, str | None], None]
"""Called with region, log group, stream and a line; None when the stream starts."""


class _ThrottledError(JsonRESTError):
    code = 429

    def __init__(self) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.")


@dataclass(frozen=True, slots=True)
class _Outcome:
    payload: bytes
    failed: bool


class FunctionRunner:
    """Runs invocations of all functions."""

    def __init__(self, options: CloudOptions, log: LogLine, outer: Mapping[str, str]) -> None:
        self._options, self._log, self._outer = options, log, outer
        self._lock = threading.Lock()
        self._places: dict[str, threading.Semaphore] = {}
        self._running: set[int] = set()
        """Ids of the processes."""
        self._closing = False

    def invoke(self, function: Any, body: bytes | str, headers: Any, response_headers: Any) -> bytes:  # noqa: ANN401
        """Answer ``Invoke`` in moto's place.

        Raises:
            JsonRESTError: the reserved concurrency is used up.
        """
        event = body.decode() if isinstance(body, bytes) else body
        kind = headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if kind == "DryRun":
            return b""
        if kind == "Event":
            threading.Thread(target=self._later, args=(function, event or "{}"), daemon=True).start()
            return b""
        places = self._places_of(function)
        if not places.acquire(blocking=False):
            raise _ThrottledError
        try:
            outcome = self._run(function, event or "{}")
        finally:
            places.release()
        if outcome.failed:
            response_headers["x-amz-function-error"] = "Unhandled"
        return outcome.payload

    def stop_all(self) -> None:
        """End every invocation, as there is nobody to answer any more, and start none."""
        with self._lock:
            self._closing = True
            running = list(self._running)
        for pid in running:
            attempt_module.kill_session(pid)

    def _places_of(self, function: Any) -> threading.Semaphore:  # noqa: ANN401 - moto is untyped
        """As many as the reserved concurrency, or as this machine has vCPUs to give."""
        reserved = function.reserved_concurrency
        size = int(reserved) if reserved is not None else max(2, int(self._options.vcpus))
        with self._lock:
            return self._places.setdefault(f"{function.function_arn}/{size}", threading.Semaphore(size))

    def _later(self, function: Any, event: str) -> None:  # noqa: ANN401
        config = function.event_invoke_config[-1].config if function.event_invoke_config else {}
        retries = int(config.get("MaximumRetryAttempts", _ASYNC_RETRIES))
        for attempt in range(retries + 1):
            with self._places_of(function):
                outcome = self._run(function, event)
            if not outcome.failed or self._closing:
                return
            if attempt < retries:
                time.sleep(self._options.real_seconds(_ASYNC_PAUSE_S * (attempt + 1)))
        self._bury(function, config, event, outcome.payload)

    @staticmethod
    def _bury(function: Any, config: Mapping[str, Any], event: str, payload: bytes) -> None:  # noqa: ANN401
        """The event and its last answer into the queue for failures, where the function has one."""
        target = str(config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", ""))
        if ":sqs:" not in target:
            return
        record = {
            "version": "1.0",
            "requestContext": {"functionArn": function.function_arn, "condition": "RetriesExhausted"},
            "requestPayload": json.loads(event),
            "responsePayload": json.loads(payload),
        }
        sqs_backends[ACCOUNT_ID][function.region].send_message(target.rpartition(":")[2], json.dumps(record))

    def _run(self, function: Any, event: str) -> _Outcome:  # noqa: ANN401
        request, now = uuid.uuid4().hex, dt.datetime.now(dt.UTC)
        group = f"/aws/lambda/{function.function_name}"
        stream = f"{now:%Y/%m/%d}/[$LATEST]{request}"

        def say(line: str | None) -> None:
            self._log(function.region, group, stream, line)

        say(None)
        say(f"START RequestId: {request} Version: $LATEST")
        # never shortened by a fast clock: a search takes as long as it takes
        seconds = float(function.timeout)
        with tempfile.TemporaryDirectory(prefix="glacierflow-function-") as scratch:
            answer = Path(scratch) / "answer.json"
            with self._lock:
                if self._closing:
                    return _Outcome(b"", failed=True)
                process = self._start(function, request, stream, answer, time.time() + seconds)
                self._running.add(process.pid)
            threading.Thread(target=_feed, args=(process, event), daemon=True).start()
            pump = threading.Thread(target=_pump, args=(process, say), daemon=True)
            pump.start()
            fault = self._watch(process, seconds, int(function.memory_size), int(function.timeout))
            with self._lock:
                self._running.discard(process.pid)
            pump.join(5)
            payload = answer.read_bytes() if answer.exists() else b""
        spent = (dt.datetime.now(dt.UTC) - now).total_seconds() * 1000
        fault = fault or (None if payload else f"RequestId: {request} Error: Runtime exited with error")
        if fault:
            say(fault)
            payload = json.dumps({"errorMessage": fault}).encode()
        say(f"END RequestId: {request}")
        say(f"REPORT RequestId: {request}\tDuration: {spent:.2f} ms\tMemory Size: {function.memory_size} MB")
        return _Outcome(payload, failed=bool(fault) or process.returncode != 0)

    def _start(
        self,
        function: Any,  # noqa: ANN401
        request: str,
        stream: str,
        answer: Path,
        deadline: float,
    ) -> subprocess.Popen[str]:
        handler = function.handler or DEFAULT_HANDLER
        if function.package_type == "Image":
            command = function.image_config.response().get("Command") or [DEFAULT_HANDLER]
            handler = command[0]
        environment = process_environment(answer.parent, self._outer)
        environment |= cloud_environment(self._options.endpoint, function.region, self._outer)
        # events that carry no settings read what this cloud serves, as a function in AWS reads AWS's
        environment |= {
            "GLACIERFLOW_SENTINEL2_STAC_URL": f"{self._options.endpoint}/stac",
            "GLACIERFLOW_LANDSAT_STAC_URL": f"{self._options.endpoint}/stac",
            "GLACIERFLOW_IMAGERY_S3_ENDPOINT": self._options.endpoint,
        }
        environment |= function.environment_vars
        environment |= {
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.function_name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "GLACIERFLOW_FUNCTION_ANSWER": str(answer),
            "GLACIERFLOW_FUNCTION_DEADLINE": str(deadline),
            "GLACIERFLOW_FUNCTION_REQUEST": request,
        }
        return subprocess.Popen(  # noqa: S603 - running the function is what Lambda does
            child_argv(["python", "-m", "glacierflow.local.function_process", str(handler)]),
            env=environment,
            cwd=answer.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def _watch(
        self, process: subprocess.Popen[str], seconds: float, memory_mb: int, timeout_s: int
    ) -> str | None:
        """Wait for the end within the function's time and memory; what was exceeded, in Lambda's words."""
        until = time.monotonic() + seconds
        while True:
            try:
                process.wait(_POLL_S)
                return None
            except subprocess.TimeoutExpired:
                used = attempt_module.session_memory_mib([process.pid])[process.pid]
            if used > memory_mb:
                attempt_module.kill_session(process.pid)
                process.wait()
                return "Error: Runtime exited with error: signal: killed"
            if time.monotonic() > until:
                attempt_module.kill_session(process.pid)
                process.wait()
                return f"Task timed out after {timeout_s:.2f} seconds"


def _feed(process: subprocess.Popen[str], event: str) -> None:
    if process.stdin is not None:
        with process.stdin as stream:
            stream.write(event)


def _pump(process: subprocess.Popen[str], say: Callable[[str | None], None]) -> None:
    if process.stdout is not None:
        with process.stdout as lines:
            for line in lines:
                say(line.rstrip("\n"))


def install(runner: FunctionRunner) -> None:
    """Put these invocations in the place of moto's, which want Docker."""
    # Any: a method is replaced
    function: Any = LambdaFunction
    function.invoke = lambda self, body, headers, answer: runner.invoke(self, body, headers, answer)
