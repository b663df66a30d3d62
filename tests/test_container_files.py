"""The image's lock files belong to pyproject.toml, and the build context holds what the Dockerfile copies."""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
import re
import tomllib
from pathlib import Path

import botocore

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
    lock = set(locked("requirements.lock"))
    assert {"xarray", "dask", "pandas"} <= lock
    assert not {"geopandas", "pyogrio", "moto", "typer", "pip", "distributed"} & lock


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


def imported(module: str, known: set[str]) -> set[str]:
    """The modules of glacierflow that one imports, at its head or inside its functions, and theirs."""
    found = importlib.util.find_spec(module)
    if module in known or found is None or found.origin is None:
        return known
    known.add(module)
    for node in ast.walk(ast.parse(Path(found.origin).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("glacierflow"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                parents = [name[: dot.start()] for dot in re.finditer(r"\.", name)]
                if all(is_package(parent) for parent in parents):
                    imported(name, known)
    return known


def is_package(name: str) -> bool:
    found = importlib.util.find_spec(name)
    return found is not None and found.submodule_search_locations is not None


def test_the_image_keeps_what_describes_the_services_that_are_called_in_it_and_no_other() -> None:
    spec = importlib.util.spec_from_file_location("slim", CONTAINER / "slim.py")
    assert spec is not None
    assert spec.loader is not None
    slim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slim)
    modules: set[str] = set()
    for entry in ("glacierflow.task", "glacierflow.functions.handler"):
        imported(entry, modules)
    assert "glacierflow.store.s3" in modules
    called = set()
    for module in modules:
        found = importlib.util.find_spec(module)
        assert found is not None
        assert found.origin is not None
        called |= set(re.findall(r'\.client\(\s*"([a-z0-9-]+)"', Path(found.origin).read_text()))
    # the module of the function also holds what finds it before a submission, which nothing in the image does
    assert called | {"sso", "sso-oidc", "sts"} == slim.SERVICES | {"cloudformation"}
    data = Path(botocore.__file__).parent / "data"
    assert all((data / service).is_dir() for service in slim.SERVICES)
