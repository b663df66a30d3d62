"""The tree of commands: verbs of runs at two places, panels of help, wrong verbs, and runs that are found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from runs_samples import some_manifest
from test_verify import a_retry, put_manifest, put_product

from glacierflow.aws.names import Places
from glacierflow.cli.app import app, run
from glacierflow.cli.batch import report, runs, why
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.model.layout import RunLayout
from glacierflow.settings import load_settings
from glacierflow.store import LocalStore

RUN_VERBS = (
    *("plan", "submit", "status", "watch", "why", "logs", "retry", "cancel", "verify", "fetch"),
    *("report", "list", "cost", "methods", "queue"),
)
RUN_ID = "sentinel2-20240701-20240731-0_22-20261130T101112Z-0a1b2c"


def test_every_verb_of_runs_is_the_same_at_the_top_and_under_batch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for verb in RUN_VERBS:
        helps = []
        for path in ([], ["batch"]):
            assert run([*path, verb, "--help"]) == 0
            helps.append(capsys.readouterr().out.replace("glacierflow batch ", "glacierflow "))
        # only where a line of the example breaks may differ
        assert helps[0].split() == helps[1].split()
    assert list(typer.main.get_command(app).commands["batch"].commands) == list(RUN_VERBS)  # type: ignore[attr-defined]


def test_the_first_help_fits_a_screen_and_no_line_of_it_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    helps = capsys.readouterr().out
    assert len(helps.splitlines()) <= 50
    assert not [line for line in helps.splitlines()[1:] if line.endswith("...")]
    panels = [line for line in helps.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert panels == ["Options:", "Runs:", "Products:", "Set-up:", "This machine:"]


def test_options_stand_in_panels_and_the_rare_ones_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["submit", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    panels = [line for line in lines if line in {"What:", "When:", "Limits:", "Where:", "More:"}]
    assert panels == ["What:", "When:", "Limits:", "Where:", "More:"]
    at = {line.split()[0]: number for number, line in enumerate(lines) if line.startswith("  -")}
    assert lines.index("What:") < at["--satellite"] < lines.index("When:") < at["--date1"]
    assert lines.index("Limits:") < at["--max-usd"] < lines.index("Where:") < at["--local"]
    assert at["--quiet" if "--quiet" in at else "-q,"] > lines.index("More:")


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        (["statsu"], "did you mean `glacierflow status`?"),
        (["batch", "statsu"], "did you mean `glacierflow batch status`?"),
        (["batch", "doctor"], "did you mean `glacierflow doctor`?"),
        (["lambda", "logs"], "did you mean `glacierflow logs`?"),
        (["stack", "submit"], "did you mean `glacierflow submit`?"),
        (["deploy"], "did you mean `glacierflow stack deploy` or `glacierflow lambda deploy`?"),
        (["zzzz"], "see `glacierflow --help`"),
    ],
)
def test_a_wrong_or_misplaced_verb_is_answered_with_the_right_line(
    typed: list[str], right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 64
    said = capsys.readouterr().err.splitlines()
    assert said == [f"glacierflow: there is no command `glacierflow {' '.join(typed)}`", f"  next: {right}"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], ("latest", None)),
        (["049_jakobshavn"], ("latest", "049_jakobshavn")),
        ([RUN_ID], (RUN_ID, None)),
        (["latest"], ("latest", None)),
        ([RUN_ID, "049_jakobshavn"], (RUN_ID, "049_jakobshavn")),
    ],
)
def test_why_takes_a_run_a_region_or_both(words: list[str], meant: tuple[str, str | None]) -> None:
    assert why.run_and_region(words) == meant


def test_why_refuses_a_third_word() -> None:
    with pytest.raises(UsageError, match="more than a run and a region"):
        why.run_and_region([RUN_ID, "049_jakobshavn", "134_Arsuk"])


@pytest.fixture
def found(tmp_path: Path) -> runs.Located:
    settings = load_settings(environ={})
    places = Places.__new__(Places)
    return runs.Located(RUN_ID, LocalStore(tmp_path), Cloud(), settings, places)


class Terminal:
    """A person who answers."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self, *_: int) -> str:
        return f"{self.answer}\n"


def test_a_run_that_was_found_is_named_and_asked_about(
    found: runs.Located, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y"))
    runs.confirm_found(found, None, "cancel", yes=False)
    assert RUN_ID in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", Terminal("n"))
    with pytest.raises(typer.Abort):
        runs.confirm_found(found, None, "cancel", yes=False)


def test_nobody_is_asked_about_a_run_that_was_named_or_where_yes_was_said(
    found: runs.Located, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n"))
    runs.confirm_found(found, RUN_ID, "cancel", yes=False)
    runs.confirm_found(found, None, "retry", yes=True)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_a_run_that_was_found_is_left_alone(found: runs.Located) -> None:
    with pytest.raises(UsageError, match=RUN_ID) as caught:
        runs.confirm_found(found, None, "retry", yes=False)
    assert caught.value.next_step == f"add --yes, or write `glacierflow retry {RUN_ID}`"


def test_a_manifest_on_disk_belongs_to_no_embedded_cloud(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--base-dir", "x"], ["--stac-url", "http://127.0.0.1"]):
        assert run(["plan", "--regions", "134_Arsuk", *words]) == 64
        assert "add --manifest FILE" in capsys.readouterr().err
    assert run(["plan", "--regions", "134_Arsuk", "--manifest", "m.json", "--local"]) == 64


def test_fetch_copies_a_run_and_its_retries_to_a_folder(
    found: runs.Located,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = LocalStore(tmp_path / "bucket")
    first = some_manifest(2, str(store.root))
    put_manifest(store, first)
    retry = a_retry(store, first, (1,))
    product = put_product(store, first, 0, "S2A_MSIL2A_20240715T150921_N0510_R025").key
    monkeypatch.setattr(report, "locate_run", lambda *_: replace(found, run_id=first.run_id, store=store))
    folder = tmp_path / "results"
    assert run(["fetch", "--to", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run_id"] == first.run_id
    keys = [product, *(RunLayout(one.run_id).manifest for one in (first, retry))]
    assert {str(folder / key) for key in keys} <= set(told["files"])
    assert (folder / product).read_bytes() == store.get(product)
