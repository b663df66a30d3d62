"""The rooms of the package: as documented, few, of a natural size, and found by the paths of stacks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

from glacierflow.stack.templates import load_template

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "glacierflow"
FILES = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
FACES = {name for name in FILES if name.endswith("__init__.py")}
SMALL = {"version.py": "nothing has to import the facade to know the version"}
"""Modules below 40 lines, and what for; at most four."""


def test_the_architecture_page_lists_the_rooms_that_are_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    listed = re.findall(r"^\| `([a-z_]+(?:/|\.py))` \|", page, re.MULTILINE)
    packages = {f"{name.removesuffix('/__init__.py')}/" for name in FACES if name.count("/") == 1}
    modules = {name for name in FILES if "/" not in name} - {"__init__.py"}
    assert sorted(listed) == sorted(packages | modules)


def test_every_file_the_architecture_page_names_is_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", page))
    assert len(named) > 15
    assert named <= set(FILES)


def test_the_picture_shows_the_layers_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [{name.strip() for name in line.split("|")} for line in contracts[0]["layers"]]
    page = (ROOT / "docs/architecture.md").read_text()
    picture = page[page.index("```mermaid") : page.index("```\n\n")]
    drawn = [set(re.findall(r"<b>([a-z_]+)</b>", line)) for line in picture.splitlines() if "<b>" in line]
    rooms = [line - {"services"} for line in layers]
    assert [line for line in rooms if line] == drawn


def test_files_are_few_and_none_is_a_splinter() -> None:
    small = {name for name, text in FILES.items() if len(text.splitlines()) < 40 and name not in FACES}
    assert small == set(SMALL)
    assert len(small) <= 4
    assert len(FILES) <= 242


def test_only_faces_of_packages_list_what_they_export() -> None:
    listing = {name for name, text in FILES.items() if re.search(r"^__all__\b", text, re.MULTILINE)}
    assert listing <= FACES


def test_no_face_exports_a_name_that_nobody_imports_from_it() -> None:
    wanted: dict[str, set[str]] = defaultdict(set)
    used: dict[str, set[str]] = defaultdict(set)
    for path in [
        *PACKAGE.rglob("*.py"),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                wanted[node.module].update(one.name for one in node.names)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used[node.value.id].add(node.attr)
    for name in FACES - {"__init__.py", "cli/__init__.py"}:
        module = "glacierflow." + name.removesuffix("/__init__.py").replace("/", ".")
        for node in ast.parse(FILES[name]).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                unused = set(ast.literal_eval(node.value)) - wanted[module] - used[module.rpartition(".")[2]]
                assert not unused, (name, unused)


def test_neither_files_nor_rooms_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("glacierflow", cache_dir=None)
    files = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, others in files.items():
        here = ".".join(module.split(".")[:2])
        rooms[here] |= {".".join(other.split(".")[:2]) for other in others} - {here}
    for arrows in (files, rooms):
        assert in_circles(arrows) == set()


def in_circles(arrows: dict[str, set[str]]) -> set[str]:
    """Whatever reaches itself."""
    found = set()
    for start in arrows:
        seen: set[str] = set()
        ahead = set(arrows[start])
        while ahead:
            one = ahead.pop()
            seen.add(one)
            ahead |= set(arrows.get(one, ())) - seen
        if start in seen:
            found.add(start)
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("services.lambda_handler", "functions.handler"),
        ("services.scheduler.handler", "functions.scheduler.handler"),
    ],
)
def test_a_fresh_interpreter_finds_handlers_by_the_paths_of_before(old: str, new: str) -> None:
    code = f"from importlib import import_module as find; print(find('glacierflow.{old}').handler.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"glacierflow.{new}"


def test_the_template_of_the_scheduler_names_the_path_that_every_zip_knows() -> None:
    function = load_template("schedule").content["Resources"]["SchedulerFunction"]["Properties"]
    assert function["Handler"] == "glacierflow.services.scheduler.handler.handler"


def test_the_scheduler_is_found_without_what_only_the_image_has() -> None:
    code = (
        "import sys; from importlib import import_module as find; "
        "find('glacierflow.services.scheduler.handler').handler; "
        "print(sorted({'rasterio', 'numpy', 'numba', 'xarray', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
