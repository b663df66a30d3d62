"""What a check found: the one form in which checklists answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Verdict", "exit_code_of"]

Verdict = Literal["ok", "problem", "unknown"]

_EXIT_PROBLEM, _EXIT_UNKNOWN = 1, 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One item of a checklist."""

    name: str
    verdict: Verdict
    """``unknown``: it could not be checked, and ``text`` says why."""
    text: str
    next_step: str | None = None


def exit_code_of(findings: Iterable[Finding]) -> int:
    """1 where there is a problem, else 2 where something could not be checked, else 0."""
    verdicts = {finding.verdict for finding in findings}
    return _EXIT_PROBLEM if "problem" in verdicts else _EXIT_UNKNOWN if "unknown" in verdicts else 0
