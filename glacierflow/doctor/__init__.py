"""Is everything there that a run needs? All checks, in the order in which a run would meet them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from glacierflow.doctor import account, data, jobs
from glacierflow.doctor.patient import Check, Patient, run_check
from glacierflow.errors import Finding

__all__ = ["examine"]

_DOCKER_TIMEOUT_S = 20

CHECKS: tuple[tuple[str, Check], ...] = (
    ("credentials", account.check_identity),
    ("service-linked roles", account.check_linked_roles),
    ("regions", data.check_regions),
    ("bucket", data.check_bucket),
    ("job queues", jobs.check_queues),
    ("compute environments", jobs.check_environments),
    ("memory classes", jobs.check_definitions),
    ("roles", jobs.check_roles),
    ("image", jobs.check_images),
    ("network", account.check_network),
    ("vCPU quotas", account.check_quotas),
    ("requester-pays read", data.check_requester_pays),
    ("STAC API", data.check_stac),
)

_MACHINES = {"service-linked roles", "image", "network", "vCPU quotas"}
"""What AWS needs to start machines, and the embedded cloud does not: its children run on this one."""


def examine(patient: Patient) -> Iterator[Finding]:
    """Run every check; one that cannot ask is ``unknown`` and the rest go on.

    Without working credentials the checks that need them are left out, and that is said.
    """
    for name, check in CHECKS:
        if patient.cloud.embedded and name in _MACHINES:
            continue
        findings = run_check(name, check, patient)
        yield from findings
        if name == "credentials" and any(finding.verdict == "problem" for finding in findings):
            yield Finding("everything on AWS", "unknown", "not checked, because the credentials do not work")
            yield from run_check("STAC API", data.check_stac, patient)
            break
    yield check_docker()


def check_docker() -> Finding:
    """Whether a Docker engine answers; only local containers and building the image need one."""
    if shutil.which("docker") is None:
        return Finding("Docker", "unknown", "not installed; only `glacierflow container` needs it")
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, timeout=_DOCKER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("Docker", "unknown", f"could not be asked: {error}")
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines()[-1:] or ["no engine answers"]
        return Finding("Docker", "unknown", f"{said[0]}; only `glacierflow container` needs it")
    return Finding("Docker", "ok", f"engine {answer.stdout.strip()}")
