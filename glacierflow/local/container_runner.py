"""Attempts as containers of a Docker engine, held to their memory and processors by the kernel."""

from __future__ import annotations

import contextlib
import re
import subprocess
import uuid
from collections.abc import Iterator, Mapping

from glacierflow import containers
from glacierflow.containers import ContainerSpec, EngineError
from glacierflow.errors import UnavailableError
from glacierflow.local.attempt import Ended, Order, StartError
from glacierflow.local.child import cloud_environment
from glacierflow.local.options import ACCOUNT_ID, CloudOptions

__all__ = ["ContainerRunner"]

_LABEL = "glacierflow.home"
_OWN_REGISTRY = re.compile(rf"{ACCOUNT_ID}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/.+")
# what the engine says where an image is not there, or its registry will not give it
_NO_IMAGE = re.compile(
    r"pull access denied|manifest (for .* not found|unknown)|no such image|no such host|dial tcp|not found:"
    r"|unable to find image|repository .* not found|invalid reference format|failed to resolve reference"
    r"|error response from daemon: get ",
    re.IGNORECASE,
)


class _ContainerAttempt:
    def __init__(self, name: str) -> None:
        self._name = name
        self._output = subprocess.Popen(  # noqa: S603 - a name of our own making
            ["docker", "logs", "--follow", name],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def lines(self) -> Iterator[str]:
        if self._output.stdout is not None:
            with self._output.stdout as lines:
                yield from lines

    def wait(self) -> Ended:
        try:
            containers.docker("wait", self._name, timeout_s=7 * 24 * 3600)
            state = (containers.inspect("container", self._name) or {}).get("State", {})
        except UnavailableError:
            # the engine itself has gone, and its containers with it
            state = {}
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._output.wait(5)
        self._output.kill()
        _remove(self._name)
        return Ended(int(state.get("ExitCode", 137)), bool(state.get("OOMKilled")))

    def ask_to_end(self) -> None:
        self._signal("TERM")

    def kill(self) -> None:
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        with contextlib.suppress(UnavailableError):
            containers.docker("kill", "--signal", name, self._name)


class ContainerRunner:
    """Starts containers of the definition's image."""

    def __init__(self, options: CloudOptions, outer: Mapping[str, str]) -> None:
        self._options = options
        self._outer = outer
        self._remove_orphans()

    def start(self, order: Order) -> _ContainerAttempt:
        """Create and start a container; its output is followed from its first line."""
        name = f"glacierflow-{uuid.uuid4().hex}"
        try:
            containers.create(
                ContainerSpec(
                    name=name,
                    image=self._image(order.image),
                    command=list(order.command),
                    environment=cloud_environment(self._options.endpoint, order.region, self._outer)
                    | dict(order.environment),
                    memory_mib=order.memory_mib,
                    vcpus=order.vcpus,
                    user=order.user,
                    read_only=order.read_only,
                    labels={_LABEL: str(self._options.home), "glacierflow.job": order.owner},
                )
            )
        except UnavailableError as error:
            kind = (
                "CannotPullContainerError"
                if _NO_IMAGE.search(error.message)
                else "CannotCreateContainerError"
            )
            raise StartError(f"{kind}: {error.message}") from error
        try:
            containers.docker("start", name)
        except UnavailableError as error:
            _remove(name)
            raise StartError(f"CannotStartContainerError: {error.message}") from error
        return _ContainerAttempt(name)

    def _image(self, image: str) -> str:
        """The embedded account's ECR has no registry behind it: one image stands for all it would hold."""
        return self._options.image if _OWN_REGISTRY.fullmatch(image) else image

    def _remove_orphans(self) -> None:
        """Remove containers that outlived a server which was killed: their jobs are FAILED by now."""
        label = f"label={_LABEL}={self._options.home}"
        for name in containers.docker("ps", "--all", "--quiet", "--filter", label).split():
            _remove(name)


def _remove(name: str) -> None:
    with contextlib.suppress(EngineError):
        containers.docker("rm", "--force", "--volumes", name)
