"""ListJobs: one status or one filter at a time, page by page, as AWS documents it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from moto.batch.exceptions import ClientException

from glacierflow.local.jobs import Job

__all__ = ["filter_jobs", "page"]

MAX_WITH_STATUS, MAX_WITH_FILTER = 1000, 100


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
