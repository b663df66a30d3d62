"""What survives the server: S3 and logs as moto has them, Batch as JSON, written aside and renamed.

A snapshot is taken soon after something changed, at most every second, and at the end. Bytes of S3 objects
are not in it: they are written through to files of their own.
"""

from __future__ import annotations

import json
import logging
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import moto.batch.models as moto_batch
import moto.logs.models as moto_logs
import moto.s3.models as moto_s3

from glacierflow.local import moto_private, s3
from glacierflow.local.batch.jobs import Job
from glacierflow.local.batch.scheduler import Scheduler
from glacierflow.local.iam import RequesterPays
from glacierflow.local.infrastructure import Infrastructure
from glacierflow.local.options import ACCOUNT_ID
from glacierflow.local.s3 import Vault

_log = logging.getLogger(__name__)

_PICKLE_TRIES = 20
_LEAST_PAUSE_S = 1.0


class Saver:
    """Writes a snapshot when something changed."""

    def __init__(self, directory: Path, infrastructure: Infrastructure) -> None:
        self._directory = directory
        self._infrastructure = infrastructure
        self._dirty = threading.Event()
        self._lock = threading.Lock()
        self._scheduler: Scheduler | None = None
        self._payers: RequesterPays | None = None

    def changed(self) -> None:
        """Something worth keeping changed."""
        self._dirty.set()

    def start(self, scheduler: Scheduler, payers: RequesterPays) -> None:
        """Begin to watch."""
        self._scheduler, self._payers = scheduler, payers
        threading.Thread(target=self._watch, daemon=True, name="saver").start()

    def _watch(self) -> None:
        while self._dirty.wait():
            began = time.monotonic()
            try:
                self.save()
            except (OSError, RuntimeError, pickle.PickleError):
                _log.exception("the state could not be saved; it is tried again")
                self._dirty.set()
            # A large state takes longer to write: never spend more than a tenth of the time on it.
            time.sleep(max(_LEAST_PAUSE_S, 9 * (time.monotonic() - began)))

    def save(self) -> None:
        """Write everything now."""
        if self._scheduler is None or self._payers is None:
            return
        with self._lock:
            self._dirty.clear()
            trash = Vault.take_trash()
            try:
                self._write(self._scheduler, self._payers)
            except BaseException:
                Vault.give_back(trash)
                raise
            for path in trash:
                path.unlink(missing_ok=True)

    def _write(self, scheduler: Scheduler, payers: RequesterPays) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with scheduler.lock:
            batch = json.dumps(_batch_state(scheduler) | {"requester_pays": sorted(payers.buckets)})
        moto_state = _pickled(
            {"s3": dict(_region_backends(moto_s3)), "logs": dict(_region_backends(moto_logs))}
        )
        # Jobs last: a job that is remembered finds its objects and its log.
        _replace(self._directory / "moto.pickle", moto_state)
        _replace(self._directory / "batch.json", batch.encode())
        self._infrastructure.save()


def _region_backends(module: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - a moto models module
    backends = module.s3_backends if module is moto_s3 else module.logs_backends
    return list(backends[ACCOUNT_ID].items())


def _pickled(state: dict[str, Any]) -> bytes:
    """Pickle while other threads go on; a dictionary that grew meanwhile is a reason to try again."""
    for _ in range(_PICKLE_TRIES):
        try:
            return pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
        except RuntimeError:
            time.sleep(0.02)
    return pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_suffix(".part")
    aside.write_bytes(data)
    aside.replace(path)


def _batch_state(scheduler: Scheduler) -> dict[str, Any]:
    regions = {}
    for region, backend in list(moto_batch.batch_backends[ACCOUNT_ID].items()):
        tables = moto_private.batch_tables(backend)
        regions[region] = {
            "environments": [
                {"name": one.name, "type": one.env_type, "state": one.state, "role": one.service_role}
                | {"resources": one.compute_resources, "ecs": [one.ecs_arn, one.ecs_name]}
                for one in tables.environments.values()
            ],
            "queues": [
                {"name": one.name, "priority": one.priority, "state": one.state, "order": one.env_order_json}
                | {"policy": one.schedule_policy, "tags": backend.list_tags_for_resource(one.arn)}
                for one in tables.queues.values()
            ],
            "definitions": [one.describe() | {"region": region} for one in tables.definitions.values()],
        }
    return {"regions": regions, "jobs": [job.to_json() for job in scheduler.top.values()]}


def load(directory: Path, scheduler: Scheduler, payers: RequesterPays) -> None:
    """Take over the last snapshot, if there is one."""
    moto_file, batch_file = directory / "moto.pickle", directory / "batch.json"
    if moto_file.exists():
        # written by this program, into the user's own directory
        saved = pickle.loads(moto_file.read_bytes())  # noqa: S301
        for region, backend in saved["logs"].items():
            dict.__setitem__(moto_logs.logs_backends[ACCOUNT_ID], region, backend)
        for region, backend in saved["s3"].items():
            dict.__setitem__(moto_s3.s3_backends[ACCOUNT_ID], region, backend)
            s3.drop_missing_objects(backend)
            for name in backend.buckets:
                moto_s3.s3_backends.bucket_accounts[name] = (region, ACCOUNT_ID)
    if batch_file.exists():
        batch = json.loads(batch_file.read_text())
        payers.buckets |= set(batch["requester_pays"])
        for region, content in batch["regions"].items():
            _restore_region(region, content)
        jobs = [Job.from_json(state) for state in batch["jobs"]]
        for job in jobs:
            if job.spec.tags:
                moto_batch.batch_backends[ACCOUNT_ID][job.spec.region].tag_resource(job.arn, job.spec.tags)
        scheduler.restore(jobs)


def _restore_region(region: str, content: dict[str, Any]) -> None:
    # Any: to a type checker moto's classes are abstract
    moto: Any = moto_batch
    backend = moto.batch_backends[ACCOUNT_ID][region]
    tables = moto_private.batch_tables(backend)
    for one in content["environments"]:
        environment = moto.ComputeEnvironment(
            one["name"], one["type"], one["state"], one["resources"], one["role"], ACCOUNT_ID, region
        )
        environment.set_ecs(*one["ecs"])
        tables.environments[environment.arn] = environment
    for one in content["queues"]:
        ordered = sorted(one["order"], key=lambda entry: int(entry["order"]))
        found = [backend.get_compute_environment(entry["computeEnvironment"]) for entry in ordered]
        queue = moto.JobQueue(
            one["name"],
            one["priority"],
            one["state"],
            [environment for environment in found if environment],
            one["order"],
            one["policy"],
            backend,
            one["tags"],
        )
        tables.queues[queue.arn] = queue
    for one in content["definitions"]:
        definition = moto.JobDefinition(
            one["jobDefinitionName"],
            one["parameters"],
            one["type"],
            one.get("containerProperties"),
            None,
            one.get("eksProperties"),
            one["tags"],
            one["retryStrategy"],
            one.get("timeout"),
            backend,
            one["platformCapabilities"],
            one["propagateTags"],
            revision=one["revision"] - 1,
        )
        definition.status = one["status"]
        tables.definitions[definition.arn] = definition
