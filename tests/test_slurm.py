"""The array script of docs/how-to/slurm.md, run as it is written there; the environment plays SLURM."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from embedded import wait_for

from glacierflow.cli.app import run
from glacierflow.model.manifest import Manifest

ROOT = Path(__file__).parents[1]
SLURM = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "1"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the script of the document and a manifest of two slots."""
    text = (ROOT / "docs/how-to/slurm.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (tmp_path / "glacierflow.sbatch").write_text(script)
    monkeypatch.chdir(tmp_path)
    dates = ["--date1", "2023-12-31", "--date2", "2024-01-01", "--by", "year"]
    closed = "http://127.0.0.1:9"  # nobody answers here
    words = ["plan", "--manifest", "manifest.json", "--regions", "134_Arsuk", "--quiet"]
    assert run([*words, *dates, "--base-dir", str(tmp_path / "out"), "--stac-url", closed]) == 0
    return tmp_path


def start(folder: Path, child: str, **more: str) -> subprocess.Popen[bytes]:
    """The script with ``glacierflow`` and ``scontrol`` of our own on the path."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, body in {"glacierflow": child, "scontrol": f'echo "$@" >> {folder}/requeued'}.items():
        path = bin_folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    search = f"{bin_folder}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "glacierflow.sbatch"], cwd=folder, env={**os.environ, "PATH": search, **SLURM, **more}
    )


def real_child() -> str:
    return f"exec {sys.executable} -c \"from glacierflow.cli.app import run; run(['task'])\""


def test_the_plan_is_written_once_and_counts_its_slots(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert (len(manifest.slots), manifest.service, manifest.store) == (2, "local", str(folder / "out"))
    assert run(["plan", "--manifest", "manifest.json", "--regions", "134_Arsuk"]) == 64
    assert "manifest.json exists" in capsys.readouterr().err
    assert run(["plan", "--manifest", "other.json", "--start-end-index", "0:3", "--quiet"]) == 0
    assert capsys.readouterr().out == "3\n"


def test_the_script_processes_the_slot_of_its_task_and_asks_for_another_attempt(folder: Path) -> None:
    """No STAC API answers: the child ends 75, and its receipt lies where the manifest says."""
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    quick = manifest.model_copy(
        update={"settings": manifest.settings.model_copy(update={"request_attempts": 1})}
    )
    (folder / "manifest.json").write_text(quick.model_dump_json())
    assert start(folder, real_child()).wait(60) == 75
    (receipt,) = (folder / "out" / "runs" / manifest.run_id / "attempts" / "1").glob("*.unavailable.json")
    assert json.loads(receipt.read_text())["slot"] == 1
    assert (folder / "requeued").read_text() == "requeue 77_1\n"


@pytest.mark.parametrize(("code", "restarts", "requeued"), [(0, 0, False), (65, 0, False), (75, 3, False)])
def test_only_what_is_worth_it_is_requeued_and_not_for_ever(
    folder: Path, code: int, restarts: int, requeued: bool
) -> None:
    assert start(folder, f"exit {code}", SLURM_RESTART_COUNT=str(restarts)).wait(10) == code
    assert (folder / "requeued").exists() == requeued


def test_slurms_warning_reaches_the_child_and_its_exit_code_comes_back(folder: Path) -> None:
    script = start(folder, "trap 'sleep 0.3; exit 75' TERM; touch started; while :; do sleep 0.05; done")
    wait_for((folder / "started").exists)
    script.send_signal(signal.SIGTERM)
    assert script.wait(10) == 75
    assert (folder / "requeued").read_text() == "requeue 77_1\n"


def test_without_an_array_it_says_how_to_submit(folder: Path) -> None:
    done = subprocess.run(
        ["bash", "glacierflow.sbatch"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "submit with sbatch --array=0-N" in done.stderr
