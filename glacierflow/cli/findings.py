"""Showing what a checklist found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from glacierflow.services.findings import Finding

__all__ = ["show_findings"]

_MARKS = {"ok": "ok", "problem": "PROBLEM", "unknown": "unknown"}


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print a line a finding, with the fix below a problem; returns the exit code, 0, 1 or 2."""
    from glacierflow.services.findings import exit_code_of

    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return exit_code_of(findings)
    for finding in findings:
        typer.echo(f"{_MARKS[finding.verdict]:<8} {finding.name}: {finding.text}")
        if finding.next_step:
            typer.echo(f"         next: {finding.next_step}")
    return exit_code_of(findings)
