"""One child in a container on this machine, as AWS Batch would start it."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glacierflow import containers
from glacierflow.aws import EMBEDDED_ACCESS_KEY, Cloud
from glacierflow.containers import ContainerSpec
from glacierflow.errors import UsageError
from glacierflow.layout import RunLayout
from glacierflow.manifest import Manifest
from glacierflow.store import LocalStore, Store

__all__ = ["ChildRun", "make_directory", "run_child", "write_manifest"]

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
) -> containers.Exit:
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
        containers.create(spec)
        container = containers.start(spec.name)
    except containers.EngineError as error:
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
        containers.remove(spec.name)


def _stopper(
    container: containers.Container, stop: threading.Event, ended: threading.Event, grace_s: float
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
