"""Attempts as containers of a Docker engine, held to their memory and processors by the kernel."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from glacierflow import containers
from glacierflow.containers import Container, ContainerSpec
from glacierflow.errors import UnavailableError
from glacierflow.local.attempt import Ended, Order, StartError
from glacierflow.local.child import cloud_environment
from glacierflow.local.options import CloudOptions, image_here

__all__ = ["ContainerRunner"]

_LABEL = "glacierflow.home"
# what the engine says where an image is not there, or its registry will not give it
_NO_IMAGE = re.compile(
    r"pull access denied|manifest (for .* not found|unknown)|no such image|no such host|dial tcp|not found:"
    r"|unable to find image|repository .* not found|invalid reference format|failed to resolve reference"
    r"|error response from daemon: get ",
    re.IGNORECASE,
)


class _ContainerAttempt:
    def __init__(self, container: Container) -> None:
        self._container = container
        self.lines = container.lines
        self.ask_to_end = container.ask_to_end
        self.kill = container.kill

    def wait(self) -> Ended:
        ended = self._container.wait()
        return Ended(ended.exit_code, ended.out_of_memory)


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
                    image=image_here(order.image, self._options.image),
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
            return _ContainerAttempt(containers.start(name))
        except UnavailableError as error:
            raise StartError(f"CannotStartContainerError: {error.message}") from error

    def _remove_orphans(self) -> None:
        """Remove containers that outlived a server which was killed: their jobs are FAILED by now."""
        label = f"label={_LABEL}={self._options.home}"
        for name in containers.docker("ps", "--all", "--quiet", "--filter", label).split():
            containers.remove(name)
