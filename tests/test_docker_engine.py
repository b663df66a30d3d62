"""The script that makes an engine and a base image, with a made-up docker and debootstrap."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "docker-engine"
COMMANDS = {
    # an engine answers, and no registry does
    "docker": 'case "$1" in version) echo 1;; import) cat "$2" >/dev/null; echo "$2";; *) exit 1;; esac',
    "debootstrap": 'mkdir -p "$4/etc"; echo made',
    "dpkg": "echo amd64",
    "sudo": 'exec "$@"',
}


@pytest.mark.parametrize("own_home", [False, True])
def test_a_base_image_is_made_where_the_cache_folder_is_not_there_yet(tmp_path: Path, own_home: bool) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in COMMANDS.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    environment = {"PATH": f"{commands}:/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    folder = tmp_path / "home" / ".cache" / "glacierflow"
    if own_home:
        folder = tmp_path / "some" / "where"
        environment["GLACIERFLOW_ENGINE_HOME"] = str(folder)
    done = subprocess.run([SCRIPT, "up"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "export GLACIERFLOW_BASE_IMAGE=glacierflow-base:bookworm\n"
    assert (folder / "base-bookworm-amd64.tar").stat().st_size > 0


@pytest.mark.parametrize("is_there", ["public, here", "public, in the registry", "ours, here"])
def test_the_public_base_is_taken_where_it_can_be_had(tmp_path: Path, is_there: str) -> None:
    public, ours = "python:3.12-slim-bookworm", "glacierflow-base:bookworm"
    answers = {
        "public, here": ("docker image inspect " + public, public),
        "public, in the registry": ("docker pull -q " + public, public),
        "ours, here": ("docker image inspect " + ours, ours),
    }
    answered, base = answers[is_there]
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        f'#!/bin/sh\n[ "$1" = version ] && exec echo 1\n[ "docker $*" = "{answered}" ] && exit 0\nexit 1\n'
    )
    docker.chmod(0o755)
    environment = {"PATH": f"{docker.parent}:/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    done = subprocess.run([SCRIPT, "up"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"export GLACIERFLOW_BASE_IMAGE={base}\n"), done.stderr
