"""One child in a container on this machine: as AWS Batch would start it, or as it was started."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.aws.names import revisions
from glacierflow.cloud import EMBEDDED_ACCESS_KEY, Cloud
from glacierflow.errors import UsageError
from glacierflow.image import docker
from glacierflow.image.docker import ContainerSpec
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.runs.records import JobRecord, read_jobs
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


def run_child(child: ChildRun, tell: Callable[[str], None]) -> docker.Exit:
    """Run a child to its end; every line of its log goes to ``tell``.

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
    try:
        for line in container.lines():
            tell(line.rstrip("\n"))
        return container.wait()
    finally:
        docker.remove(spec.name)


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
