"""AWS Batch as documented, in memory, for thousands of children: limits, paging and defaults that bite.

Requests are checked against botocore's own service model. Enforced beyond it: 100 ids a DescribeJobs, arrays
of 2 to 10,000, ListJobs with exactly one of its three subjects, RUNNING unless told otherwise, one filter at
a time, 1,000 a page (100 with a filter), and children that no filter applies to. Every call is counted.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator
from refusals import refusal

Json = dict[str, Any]
STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
NOW_MS = 1_722_513_605_000

_MODEL = botocore.session.get_session().get_service_model("batch")


def refused(operation: str, message: str) -> ClientError:
    """What boto3 raises when Batch refuses a request."""
    return refusal(operation, "ClientException", message=message)


class NoStack:
    """A boto3 client for CloudFormation in an account without stacks."""

    def describe_stacks(self, *, StackName: str) -> None:  # noqa: N803 - boto3's word
        message = f"Stack with id {StackName} does not exist"
        raise refusal("DescribeStacks", "ValidationError", message=message)


class BatchFake:
    """A boto3 client for Batch."""

    def __init__(self) -> None:
        self.jobs: dict[str, Json] = {}
        """Plain jobs and parents, as DescribeJobs shows them."""
        self.children: dict[str, list[Json]] = {}
        self.queues: dict[str, Json] = {}
        self.environments: dict[str, Json] = {}
        self.definitions: dict[str, Json] = {}
        self.snapshots: dict[str, Json] = {}
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[str, Json]] = []
        """Every request, in order."""
        self.forgotten = False
        """Whether Batch has forgotten all jobs, as it does after about a week."""
        self.errors: dict[str, Exception] = {}
        """By operation: raised instead of an answer."""
        self.page_size = 1_000
        """Of ListJobs; Batch has at most so many, and 100 with a filter."""
        self._numbers = itertools.count()

    # --- what a test sets up

    def add_queue(self, name: str, *environments: str, **fields: Any) -> None:
        """A queue over compute environments, in their order."""
        self.queues[name] = {
            "jobQueueName": name,
            "jobQueueArn": f"arn:aws:batch:us-west-2:123456789012:job-queue/{name}",
            "state": "ENABLED",
            "status": "VALID",
            "priority": 1,
            "computeEnvironmentOrder": [
                {"order": order, "computeEnvironment": environment}
                for order, environment in enumerate(environments, 1)
            ],
        } | fields

    def add_environment(self, name: str, **fields: Any) -> None:
        """A managed compute environment."""
        self.environments[name] = {
            "computeEnvironmentName": name,
            "computeEnvironmentArn": f"arn:aws:batch:us-west-2:123456789012:compute-environment/{name}",
            "type": "MANAGED",
            "state": "ENABLED",
            "status": "VALID",
            "statusReason": "ComputeEnvironment Healthy",
            "computeResources": {"type": "SPOT", "minvCpus": 0, "maxvCpus": 256, "desiredvCpus": 0},
        } | fields

    def add_array(self, job_id: str, states: list[str], **fields: Any) -> None:
        """An array whose children are in the given states."""
        self.jobs[job_id] = {
            "jobId": job_id,
            "jobName": job_id,
            "jobQueue": "glacierflow-spot",
            "status": "PENDING",
            "createdAt": NOW_MS,
        } | fields
        self.children[job_id] = [
            {"jobId": f"{job_id}:{index}", "jobName": job_id, "status": state, "createdAt": NOW_MS}
            for index, state in enumerate(states)
        ]

    def set_child(self, job_id: str, index: int, **fields: Any) -> None:
        """Change a child: ``status``, ``statusReason``, ``attempts``, ``container``..."""
        self.children[job_id][index] |= fields

    # --- what boto3 calls

    def submit_job(self, **request: Any) -> Json:
        self._check("SubmitJob", request)
        size = request.get("arrayProperties", {}).get("size")
        if size is not None and not 2 <= size <= 10_000:
            raise refused("SubmitJob", "Array size must be between 2 and 10000.")
        if request["jobQueue"].rpartition("/")[2] not in self.queues:
            raise refused("SubmitJob", f"JobQueue {request['jobQueue']} not found.")
        job_id = f"job-{next(self._numbers)}"
        fields = {"jobName": request["jobName"], "jobQueue": request["jobQueue"], "status": "SUBMITTED"}
        if size:
            self.add_array(job_id, ["RUNNABLE"] * size, **fields)
        else:
            self.jobs[job_id] = {"jobId": job_id, "createdAt": NOW_MS, **fields}
        return {"jobId": job_id, "jobName": request["jobName"], "jobArn": f"arn:{job_id}"}

    def describe_jobs(self, **request: Any) -> Json:
        self._check("DescribeJobs", request)
        if len(request["jobs"]) > 100:
            raise refused("DescribeJobs", "Jobs list can not contain more than 100 jobs")
        found = (self._find(job_id.rpartition(":job/")[2]) for job_id in request["jobs"])
        return {"jobs": [job for job in found if job is not None]}

    def list_jobs(self, **request: Any) -> Json:
        self._check("ListJobs", request)
        given = [name for name in ("jobQueue", "arrayJobId", "multiNodeJobId") if request.get(name)]
        if len(given) != 1:
            raise refused("ListJobs", "Exactly one of jobQueue, arrayJobId, multiNodeJobId is required.")
        filters = request.get("filters", [])
        if len(filters) > 1:
            raise refused("ListJobs", "Only one filter can be used at a time.")
        if given == ["arrayJobId"]:
            jobs, filters = self.children.get(request["arrayJobId"], []), []
        else:
            queue = request["jobQueue"].rpartition("/")[2]
            jobs = [job for job in self.jobs.values() if job["jobQueue"].rpartition("/")[2] == queue]
        if self.forgotten:
            jobs = []
        if filters:
            jobs = [job for job in jobs if _passes(job, filters[0])]
        else:
            jobs = [job for job in jobs if job["status"] == request.get("jobStatus", "RUNNING")]
        return _page(jobs, request, most=min(self.page_size, 100 if filters else 1000))

    def describe_job_queues(self, **request: Any) -> Json:
        self._check("DescribeJobQueues", request)
        return {"jobQueues": _named(self.queues, request.get("jobQueues"))}

    def describe_compute_environments(self, **request: Any) -> Json:
        self._check("DescribeComputeEnvironments", request)
        return {"computeEnvironments": _named(self.environments, request.get("computeEnvironments"))}

    def describe_job_definitions(self, **request: Any) -> Json:
        self._check("DescribeJobDefinitions", request)
        return {"jobDefinitions": _named(self.definitions, [request["jobDefinitionName"]])}

    def get_job_queue_snapshot(self, **request: Any) -> Json:
        self._check("GetJobQueueSnapshot", request)
        queue = request["jobQueue"].rpartition("/")[2]
        if queue not in self.queues:
            raise refused("GetJobQueueSnapshot", f"Job queue {queue} does not exist.")
        return self.snapshots.get(queue, {"frontOfQueue": {"jobs": [], "lastUpdatedAt": NOW_MS}})

    def cancel_job(self, **request: Any) -> Json:
        self._check("CancelJob", request)
        return self._end(request, ("SUBMITTED", "PENDING", "RUNNABLE"), "isCancelled")

    def terminate_job(self, **request: Any) -> Json:
        self._check("TerminateJob", request)
        return self._end(request, STATES[:5], "isTerminated")

    def get_paginator(self, name: str) -> _Paginator:
        return _Paginator(getattr(self, name))

    # --- inside

    def _check(self, operation: str, request: Json) -> None:
        self.calls[operation] += 1
        self.log.append((operation, request))
        if operation in self.errors:
            raise self.errors[operation]
        shape = _MODEL.operation_model(operation).input_shape
        assert shape is not None
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()

    def _find(self, job_id: str) -> Json | None:
        if self.forgotten:
            return None
        parent, _, index = job_id.partition(":")
        if index:
            children = self.children.get(parent, [])
            return children[int(index)] if int(index) < len(children) else None
        job = self.jobs.get(job_id)
        if job is None or job_id not in self.children:
            return job
        children = self.children[job_id]
        counts = Counter(child["status"] for child in children)
        summary = {state: counts[state] for state in STATES}
        ended = counts["SUCCEEDED"] + counts["FAILED"] == len(children)
        state = ("FAILED" if counts["FAILED"] else "SUCCEEDED") if ended and children else job["status"]
        return job | {
            "status": state,
            "arrayProperties": {"size": len(children), "statusSummary": summary if children else {}},
        }

    def _end(self, request: Json, states: tuple[str, ...], mark: str) -> Json:
        parent, _, index = request["jobId"].partition(":")
        jobs = self.children.get(parent) or [self.jobs[parent]]
        for job in jobs if not index else [jobs[int(index)]]:
            if job["status"] in states:
                job |= {"status": "FAILED", "statusReason": request["reason"], mark: True}
        return {}


class _Paginator:
    def __init__(self, call: Any) -> None:
        self._call = call

    def paginate(self, **request: Any) -> Iterator[Json]:
        while True:
            answer = self._call(**request)
            yield answer
            if not answer.get("nextToken"):
                return
            request = request | {"nextToken": answer["nextToken"]}


def _page(jobs: list[Json], request: Json, *, most: int) -> Json:
    size = min(most, request.get("maxResults", most))
    start = int(request.get("nextToken", "0"))
    answer: Json = {"jobSummaryList": [dict(job) for job in jobs[start : start + size]]}
    if start + size < len(jobs):
        answer["nextToken"] = str(start + size)
    return answer


def _passes(job: Json, wanted: Json) -> bool:
    assert wanted["name"] == "JOB_NAME", wanted
    return any(
        job["jobName"].startswith(value[:-1]) if value.endswith("*") else job["jobName"] == value
        for value in wanted["values"]
    )


def _named(known: dict[str, Json], names: list[str] | None) -> list[Json]:
    if names is None:
        return list(known.values())
    return [known[name.rpartition("/")[2]] for name in names if name.rpartition("/")[2] in known]
