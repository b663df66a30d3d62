"""AWS at the level of HTTP: what botocore sends is counted, answered from memory, and can kill the sender.

Only what a submission needs, with AWS's documented limits: arrays of 2 to 10,000, 8,192 characters of
overrides, DescribeJobs of at most 100, ListJobs by name on one queue.
"""

from __future__ import annotations

import io
import itertools
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from glacierflow.cloud import Cloud

QUEUES = ("glacierflow-spot", "glacierflow-ondemand")


_CLIENTS: dict[tuple[str, int], Any] = {}
_now: list[FakeAws] = []


def _ask(request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
    return _now[0].answer(request, event_name)


class Killed(BaseException):
    """The process ended here; nothing catches it, as nothing catches SIGKILL."""


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class FakeAws:
    """One account with a bucket, two queues and the job definitions of all classes."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, bucket: str = "made-up", *, throttles: bool = False
    ) -> None:
        # a client is slow to make, but one that was throttled stays slow itself
        clients = {} if throttles else _CLIENTS
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.image = "123.dkr.ecr.us-west-2.amazonaws.com/glacierflow@sha256:0123"
        self.stacks: dict[str, dict[str, str]] = {}
        """Outputs of the stacks that are deployed."""
        self.calls: list[str] = []
        self.kill_before: int | None = None
        """Number of the call, from 1, that is never sent."""
        self.kill_after: int | None = None
        """Number of the call whose answer is never seen."""
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        """By operation: answers to give before the true ones; done all the same where the status is 500."""
        self._ids = itertools.count(1)
        made = Cloud.client

        def client(cloud: Cloud, service: str) -> Any:
            key = (service, cloud.retries)
            if key not in clients:
                clients[key] = made(Cloud(embedded=True, retries=cloud.retries), service)
                clients[key].meta.events.register_first("before-send.*", _ask)
            return clients[key]

        monkeypatch.setattr(Cloud, "client", client)
        _now[:] = [self]

    def live_names(self) -> list[str]:
        """Names of the jobs that were made."""
        return sorted(job["jobName"] for job in self.jobs.values())

    def answer(self, request: AWSPreparedRequest, event_name: str) -> AWSResponse:
        """What AWS would."""
        _, service, operation = event_name.split(".")
        self.calls.append(f"{service}:{operation}")
        if len(self.calls) == self.kill_before:
            raise Killed
        status, content = getattr(self, f"_{service}")(operation, request)
        forced = self.answers.get(operation, [])
        if forced:
            status, content = forced.pop(0)
        if len(self.calls) == self.kill_after:
            raise Killed
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = (
            {"x-amzn-errortype": content["__type"]} if isinstance(content, dict) and status >= 400 else {}
        )
        head: Any = {"content-length": str(len(body)), **headers}
        return AWSResponse(request.url, status, head, _Raw(body))

    def _cloudformation(self, _: str, request: AWSPreparedRequest) -> tuple[int, bytes]:
        name = urllib.parse.parse_qs(_body(request).decode())["StackName"][0]
        if name not in self.stacks:
            error = f"<Code>ValidationError</Code><Message>Stack with id {name} does not exist</Message>"
            return 400, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>".encode()
        outputs = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in self.stacks[name].items()
        )
        told = f"<StackName>{name}</StackName><StackId>arn:{name}</StackId><StackStatus>CREATE_COMPLETE"
        stack = f"<member>{told}</StackStatus><Outputs>{outputs}</Outputs></member>"
        inner = f"<DescribeStacksResult><Stacks>{stack}</Stacks></DescribeStacksResult>"
        return 200, f"<DescribeStacksResponse>{inner}</DescribeStacksResponse>".encode()

    def _lambda(self, operation: str, _: AWSPreparedRequest) -> tuple[int, Any]:
        if operation == "Invoke":
            return 202, b""
        sizes = {"MemorySize": 10_240, "Timeout": 900}
        named = {"FunctionName": "glacierflow", "FunctionArn": "arn:function"}
        return 200, {"Configuration": named | sizes, "Code": {"ImageUri": self.image}}

    def _ecs(self, operation: str, _: AWSPreparedRequest) -> tuple[int, Any]:
        if operation == "RunTask":
            return 200, {"tasks": [{"taskArn": f"arn:task/{next(self._ids)}"}], "failures": []}
        return 200, {"taskDefinition": {"containerDefinitions": [{"image": self.image}]}}

    def _sfn(self, *_: Any) -> tuple[int, Any]:
        return 200, {"executionArn": "arn:execution", "startDate": 1722513605}

    def _s3(self, operation: str, request: AWSPreparedRequest) -> tuple[int, bytes]:
        url = urllib.parse.urlsplit(request.url)
        host, path = url.netloc.split(".")[0], urllib.parse.unquote(url.path).lstrip("/")
        bucket, key = (
            (host, path) if host == self.bucket else (path.partition("/")[0], path.partition("/")[2])
        )
        if bucket != self.bucket:
            return 404, b""
        if operation == "PutObject":
            if request.headers.get("If-None-Match") and key in self.objects:
                return 412, b"<Error><Code>PreconditionFailed</Code></Error>"
            self.objects[key] = _unchunked(_body(request), request)
        elif operation == "GetObject":
            found = self.objects.get(key)
            return (404, b"<Error><Code>NoSuchKey</Code></Error>") if found is None else (200, found)
        elif operation == "ListObjectsV2":
            return 200, self._listing(dict(urllib.parse.parse_qsl(url.query)))
        return 200, b""

    def _listing(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        keys, folders = [], set()
        for key in sorted(self.objects):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                keys.append(f"<Contents><Key>{key}</Key><Size>{len(self.objects[key])}</Size></Contents>")
        common = "".join(
            f"<CommonPrefixes><Prefix>{one}</Prefix></CommonPrefixes>" for one in sorted(folders)
        )
        inner = f"<IsTruncated>false</IsTruncated>{''.join(keys)}{common}"
        return f"<ListBucketResult>{inner}</ListBucketResult>".encode()

    def _batch(self, operation: str, request: AWSPreparedRequest) -> tuple[int, Any]:
        asked = json.loads(_body(request))
        match operation:
            case "DescribeJobQueues":
                known = [name for name in asked["jobQueues"] if name in QUEUES]
                return 200, {"jobQueues": [_queue(name) for name in known]}
            case "DescribeJobDefinitions":
                return 200, {"jobDefinitions": [self._definition(asked["jobDefinitionName"])]}
            case "SubmitJob":
                return 200, self._submit(asked)
            case "ListJobs":
                assert asked["jobQueue"] in QUEUES
                (wanted,) = asked["filters"]
                assert wanted["name"] == "JOB_NAME"
                jobs = [
                    job
                    for job in self.jobs.values()
                    if job["jobName"] in wanted["values"] and job["jobQueue"] == asked["jobQueue"]
                ]
                return 200, {"jobSummaryList": jobs}
            case "TerminateJob":
                job = self.jobs[asked["jobId"]]
                size = job["arrayProperties"]["size"]
                ended = {"status": "FAILED", "statusReason": asked["reason"], "isTerminated": True}
                job |= ended | {"arrayProperties": {"size": size, "statusSummary": {"FAILED": size}}}
                return 200, {}
            case "DescribeJobs":
                assert 1 <= len(asked["jobs"]) <= 100
                return 200, {"jobs": [self.jobs[one] for one in asked["jobs"] if one in self.jobs]}
        raise AssertionError(operation)

    def _submit(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["jobQueue"] in QUEUES
        size = asked.get("arrayProperties", {}).get("size")
        assert size is None or 2 <= size <= 10_000
        assert len(json.dumps(asked["containerOverrides"])) <= 8_192
        job_id = f"job-{next(self._ids)}"
        self.jobs[job_id] = {
            **asked,
            "jobId": job_id,
            "status": "PENDING",
            "createdAt": 1722513605000,
            "arrayProperties": {"size": size or 0, "statusSummary": {"RUNNABLE": size or 0}},
        }
        return {"jobId": job_id, "jobName": asked["jobName"]}

    def _definition(self, name: str) -> dict[str, Any]:
        return {
            "jobDefinitionName": name,
            "jobDefinitionArn": f"arn:aws:batch:us-west-2:123456789012:job-definition/{name}:2",
            "revision": 2,
            "type": "container",
            "containerProperties": {
                "image": self.image,
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {"awslogs-group": "/glacierflow/batch"},
                },
            },
        }


def _queue(name: str) -> dict[str, Any]:
    return {"jobQueueName": name, "jobQueueArn": f"arn:{name}", "state": "ENABLED", "priority": 1}


def _body(request: AWSPreparedRequest) -> bytes:
    body: Any = request.body
    if isinstance(body, str):
        return body.encode()
    content: bytes = body if isinstance(body, bytes) else body.read()
    return content


def _unchunked(content: bytes, request: AWSPreparedRequest) -> bytes:
    """The payload of an upload that botocore sent in aws-chunked encoding with a trailing checksum."""
    if b"aws-chunked" not in (request.headers.get("Content-Encoding") or b""):
        return content
    payload, rest = b"", content
    while True:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            return payload
        payload, rest = payload + rest[:size], rest[size + 2 :]
