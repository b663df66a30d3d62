"""Every verb's help ends with an example that the program itself understands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from glacierflow.cli.app import app, run


def verbs(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from verbs(one, *path, name)
    else:
        yield path, command


ROOT = typer.main.get_command(app)
VERBS = dict(verbs(ROOT))


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_help_has_an_example_of_this_very_verb_that_the_verb_takes(path: tuple[str, ...]) -> None:
    command = VERBS[path]
    epilog = command.epilog or ""
    assert epilog.startswith("Example: "), "no example"
    words = shlex.split(epilog.removeprefix("Example: "))
    # what stands before it sets the environment
    assert all("=" in word for word in words[: words.index("glacierflow")])
    words = words[words.index("glacierflow") :]
    assert tuple(words[: 1 + len(path)]) == ("glacierflow", *path)
    command.make_context(path[-1], words[1 + len(path) :])


@pytest.mark.parametrize(
    ("typed", "helps"),
    [
        (["bogus"], "glacierflow --help"),
        (["regions", "show"], "glacierflow regions show --help"),
        (["regions", "show", "--colour", "x"], "glacierflow regions show --help"),
    ],
)
def test_what_is_mistyped_is_answered_with_the_help_to_read(
    typed: list[str], helps: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 64
    said = capsys.readouterr().err
    assert said.endswith(f"  next: see `{helps}`\n")
    assert said.startswith("glacierflow: ")


def test_a_group_without_a_verb_shows_its_verbs_and_sends_nobody_to_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["batch"]) == 64
    said = capsys.readouterr().err
    assert "submit" in said
    assert "next:" not in said


@pytest.mark.parametrize("path", [("batch", "retry"), ("clean",)], ids=" ".join)
def test_a_dry_run_that_has_to_look_does_not_promise_to_need_no_network(path: tuple[str, ...]) -> None:
    helps = {option.name: option.help for option in VERBS[path].params}
    assert str(helps["dry_run"]).startswith("Look ")
    shared = {option.name: option.help for option in VERBS["submit",].params}
    assert "except for --missing and --price" in str(shared["dry_run"])
