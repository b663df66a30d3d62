"""What an attempt runs as: the interface between the executor and its two ways to start one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from glacierflow.local.jobs import Job

__all__ = ["Attempt", "Ended", "Order", "Runner", "StartError"]


@dataclass(frozen=True, slots=True)
class Order:
    """An attempt that is to be started."""

    job: Job
    number: int
    """1 for the first attempt of the job."""
    queue: str
    compute_environment: str


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
