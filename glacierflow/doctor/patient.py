"""What every check of the doctor is given, and how a check that cannot ask says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import Places
from glacierflow.cloud import Cloud
from glacierflow.errors import Finding, GlacierflowError
from glacierflow.model.records import StepSettings
from glacierflow.settings import LoadedSettings


@dataclass(frozen=True, slots=True)
class Patient:
    """A configuration and the cloud it is about."""

    loaded: LoadedSettings
    step: StepSettings
    cloud: Cloud
    places: Places
    _answers: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - AWS's own structures
        """What ``ask`` answers, asked once for all checks."""
        if name not in self._answers:
            self._answers[name] = ask()
        return self._answers[name]

    def queues(self) -> list[dict[str, Any]]:
        """Both job queues, as far as they exist."""
        names = [self.places.spot_queue, self.places.ondemand_queue]
        batch = self.cloud.client("batch")
        found: list[dict[str, Any]] = self.once(
            "queues", lambda: batch.describe_job_queues(jobQueues=names)["jobQueues"]
        )
        return found

    def environments(self) -> list[dict[str, Any]]:
        """The compute environments of the queues."""
        order = [
            place["computeEnvironment"]
            for queue in self.queues()
            for place in queue["computeEnvironmentOrder"]
        ]
        if not order:
            return []
        batch, names = self.cloud.client("batch"), list(dict.fromkeys(order))
        found: list[dict[str, Any]] = self.once(
            "environments",
            lambda: batch.describe_compute_environments(computeEnvironments=names)["computeEnvironments"],
        )
        return found

    def definitions(self) -> dict[int, dict[str, Any]]:
        """The newest active job definition of each memory class that has one, by MiB."""
        found: dict[int, dict[str, Any]] = self.once("definitions", lambda: dict(self._definitions()))
        return found

    def _definitions(self) -> Iterator[tuple[int, dict[str, Any]]]:
        batch = self.cloud.client("batch")
        for memory, wanted in self.places.job_definitions.items():
            name, _, revision = wanted.rpartition("/")[2].partition(":")
            pages = batch.get_paginator("describe_job_definitions").paginate(
                jobDefinitionName=name, status="ACTIVE"
            )
            known = [one for page in pages for one in page["jobDefinitions"]]
            of_revision = [one for one in known if not revision or str(one["revision"]) == revision]
            if of_revision:
                yield memory, max(of_revision, key=lambda one: int(one["revision"]))


Check = Callable[[Patient], Iterator[Finding]]


def run_check(name: str, check: Check, patient: Patient) -> list[Finding]:
    """All findings of a check; where AWS does not answer it, one that says why."""
    try:
        with plain_errors(f"check {name}", service="AWS"):
            return list(check(patient))
    except GlacierflowError as error:
        return [Finding(name, "unknown", error.message, error.next_step)]
