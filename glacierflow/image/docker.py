"""The Docker engine, through its own command line.

The command line and not a library: it knows the user's contexts, credential helpers and ``DOCKER_HOST``, it
is what the documentation of the image names, and it adds no dependency.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from glacierflow.errors import UnavailableError, UsageError

Architecture = Literal["x86_64", "arm64"]
"""As AWS names it."""
PROCESSORS: dict[Architecture, str] = {"x86_64": "amd64", "arm64": "arm64"}
"""As Docker names each."""

_TIMEOUT_S = 60.0
_PULL_TIMEOUT_S = 1800.0
_LONGEST_S = 7 * 24 * 3600.0
"""A container that runs longer is given up."""


class EngineError(UnavailableError):
    """The engine answered a command with an error; the message is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A container as AWS Batch would start it."""

    name: str
    image: str
    entrypoint: str | None = None
    """None: the image's own."""
    command: Sequence[str] = ()
    """Empty: the image's own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_mib: int
    """Hard limit, swap included: beyond it the kernel kills."""
    vcpus: float
    user: str | None = None
    """``uid:gid``; None: the image's own."""
    read_only: bool = False
    """Whether the root file system is; volumes of the image stay writable."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Path on this machine -> path in the container."""
    volumes: Sequence[str] = ()
    """Paths in the container that stay writable and go with it."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def create_arguments(self) -> list[str]:
        """Arguments of ``docker`` that create it.

        Values of variables are left to :meth:`client_environment`, so that no list of processes shows them.
        """
        cpus = min(self.vcpus, float(os.cpu_count() or 1))
        words = ["create", "--name", self.name, "--network", "host"]
        words += ["--memory", f"{self.memory_mib}m", "--memory-swap", f"{self.memory_mib}m"]
        words += ["--cpus", f"{cpus:g}"]
        words += ["--user", self.user] if self.user else []
        words += ["--read-only"] if self.read_only else []
        words += ["--entrypoint", self.entrypoint] if self.entrypoint else []
        for path in self.volumes:
            words += ["--volume", path]
        for source, target in self.mounts.items():
            words += ["--volume", f"{source}:{target}"]
        for name, value in self.labels.items():
            words += ["--label", f"{name}={value}"]
        for name, value in self.environment.items():
            words += ["--env", f"{name}={value}" if _is_the_clients(name) else name]
        return [*words, self.image, *self.command]

    def client_environment(self) -> dict[str, str]:
        """Environment of the ``docker`` command that creates it."""
        own = {name: value for name, value in self.environment.items() if not _is_the_clients(name)}
        return os.environ | own


def _is_the_clients(name: str) -> bool:
    """Whether the docker command itself would listen to a variable of this name."""
    return name in {"HOME", "PATH"} or name.startswith("DOCKER_")


def engine_version() -> str | None:
    """Version of the engine that answers; None where there is none."""
    if shutil.which("docker") is None:
        return None
    try:
        return docker("version", "--format", "{{.Server.Version}}", timeout_s=20).strip() or None
    except UnavailableError:
        return None


def has_buildx() -> bool:
    """Whether ``docker build`` is BuildKit's, which attaches attestations where it is not told otherwise."""
    try:
        docker("buildx", "version", timeout_s=20)
    except UnavailableError:
        return False
    return True


def require_engine() -> None:
    """Make sure that an engine answers.

    Raises:
        UsageError: there is no docker command.
        UnavailableError: no engine answers.
    """
    if shutil.which("docker") is None:
        raise UsageError("there is no docker command", next_step="install Docker, https://docs.docker.com")
    if engine_version() is None:
        where = os.environ.get("DOCKER_HOST", "its usual place")
        raise UnavailableError(
            f"no Docker engine answers at {where}", next_step="start Docker, or set DOCKER_HOST"
        )


def docker(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
    stdin: str = "",
) -> str:
    """Standard output of ``docker ...``.

    Raises:
        EngineError: it failed.
        UnavailableError: the engine did not answer in time.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the user's own docker
            ["docker", *arguments],  # noqa: S607
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"docker {arguments[0]} did not end within {timeout_s:g} s") from error
    if done.returncode:
        raise EngineError(done.stderr.strip() or f"docker {arguments[0]} exits {done.returncode}")
    return done.stdout


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """What the engine knows of a container or image; None where there is none of this name."""
    try:
        (found,) = json.loads(docker(kind, "inspect", name))
    except EngineError:
        return None
    details: dict[str, Any] = found
    return details


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended."""

    exit_code: int
    out_of_memory: bool


class Container:
    """A started container; its output is kept from the first line."""

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
        """What it writes, line by line, until it ends."""
        if self._output.stdout is not None:
            with self._output.stdout as lines:
                yield from lines

    def wait(self) -> Exit:
        """Block until it has ended, and remove it with its volumes."""
        try:
            docker("wait", self._name, timeout_s=_LONGEST_S)
            state = (inspect("container", self._name) or {}).get("State", {})
        except UnavailableError:
            # the engine itself has gone, and its containers with it
            state = {}
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._output.wait(5)
        self._output.kill()
        self._output.wait()
        remove(self._name)
        return Exit(int(state.get("ExitCode", 137)), bool(state.get("OOMKilled")))

    def ask_to_end(self) -> None:
        """SIGTERM to its first process; nothing where it has ended."""
        self._signal("TERM")

    def kill(self) -> None:
        """SIGKILL to all of it; nothing where it has ended."""
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        with contextlib.suppress(UnavailableError):
            docker("kill", "--signal", name, self._name)


def create(spec: ContainerSpec) -> None:
    """Create a container; an image that is not here is pulled.

    Raises:
        EngineError: it cannot be created.
    """
    docker(*spec.create_arguments(), environment=spec.client_environment(), timeout_s=_PULL_TIMEOUT_S)


def start(name: str) -> Container:
    """Start a container that was created; where that fails it is removed.

    Raises:
        EngineError: it cannot be started.
    """
    try:
        docker("start", name)
    except UnavailableError:
        remove(name)
        raise
    return Container(name)


def remove(name: str) -> None:
    """Remove a container and its volumes, if it is there."""
    with contextlib.suppress(EngineError):
        docker("rm", "--force", "--volumes", name)
