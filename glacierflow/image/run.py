"""One child in a container on this machine: as AWS Batch would start it, as it was started, or reclaimed."""

from __future__ import annotations

import dataclasses
import os
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import revisions
from glacierflow.cloud import EMBEDDED_ACCESS_KEY, Cloud
from glacierflow.errors import DataError, UsageError
from glacierflow.image import docker
from glacierflow.image.docker import ContainerSpec, Exit
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.runs.records import JobRecord, ReceiptReader, list_attempts, read_jobs
from glacierflow.store import LocalStore, Store

_IMAGE_UID = 1000
"""The user of container/Dockerfile."""
_PLACE = "glacierflow-container-run"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRun:
    """What a child is started with."""

    manifest: Manifest
    slot: int
    cloud: Cloud
    image: str
    memory_mib: int
    vcpus: float
    attempt: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables, such as those of a submitted job."""

    def spec(self) -> ContainerSpec:
        """The container: not root, nothing writable but ``/tmp`` and the run's own directory."""
        manifest, directory = self.manifest, self._directory()
        return ContainerSpec(
            name=f"glacierflow-{uuid.uuid4().hex}",
            image=self.image,
            # Lambda's image would wait for events, and has no writable volume of its own
            entrypoint="python",
            command=("-m", "glacierflow.task"),
            volumes=("/tmp",),  # noqa: S108 - in the container
            environment={
                **self.environment,
                "GLACIERFLOW_MANIFEST": f"{manifest.store}/{RunLayout(manifest.run_id).manifest}",
                "GLACIERFLOW_INDEX": str(self.slot),
                "AWS_BATCH_JOB_ID": str(uuid.uuid4()),
                "AWS_BATCH_JOB_ATTEMPT": str(self.attempt),
                "AWS_BATCH_JQ_NAME": _PLACE,
                "AWS_BATCH_CE_NAME": _PLACE,
                **_access(self.cloud),
            },
            memory_mib=self.memory_mib,
            vcpus=self.vcpus,
            user=_owner(directory) if directory else None,
            read_only=True,
            # under its own path, so that the manifest means the same inside and outside
            mounts={str(directory): str(directory)} if directory else {},
        )

    def _directory(self) -> Path | None:
        return None if self.manifest.store.startswith("s3://") else Path(self.manifest.store)


def run_child(
    child: ChildRun,
    tell: Callable[[str], None],
    *,
    stop: threading.Event | None = None,
    grace_s: float = 30,
) -> docker.Exit:
    """Run a child to its end; every line of its log goes to ``tell``.

    Args:
        child: what to start.
        tell: called with each line.
        stop: once it is set the container gets SIGTERM, and after the grace period SIGKILL.
        grace_s: seconds between the two; AWS Batch gives 30.

    Raises:
        UsageError: the image is not here and cannot be pulled, or the engine refuses the container.
    """
    spec = child.spec()
    try:
        docker.create(spec)
        container = docker.start(spec.name)
    except docker.EngineError as error:
        raise UsageError(
            f"the container does not start: {error.message}",
            next_step="build the image with `glacierflow container build`, or name another with --image",
        ) from error
    ended = threading.Event()
    if stop is not None:
        threading.Thread(target=_stopper, args=(container, stop, ended, grace_s), daemon=True).start()
    try:
        for line in container.lines():
            tell(line.rstrip("\n"))
        return container.wait()
    finally:
        ended.set()
        docker.remove(spec.name)


def _stopper(
    container: docker.Container, stop: threading.Event, ended: threading.Event, grace_s: float
) -> None:
    stop.wait()
    if not ended.is_set():
        container.ask_to_end()
        if not ended.wait(grace_s):
            container.kill()


def _access(cloud: Cloud) -> dict[str, str]:
    """What stands for the job's role: the user's own credentials, or the embedded cloud."""
    access = {"AWS_DEFAULT_REGION": cloud.region, "AWS_REGION": cloud.region}
    if cloud.embedded:
        return access | {
            "GLACIERFLOW_EMBEDDED": "1",
            "AWS_ENDPOINT_URL": cloud.endpoint_url or "",
            "AWS_ACCESS_KEY_ID": EMBEDDED_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": EMBEDDED_ACCESS_KEY,
        }
    if "AWS_ENDPOINT_URL" in os.environ:
        access["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]
    credentials = cloud.session().get_credentials()
    if credentials is None:
        return access
    frozen = credentials.get_frozen_credentials()
    access |= {
        "AWS_ACCESS_KEY_ID": frozen.access_key or "",
        "AWS_SECRET_ACCESS_KEY": frozen.secret_key or "",
    }
    return access | ({"AWS_SESSION_TOKEN": frozen.token} if frozen.token else {})


def _owner(directory: Path) -> str:
    """Whom products in a directory shall belong to: its owner."""
    status = directory.stat()
    return f"{status.st_uid}:{status.st_gid}"


def make_directory(directory: Path) -> None:
    """Make the directory of a run where there is none; one that root makes is given to the image's user."""
    if not directory.exists():
        directory.mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(directory, _IMAGE_UID, _IMAGE_UID)


def write_manifest(manifest: Manifest, store: Store) -> None:
    """Write a run's manifest where its child will look for it, and may write beside it."""
    key = RunLayout(manifest.run_id).manifest
    store.put(key, manifest.model_dump_json(indent=1).encode(), if_absent=True)
    if isinstance(store, LocalStore) and os.geteuid() == 0:
        owner = store.root.stat()
        path = store.root / key
        for made in (path, path.parent, path.parent.parent):
            os.chown(made, owner.st_uid, owner.st_gid)


@dataclass(frozen=True, slots=True)
class StartedWith:
    """A child's container; None where nobody knows any more."""

    image: str | None
    environment: dict[str, str]
    memory_mib: int | None
    vcpus: float | None


def started_with(manifest: Manifest, slot: int, store: Store, cloud: Cloud) -> StartedWith:
    """Ask AWS Batch for the job of a slot, or for its definition once the job is forgotten.

    Of a run on another service, what its records say.

    Raises:
        UnavailableError: AWS Batch cannot be reached.
    """
    record = next(
        (
            one
            for one in read_jobs(store, manifest.run_id)
            if one.first_slot <= slot < one.first_slot + one.size
        ),
        None,
    )
    container = _container(record, slot, cloud) if record and record.service == "batch" else {}
    environment = {one["name"]: one.get("value", "") for one in container.get("environment", [])}
    needed = {one["type"]: one["value"] for one in container.get("resourceRequirements", [])}
    class_mib = record.memory_mib if record else None
    return StartedWith(
        image=manifest.image or container.get("image"),
        environment=environment,
        memory_mib=int(needed["MEMORY"]) if "MEMORY" in needed else class_mib,
        vcpus=float(needed["VCPU"]) if "VCPU" in needed else None,
    )


def _container(record: JobRecord, slot: int, cloud: Cloud) -> dict[str, Any]:
    job_id = f"{record.job_id}:{slot - record.first_slot}" if record.is_array else record.job_id
    client = cloud.client("batch")
    with plain_errors(f"describe the job {job_id}"):
        jobs = client.describe_jobs(jobs=[job_id])["jobs"]
        if jobs:
            found: dict[str, Any] = jobs[0].get("container", {})
            return found
    for definition in revisions(client, record.job_definition, retired=True):
        properties: dict[str, Any] = definition.get("containerProperties", {})
        return properties
    return {}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it."""

    first: Exit
    second: Exit
    attempts: tuple[str, ...]
    """Outcome of each attempt; ``killed`` where it left no receipt."""
    products: int
    problems: tuple[str, ...]
    """Why the products are not what an undisturbed run would have left; empty where they are."""


def rehearse(
    child: ChildRun, store: Store, tell: Callable[[str], None], *, after_s: float, grace_s: float
) -> Rehearsal:
    """Start a child, end it as a reclaimed instance would, start it again, and check what lies in the store.

    Args:
        child: what to start.
        store: the run's.
        tell: called with each line of both attempts.
        after_s: seconds from the first line of the log to SIGTERM.
        grace_s: seconds from SIGTERM to SIGKILL.
    """
    stop = threading.Event()
    timer = threading.Timer(after_s, stop.set)

    def heard(line: str) -> None:
        if not timer.is_alive() and not timer.finished.is_set():
            timer.start()
        tell(line)

    first = run_child(child, heard, stop=stop, grace_s=grace_s)
    timer.cancel()
    tell(f"-- the first attempt ended with exit code {first.exit_code}; starting the second")
    second = run_child(dataclasses.replace(child, attempt=child.attempt + 1), tell)
    return _check(child, store, first, second)


def _check(child: ChildRun, store: Store, first: Exit, second: Exit) -> Rehearsal:
    run_id = child.manifest.run_id
    attempts = {slot: found for slot, found in list_attempts(store, run_id).items() if slot == child.slot}
    receipts = ReceiptReader(store, run_id).every(attempts)
    outcomes = attempts[child.slot].outcomes if attempts else {}
    problems = [] if second.exit_code == 0 else [f"the second attempt ended with {second.exit_code}"]
    problems += _doubled(receipts) + _damaged(receipts, store)
    if receipts:
        last, keys = receipts[-1].counts, _keys(receipts)
        if last.failed:
            problems.append(f"{last.failed} acquisitions could not be read")
        # what was there before this run is skipped by both attempts
        if last.kept != last.written + last.skipped + last.failed:
            problems.append(
                f"{last.kept} acquisitions were to be made, {last.written + last.skipped} are there"
            )
        return Rehearsal(first, second, _names(outcomes), len(keys), tuple(problems))
    return Rehearsal(first, second, _names(outcomes), 0, (*problems, "no attempt left a receipt"))


def _names(outcomes: dict[int, str | None]) -> tuple[str, ...]:
    return tuple(outcomes[number] or "killed" for number in sorted(outcomes))


def _keys(receipts: list[Receipt]) -> set[str]:
    return {product.key for receipt in receipts for product in receipt.products}


def _doubled(receipts: list[Receipt]) -> list[str]:
    """Acquisitions that became more than one product."""
    made: dict[tuple[int, str], set[str]] = defaultdict(set)
    for receipt in receipts:
        for product in receipt.products:
            made[product.unit, product.acquisition].add(product.key)
    return [f"{name} was made twice: {sorted(keys)}" for (_, name), keys in made.items() if len(keys) > 1]


def _damaged(receipts: list[Receipt], store: Store) -> list[str]:
    """Products that are not there, or not whole."""
    problems = []
    expected = {product.key: product.sha256 for receipt in receipts for product in receipt.products}
    for key, sha256 in expected.items():
        try:
            found = store.sha256(key)
        except DataError as error:
            problems.append(error.message)
            continue
        if found is None:
            problems.append(f"{key} is not there")
        elif found != sha256:
            problems.append(f"{key} holds other bytes than its receipt says")
    return problems
