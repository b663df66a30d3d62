"""Every command of docs/how-to/backfill.md, in its order, on the embedded cloud: one region and some days."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from glacierflow.cli.app import run
from glacierflow.local import control

pytestmark = [pytest.mark.embedded, pytest.mark.rehearsal]

DOCUMENT = Path(__file__).parents[1] / "docs/how-to/backfill.md"
SHORT = {
    "--start-end-index 0:23": "--regions 134_Arsuk",
    "--date1 2016-01-01": "--date1 2024-06-28",
    "--date2 2025-12-31": "--date2 2025-01-06",
    "--by year": "--by quarter",
    "--canary": "--canary --yes",
}
"""What is typed here instead of what stands there."""
NOBODY = "http://127.0.0.1:9"


def commands() -> list[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("glacierflow ") for block in blocks for line in block.splitlines()]


def words_of(command: str) -> list[str]:
    for there, here in SHORT.items():
        command = command.replace(there, here)
    # a plan asks no cloud, but the STAC API, and none is there
    return [*command.split(), *(["--config", "nobody.ini"] if "batch plan" in command else ["--local"])]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nobody.ini").write_text(f"[IMAGERY]\nsentinel2_stac_url = {NOBODY}\n")
    yield tmp_path
    control.down(control.default_home())


def test_the_walk_runs_as_it_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = commands()
    assert [command.split()[:2] for command in typed[:3]] == [
        ["doctor"],
        ["batch", "plan"],
        ["batch", "submit"],
    ]
    for command in typed:
        code = run(words_of(command))
        told = capsys.readouterr()
        # 2: the doctor could not check what the embedded cloud has not got
        expected = {0, 2} if command == "doctor" else {0}
        assert code in expected, (command, code, told.err[-2000:])
    assert (folder / "coverage.png").exists()
    # four quarters: the canary had three of them, the rest one
    assert len((folder / "coverage.csv").read_text().splitlines()) == 1 + 4
    costs = list(csv.DictReader((folder / "cost.csv").read_text().splitlines()))
    assert sorted(Counter(row["run_id"] for row in costs).values()) == [1, 3]
    canary, rest = sorted({row["run_id"] for row in costs}, key=lambda run_id: run_id[-23:-7])
    methods = (folder / "methods/methods.md").read_text()
    assert f"# Methods of {canary} and {rest}\n" in methods
    assert "Of 4 units of work" in methods
