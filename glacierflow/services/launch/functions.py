"""AWS Lambda as a launcher: one asynchronous invocation a slot.

How many run at once is bounded by the function's reserved concurrency; the rest waits in Lambda's own queue.
An invocation that went wrong is not repeated blindly: its receipt says why, and ``retry`` knows what to do.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.manifest import Manifest, Service
from glacierflow.runs.plan import job_name
from glacierflow.runs.records import JobRecord, list_attempts, write_job
from glacierflow.services.failures import plain_errors
from glacierflow.services.functions import function_errors
from glacierflow.services.launch.fit import check_lambda_fit
from glacierflow.services.launch.launcher import manifest_uri
from glacierflow.store import Store

__all__ = ["FunctionLauncher", "find_function"]

_PER_SECOND = 50
"""Asynchronous invocations; Lambda takes ten times a function's concurrency a second."""


@dataclass(frozen=True, slots=True)
class FunctionLauncher:
    """One Lambda function, found to exist."""

    cloud: Cloud
    name: str
    arn: str
    memory_mb: int
    timeout_s: int
    image: str | None
    service: Service = "lambda"

    def check(self, manifest: Manifest) -> None:
        """Every slot is expected to end in one invocation."""
        check_lambda_fit(manifest, memory_mb=self.memory_mb, timeout_s=self.timeout_s)

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
                client.invoke(**self._request(manifest, slot))
            time.sleep(max(0.0, 1 / _PER_SECOND - (time.monotonic() - start)))
        return record_arrays(
            manifest, store, self.service, job_id=self.arn, place=self.name, log_group=self._log
        )

    @property
    def _log(self) -> str:
        return f"/aws/lambda/{self.name}"

    def _request(self, manifest: Manifest, slot: int) -> dict[str, Any]:
        payload = json.dumps({"manifest": manifest_uri(manifest), "slot": slot})
        return {"FunctionName": self.name, "InvocationType": "Event", "Payload": payload}


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


def find_function(cloud: Cloud, name: str) -> FunctionLauncher:
    """The function of this name.

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
    )
