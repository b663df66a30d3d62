"""Every error glacierflow raises on purpose.

    GlacierflowError                what went wrong, and what to do next
    ├── UsageError            64    the command line, a setting, a region file: the user can mend it
    │   ├── SettingsError           a value in config.ini or aws_config.ini
    │   ├── RunError                a run that is named and is not there
    │   ├── RegionError             a region name, an index range, a catalogue file
    │   └── CredentialsError        AWS credentials are missing or refused
    ├── DataError             65    source data that cannot be used (one scene, or a whole unit)
    ├── UnavailableError      75    a service stayed down after our own retries
    ├── InterruptedAttempt    75    SIGTERM: progress is saved, another attempt will go on
    └── StoreError            75    an output could not be written, or an object not be read back

The number is the exit code of a child (see ``docs/reference/exit-codes.md``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from glacierflow.outside import told

Verdict = Literal["ok", "problem", "unknown"]

_EXIT_PROBLEM, _EXIT_UNKNOWN = 1, 2


class GlacierflowError(Exception):
    """Base of all: one plain sentence, and the next step where there is one."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        self.message = told(message)
        self.next_step = told(next_step) if next_step else next_step
        super().__init__(self.message)


class UsageError(GlacierflowError):
    """The command line or the configuration asks for something impossible."""

    exit_code = 64


class SettingsError(UsageError):
    """A value in a configuration file or the environment is not accepted."""


class RegionError(UsageError):
    """A region, an index range or a region catalogue is not usable."""


class RunError(UsageError):
    """There is no run of that name, or none at all, or those named cannot be taken as one."""


class CredentialsError(UsageError):
    """AWS credentials are needed and there are none, or they were refused."""


class DataError(GlacierflowError):
    """Source data cannot be used; asking again will not help."""

    exit_code = 65


class UnavailableError(GlacierflowError):
    """A service stayed unavailable after our own retries; another attempt may succeed."""

    exit_code = 75


class InterruptedAttempt(GlacierflowError):  # noqa: N818 - a state, not a mistake
    """The process was asked to stop; what is finished is saved."""

    exit_code = 75


class StoreError(GlacierflowError):
    """An output could not be written, or an object could not be read back."""

    exit_code = 75


@dataclass(frozen=True, slots=True)
class Finding:
    """One item of a checklist."""

    name: str
    verdict: Verdict
    """``unknown``: it could not be checked, and ``text`` says why."""
    text: str
    next_step: str | None = None

    def __post_init__(self) -> None:
        """Name, text and next step may quote keys, tags and answers."""
        for name in ("name", "text", "next_step"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, told(value))


def exit_code_of(findings: Iterable[Finding]) -> int:
    """1 where there is a problem, else 2 where something could not be checked, else 0."""
    verdicts = {finding.verdict for finding in findings}
    return _EXIT_PROBLEM if "problem" in verdicts else _EXIT_UNKNOWN if "unknown" in verdicts else 0
