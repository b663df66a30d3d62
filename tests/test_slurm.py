"""The array script of docs/how-to/slurm.md, run as it is written there; the environment plays SLURM."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from embedded import wait_for
from real_stac import DATES, REGION, serve_real
from samples import real_region, real_regions

from glacierflow.cli.app import run
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt

ROOT = Path(__file__).parents[1]
SLURM = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "1"}


DOCUMENT = (ROOT / "docs/how-to/slurm.md").read_text(encoding="utf-8")
SBATCH = r"""
array=${1#--array=}
array=${array%%%*}
for task in $(seq "${array%-*}" "${array#*-}"); do
    SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$task bash "$2" || echo "task $task ended $?" >&2
done
"""
"""One task after another, as a cluster with one free place would start them."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the script of the document."""
    (script,) = re.findall(r"```bash\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "glacierflow.sbatch").write_text(script)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(here: Path) -> Path:
    """With a manifest of two slots too."""
    dates = ["--date1", "2023-12-31", "--date2", "2024-01-01", "--by", "year"]
    closed = "http://127.0.0.1:9"  # nobody answers here
    words = ["plan", "--manifest", "manifest.json", "--regions", "134_Arsuk", "--quiet"]
    assert run([*words, *dates, "--base-dir", str(here / "out"), "--stac-url", closed]) == 0
    return here


def commands(folder: Path, child: str) -> dict[str, str]:
    """An environment with ``glacierflow``, ``scontrol`` and ``sbatch`` of our own on the path."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    bodies = {"glacierflow": child, "scontrol": f'echo "$@" >> {folder}/requeued', "sbatch": SBATCH}
    for name, body in bodies.items():
        path = bin_folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}


def start(folder: Path, child: str, **more: str) -> subprocess.Popen[bytes]:
    """The script, as SLURM starts it for task 1."""
    return subprocess.Popen(
        ["bash", "glacierflow.sbatch"], cwd=folder, env={**commands(folder, child), **SLURM, **more}
    )


def submit(folder: Path, documented: str) -> str:
    """What a person sees who types a command of the document; all tasks have ended."""
    done = subprocess.run(
        ["bash", "-c", documented], cwd=folder, env=commands(folder, real_child()), capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


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


def read_receipt(run_folder: Path, slot: int, *, attempt: int) -> Receipt:
    path = run_folder / "attempts" / str(slot) / f"{attempt}.done.json"
    return Receipt.model_validate_json(path.read_bytes())


def test_an_array_makes_the_products_and_receipts_of_all_its_slots(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of the document, with two slots for its 230: one image in May, one in June."""
    with serve_real() as real:
        words = ["plan", "--manifest", "manifest.json", "--satellite", "sentinel2", "--regions", REGION]
        words += ["--regions-file", str(real_regions()), "--date1", DATES[0], "--date2", DATES[1]]
        words += ["--by", "month", "--base-dir", str(here / "out"), "--stac-url", real.url, "--quiet"]
        assert run(words) == 0
        assert capsys.readouterr().out == "2\n"
        one_array, offset = re.findall(
            r"^(?:GLACIERFLOW_SLOT_OFFSET.*)?sbatch --array.*$", DOCUMENT, re.MULTILINE
        )
        assert submit(here, one_array.replace("229", "1")) == ""
        (run_folder,) = (here / "out" / "runs").iterdir()
        receipts = [read_receipt(run_folder, slot, attempt=1) for slot in (0, 1)]
        assert [(one.outcome, one.exit_code, one.counts.written) for one in receipts] == [("done", 0, 1)] * 2
        taken = {one.units[0].date1.month: one.products[0].datetime.date().isoformat() for one in receipts}
        assert taken == {5: "2016-05-29", 6: "2016-06-08"}
        expected = real_region(REGION)
        for receipt in receipts:
            image = here / "out" / receipt.products[0].key
            assert hashlib.sha256(image.read_bytes()).hexdigest() == receipt.products[0].sha256
            with rasterio.open(image) as made:
                assert tuple(made.bounds) == (expected.xmin, expected.ymin, expected.xmax, expected.ymax)
                assert made.read(1).all()
        # a larger array's rest, here slot 1 once more: what is finished is recognised
        submit(here, offset.replace("1000", "1").replace("919", "0"))
        again = read_receipt(run_folder, 1, attempt=2)
        assert (again.outcome, again.counts.written, again.counts.skipped) == ("done", 0, 1)
    not_done = re.findall(r"^ls .*? \| (grep .*)$", DOCUMENT, re.MULTILINE)
    listed = "\n".join(path.name for path in run_folder.glob("attempts/*/*"))
    assert subprocess.run(["bash", "-c", *not_done], input=listed, text=True, check=False).returncode == 1
    assert not (here / "requeued").exists()


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
