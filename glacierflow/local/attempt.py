"""What an attempt runs as: the interface between the executor and its two ways to start one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Attempt", "Ended", "Order", "Runner", "StartError"]


@dataclass(frozen=True, slots=True)
class Order:
    """A container that is to be started, whichever service wants it."""

    owner: str
    """Id of the job or task it belongs to."""
    region: str
    image: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """Of its definition, its overrides and its service."""
    vcpus: float
    memory_mib: int
    user: str | None = None
    """``uid:gid`` of a container; None: its image's own."""
    read_only: bool = False
    """Whether a container's root file system is."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the first process of an attempt ended."""

    exit_code: int
    """As a shell counts: 128 plus the signal that killed it."""
    out_of_memory: bool = False


class StartError(Exception):
    """The attempt could not be started; the text is the reason AWS gives, such as ``CannotPull...``."""


class Attempt(Protocol):
    """A running attempt."""

    def lines(self) -> Iterator[str]:
        """What it writes, line by line, until it ends."""

    def wait(self) -> Ended:
        """Block until it has ended; nothing of it is left then."""

    def ask_to_end(self) -> None:
        """SIGTERM to its first process; nothing where it has ended."""

    def kill(self) -> None:
        """SIGKILL to all of it; nothing where it has ended."""


class Runner(Protocol):
    """Starts attempts."""

    def start(self, order: Order) -> Attempt:
        """Start an attempt.

        Raises:
            StartError: it cannot be started.
        """
