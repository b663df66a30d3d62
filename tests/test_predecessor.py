"""Every command of docs/reference/predecessor.md, in its order, as written; AWS is the embedded cloud."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from glacierflow.cli.app import app, run
from glacierflow.local import control

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/reference/predecessor.md"
ELSEWHERE = {
    "container build": "tests/container/test_containers.py",
    "container size": "tests/container/test_containers.py",
    "container run": "tests/container/test_containers.py",
    "container push": "tests/container/test_push.py",
    "lambda deploy": "tests/container/test_push.py",
    "lambda package": "tests/container/test_lambda_runtime.py",
}
"""Only parsed here, for it needs a Docker engine (``package``: pip and an index), and where it does run."""

CODES: dict[str, set[int]] = {
    "doctor": {0, 2},  # 2: the embedded cloud has not got everything, nor has every machine Docker
    "sync verify": {0, 2},  # 2: no image was pushed, so its commit is not known
    "lambda test": {0, 2},  # 2: the stack names the image by a tag
}
"""Documented exit codes where others than 0 are no failure."""

LOOKS_FIRST = {"sync", "clean"}
"""Whose dry run looks into the bucket; any other needs no cloud."""

EVERYTHING: Any = typer.main.get_command(app)
"""All commands with their options, which takes a while to make."""


def commands() -> list[list[str]]:
    text = DOCUMENT.read_text(encoding="utf-8")
    return [shlex.split(words) for words in re.findall(r"`glacierflow ([^`]+)`", text)]


def parsed(words: list[str]) -> tuple[str, Any]:
    """The name of the command that is meant, and its context; anything it does not know is an error."""
    command = EVERYTHING
    name, rest = [], list(words)
    while hasattr(command, "commands"):
        name.append(rest.pop(0))
        command = command.commands[name[-1]]
    return " ".join(name), command.make_context(name[-1], rest)


def typed(words: list[str]) -> list[str]:
    """What is typed: a dry run as it stands, else on the embedded cloud where the command knows one."""
    name, context = parsed(words)
    known = {option for parameter in context.command.params for option in parameter.opts}
    more = ["--quiet"] if "--quiet" in known else []
    written_here = context.params.get("manifest") is not None
    needs_no_cloud = written_here or (context.params.get("dry_run") and name.split()[0] not in LOOKS_FIRST)
    if "--local" in known and not needs_no_cloud:
        more.append("--local")
    return [*words, *more]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """As much of a checkout as a copy needs, and an embedded cloud of its own: stacks are made in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("config.ini", "aws_config.ini", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("ancillary", "batch"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "glacierflow").mkdir()
    shutil.copy(ROOT / "glacierflow/__init__.py", tmp_path / "glacierflow")
    control.up(control.default_home(), vcpus=8)
    yield tmp_path
    control.down(control.default_home())


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_is_one(words: list[str]) -> None:
    parsed(words)


def test_what_runs_elsewhere_is_typed_there() -> None:
    named = {parsed(words)[0] for words in commands()}
    for command, module in ELSEWHERE.items():
        assert command in named, f"{command} is not in the document any more"
        verb = command.split()[1]
        assert f'"{verb}"' in (ROOT / module).read_text(encoding="utf-8"), (command, module)


@pytest.mark.embedded
def test_each_runs_as_it_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for line in dict.fromkeys(shlex.join(words) for words in commands()):
        words = shlex.split(line)
        name, _ = parsed(words)
        if name in ELSEWHERE:
            continue
        code = run(typed(words))
        told = capsys.readouterr()
        if code not in CODES.get(name, {0}):
            wrong.append(f"{line}: {code}\n{told.out[-500:]}\n{told.err[-500:]}")
    assert not wrong, "\n".join(wrong)
    assert json.loads((folder / "result.json").read_text())["statusCode"] == 200
    for made in ("output/**/*_ortho.tif", "policies/*.json", "coverage.csv", "manifest.json"):
        assert list(folder.glob(made)), made
