"""AWS Batch on moto: moto keeps environments, queues and definitions; jobs are ours and really run."""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import moto.batch.models as moto_batch
from moto.batch import urls
from moto.batch.exceptions import ClientException
from moto.batch.responses import BatchResponse
from moto.batch.utils import make_arn_for_job
from moto.logs.models import logs_backends

from glacierflow.local.batch import submission
from glacierflow.local.batch.executor import Executor
from glacierflow.local.batch.jobs import Job, now_ms
from glacierflow.local.batch.runners import ContainerRunner, ProcessRunner
from glacierflow.local.batch.scheduler import Place, QueueView, Scheduler
from glacierflow.local.batch.submission import check_retry_strategy
from glacierflow.local.options import ACCOUNT_ID, CloudOptions

Json = dict[str, Any]

MAX_DESCRIBED = 100

MAX_WITH_STATUS, MAX_WITH_FILTER = 1000, 100


class BatchCloud:
    """Scheduler and executor of all regions, put together."""

    def __init__(self, options: CloudOptions, outer: Mapping[str, str], changed: Callable[[], None]) -> None:
        self._changed = changed
        self._log_lock = threading.Lock()
        self.runner = (ContainerRunner if options.executor == "docker" else ProcessRunner)(options, outer)
        self.executor = Executor(options, lambda: self.scheduler, self._log, self.runner)
        self.scheduler = Scheduler(
            vcpus=options.vcpus,
            queue_view=_queue_view,
            launch=self.executor.launch,
            changed=changed,
        )

    def _log(self, job: Job, stream: str, line: str | None) -> None:
        self.log_line(job.spec.region, job.spec.log_group, stream, line)

    def log_line(self, region: str, group: str, stream: str, line: str | None) -> None:
        """One line into CloudWatch Logs; None makes the stream."""
        logs = logs_backends[ACCOUNT_ID][region]
        with self._log_lock:
            logs.ensure_log_group(group)
            logs.ensure_log_stream(group, stream)
            if line is not None:
                logs.put_log_events(group, stream, [{"timestamp": now_ms(), "message": line}])
        self._changed()


def _queue_view(region: str, queue_arn: str) -> QueueView | None:
    queue = moto_batch.batch_backends[ACCOUNT_ID][region].get_job_queue(queue_arn)
    if queue is None:
        return None
    places = []
    for environment in queue.environments:
        resources = environment.compute_resources or {}
        places.append(
            Place(
                arn=environment.arn,
                name=environment.name,
                max_vcpus=float(resources.get("maxvCpus", 256)),
                enabled=environment.state != "DISABLED",
                spot=str(resources.get("type", "")).endswith("SPOT"),
            )
        )
    return QueueView(queue.name, int(queue.priority), tuple(places))


class EmbeddedBatchBackend(moto_batch.BatchBackend):
    """One region's Batch."""

    __module__ = moto_batch.__name__  # moto finds a service's URLs by the module of its backend
    cloud: ClassVar[BatchCloud]

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of all regions."""
        return self.cloud.scheduler

    def submit(self, request: Json) -> Job:
        """SubmitJob."""
        definition = self.get_job_definition(request.get("jobDefinition") or "")
        queue = self.get_job_queue(request.get("jobQueue") or "")
        if definition is None or definition.status != "ACTIVE":
            raise ClientException(
                f"Job definition {request.get('jobDefinition')} does not exist or is inactive."
            )
        if queue is None:
            raise ClientException(f"Job queue {request.get('jobQueue')} does not exist.")
        if queue.state != "ENABLED":
            raise ClientException(f"Job queue {queue.name} is DISABLED.")
        spec = submission.make_spec(request, definition, queue.arn, self.region_name)
        job_id = str(uuid.uuid4())
        job = Job(spec, job_id, make_arn_for_job(self.account_id, job_id, self.region_name))
        size = submission.array_size(request)
        if size:
            job.add_children(size)
        with self.scheduler.lock:
            known = {name: other for name, other in self.scheduler.by_id.items() if self._mine(other)}
            needed = submission.dependencies_of(job, known) if spec.depends_on else {}
            if spec.tags:
                self.tag_resource(job.arn, spec.tags)
            self.scheduler.submit(job, needed)
        return job

    def describe(self, names: list[str]) -> list[Json]:
        """DescribeJobs: of the ids or ARNs given, those that exist."""
        if len(names) > MAX_DESCRIBED:
            raise ClientException(f"DescribeJobs takes at most {MAX_DESCRIBED} jobs, not {len(names)}.")
        with self.scheduler.lock:
            found = [self._find(name) for name in names]
            return copy.deepcopy([job.describe() for job in found if job])

    def list_page(self, request: Json) -> Json:
        """ListJobs."""
        given = [name for name in ("jobQueue", "arrayJobId", "multiNodeJobId") if request.get(name)]
        if len(given) != 1:
            raise ClientException("Exactly one of jobQueue, arrayJobId and multiNodeJobId must be given.")
        with self.scheduler.lock:
            if given == ["jobQueue"]:
                queue = self.get_job_queue(request["jobQueue"])
                if queue is None:
                    raise ClientException(f"Job queue {request['jobQueue']} does not exist.")
                jobs = [job for job in self.scheduler.top.values() if job.spec.queue == queue.arn]
            else:
                parent = self._find(request[given[0]])
                jobs = parent.children if parent else []
            found = filter_jobs(jobs, request, children=given != ["jobQueue"])
            return page(found, request)

    def snapshot(self, name: str) -> Json:
        """GetJobQueueSnapshot: the first hundred RUNNABLE jobs, in the order in which they will start."""
        queue = self.get_job_queue(name)
        if queue is None:
            raise ClientException(f"Job queue {name} does not exist.")
        front = self.scheduler.waiting(self.region_name, queue.arn)[:MAX_DESCRIBED]
        jobs = [{"jobArn": job.arn, "earliestTimeAtPosition": job.created_at} for job in front]
        with self.scheduler.lock:
            mine = [job for job in self.scheduler.top.values() if job.spec.queue == queue.arn]
            busy = [unit for job in mine for unit in job.units if unit.status in {"STARTING", "RUNNING"}]
        used = {"capacityUnit": "VCPU", "quantity": sum(float(unit.spec.vcpus) for unit in busy)}
        return {
            "frontOfQueue": {"jobs": jobs, "lastUpdatedAt": now_ms()},
            "queueUtilization": {"totalCapacityUsage": [used], "lastUpdatedAt": now_ms()},
        }

    def end(self, name: str, reason: str, *, terminate: bool) -> None:
        """CancelJob or TerminateJob, of a job, a child, or a parent with all its children."""
        job = self._find(name)
        if job is None:
            raise ClientException(f"Job {name} does not exist.")
        begun = self.scheduler.withdraw(list(job.units), reason, terminated=terminate)
        if terminate:
            if any(not unit.done for unit in begun) and job.children:
                job.terminated = True
            for unit in begun:
                self.cloud.executor.terminate(unit, reason)

    def update_compute_environment(self, *args: Any, **kwargs: Any) -> tuple[str, str]:  # noqa: ANN401
        """UpdateComputeEnvironment; waiting jobs may fit now."""
        answer = super().update_compute_environment(*args, **kwargs)
        self.scheduler.dispatch()
        return answer

    def update_job_queue(self, *args: Any, **kwargs: Any) -> tuple[str, str]:  # noqa: ANN401
        """UpdateJobQueue; waiting jobs may fit now."""
        answer = super().update_job_queue(*args, **kwargs)
        self.scheduler.dispatch()
        return answer

    def reset(self) -> None:
        """Forget everything of this region; what runs is ended."""
        mine = [job for job in self.scheduler.top.values() if self._mine(job)]
        for job in mine:
            self.end(job.job_id, "The embedded cloud was reset", terminate=True)
        self.scheduler.forget(self.region_name)
        super().reset()

    def _mine(self, job: Job) -> bool:
        return job.spec.region == self.region_name

    def _find(self, name: str) -> Job | None:
        job = self.scheduler.by_id.get(name.rpartition(":job/")[2])
        return job if job and self._mine(job) else None


def _register_job_definition(self: BatchResponse) -> str:
    request = json.loads(self.body)
    check_retry_strategy(request.get("retryStrategy"))
    submission.check_timeout(request.get("timeout"))
    submission.check_environment((request.get("containerProperties") or {}).get("environment"))
    answer: str = _moto_register(self)
    return answer


def _submit_job(self: BatchResponse) -> str:
    job = _backend(self).submit(json.loads(self.body))
    return json.dumps({"jobId": job.job_id, "jobName": job.spec.name, "jobArn": job.arn})


def _describe_jobs(self: BatchResponse) -> str:
    return json.dumps({"jobs": _backend(self).describe(json.loads(self.body).get("jobs") or [])})


def _list_jobs(self: BatchResponse) -> str:
    return json.dumps(_backend(self).list_page(json.loads(self.body)))


def _cancel_job(self: BatchResponse) -> str:
    request = json.loads(self.body)
    _backend(self).end(request["jobId"], request["reason"], terminate=False)
    return "{}"


def _terminate_job(self: BatchResponse) -> str:
    request = json.loads(self.body)
    _backend(self).end(request["jobId"], request["reason"], terminate=True)
    return "{}"


def _get_job_queue_snapshot(self: BatchResponse) -> str:
    return json.dumps(_backend(self).snapshot(json.loads(self.body)["jobQueue"]))


def _backend(response: BatchResponse) -> EmbeddedBatchBackend:
    backend = response.batch_backend
    if not isinstance(backend, EmbeddedBatchBackend):
        raise TypeError(type(backend))
    return backend


_moto_register = BatchResponse.registerjobdefinition


def install(cloud: BatchCloud) -> None:
    """Put this Batch in the place of moto's, before moto answers its first request."""
    EmbeddedBatchBackend.cloud = cloud
    moto_batch.batch_backends.backend = EmbeddedBatchBackend
    # Any: methods are replaced
    response: Any = BatchResponse
    response.registerjobdefinition = _register_job_definition
    response.submitjob = _submit_job
    response.describejobs = _describe_jobs
    response.listjobs = _list_jobs
    response.canceljob = _cancel_job
    response.terminatejob = _terminate_job
    response.getjobqueuesnapshot = _get_job_queue_snapshot
    urls.url_paths["{0}/v1/getjobqueuesnapshot$"] = BatchResponse.dispatch


def filter_jobs(jobs: Iterable[Job], request: dict[str, Any], *, children: bool) -> list[Job]:
    """The jobs ListJobs returns; filters do not apply to an array's children.

    Raises:
        ClientException: more than one filter, or one AWS does not know.
    """
    filters = request.get("filters") or []
    if len(filters) > 1:
        raise ClientException("Only one filter can be used at a time.")
    if not filters or children:
        # Batch lists what is RUNNING unless told otherwise, and one status at a time.
        status = request.get("jobStatus") or "RUNNING"
        found = [job for job in jobs if job.status == status]
        return found if children else found[::-1]
    test = _TESTS.get(filters[0].get("name", ""))
    if test is None:
        raise ClientException(f"Filter {filters[0].get('name')} is not supported.")
    values = filters[0].get("values") or []
    found = [job for job in jobs if any(test(job, value) for value in values)]
    return sorted(found, key=lambda job: job.created_at, reverse=True)


def page(jobs: list[Job], request: dict[str, Any]) -> dict[str, Any]:
    """One page of summaries.

    Raises:
        ClientException: a page size or a token that cannot be.
    """
    limit = MAX_WITH_FILTER if request.get("filters") else MAX_WITH_STATUS
    asked = request.get("maxResults")
    if asked is not None and asked < 1:
        raise ClientException("maxResults must be at least 1.")
    size = min(limit, asked or limit)
    token = request.get("nextToken") or "0"
    if not token.isdigit():
        raise ClientException("The nextToken is not valid.")
    start = int(token)
    answer: dict[str, Any] = {"jobSummaryList": [job.summary() for job in jobs[start : start + size]]}
    if start + size < len(jobs):
        answer["nextToken"] = str(start + size)
    return answer


def _name(job: Job, value: str) -> bool:
    return _matches(job.spec.name.lower(), value.lower())


def _definition(job: Job, value: str) -> bool:
    if value.startswith("arn:"):
        return job.spec.definition == value
    return _matches(job.spec.definition_name.rpartition(":")[0], value)


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


_TESTS: dict[str, Callable[[Job, str], bool]] = {
    "JOB_NAME": _name,
    "JOB_DEFINITION": _definition,
    "BEFORE_CREATED_AT": lambda job, value: job.created_at < int(value),
    "AFTER_CREATED_AT": lambda job, value: job.created_at > int(value),
}
