"""The image's lock files belong to pyproject.toml, and the build context holds what the Dockerfile copies."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTAINER = ROOT / "container"


def requirements(name: str) -> set[str]:
    lines = (CONTAINER / name).read_text().splitlines()
    return {line for line in lines if line and not line.startswith(("#", "-"))}


def locked(name: str) -> dict[str, list[str]]:
    """Hashes by package."""
    text = (CONTAINER / name).read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if "==" in line.split(";")[0]]
    return {line.split("==")[0]: re.findall(r"--hash=sha256:[0-9a-f]{64}", line) for line in pins}


def normal(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_the_ranges_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert requirements("requirements.in") <= set(project["dependencies"])


def test_every_package_is_locked_with_hashes() -> None:
    for name in ("requirements", "requirements-lambda"):
        lock = locked(f"{name}.lock")
        assert {normal(line) for line in requirements(f"{name}.in")} <= set(lock)
        assert all(lock.values())


def test_both_processors_are_locked() -> None:
    """One wheel at least for each supported Python and processor, of a package that has no universal one."""
    assert len(locked("requirements.lock")["pydantic-core"]) >= 6


def test_a_child_takes_nothing_along_that_it_never_opens() -> None:
    assert not {"geopandas", "pyogrio", "moto", "typer", "pip", "xarray", "pandas"} & set(
        locked("requirements.lock")
    )


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    copied = [
        path.rstrip("/")
        for line in (CONTAINER / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for path in line.split()[1:-1]
    ]
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    allowed = [line[1:] for line in lines if line.startswith("!")]
    for path in copied:
        assert any(fnmatch.fnmatch(path, pattern) for pattern in allowed), path
    for pattern in allowed:
        assert any(fnmatch.fnmatch(path, pattern) for path in copied), pattern
