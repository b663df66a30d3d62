"""Talking to the Docker engine in tests."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "container" / "README.md"

# as container/README.md starts a child: nothing writable but /tmp, not root, the memory of the smallest class
LIKE_BATCH = ("--rm", "--network", "host", "--memory", "7500m", "--read-only")


def require_engine() -> None:
    """Skip where there is no engine, but never where CI is set."""
    try:
        answer = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        told = answer.stderr.strip()
        if answer.returncode == 0:
            return
    except FileNotFoundError:
        told = "there is no docker command"
    message = f"no Docker engine answers: {told}"
    if os.environ.get("CI"):
        pytest.fail(f"{message}; CI needs one (.ci/docker-engine up)")
    pytest.skip(f'{message}; eval "$(.ci/docker-engine up)" starts one')


def documented(beginning: str) -> str:
    """The one command of container/README.md that begins so, its continued lines joined."""
    blocks = re.findall(r"```\n(.*?)```", README.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found: list[str] = [line for line in lines if line.startswith(beginning)]
    assert len(found) == 1, f"{beginning}: {found}"
    return found[0]


def build(line: str) -> None:
    """Run a documented ``docker build``, from the base image this machine has."""
    words = shlex.split(line)
    base = os.environ.get("GLACIERFLOW_BASE_IMAGE")
    extra = ["--build-arg", f"BASE={base}"] if base else []
    built = subprocess.run(
        [*words[:2], *extra, *words[2:]], cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    assert built.returncode == 0, (built.stdout + built.stderr)[-4000:]


def docker(*arguments: str, expect: int = 0, timeout: float = 300) -> str:
    """Run ``docker ...``; its standard output."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == expect, (
        f"docker {arguments} exits {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout


def inside(image: str, *command: str) -> str:
    """What a command in a fresh container prints."""
    return docker("run", *LIKE_BATCH, image, *command)


def layers(image: str) -> list[str]:
    """Digests of an image's layers, the base's first."""
    return docker("image", "inspect", "--format", '{{join .RootFS.Layers "\\n"}}', image).split()
