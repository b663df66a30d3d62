"""Short names of runs: what they are, what they are taken for, and what Tab offers."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs_samples import NOW, some_manifest

from glacierflow.errors import RunError
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest, short_name
from glacierflow.runs.history import Submission, find_run_id, is_run_id, log_submission, logged_names
from glacierflow.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def put(store: LocalStore, *, hours: int) -> Manifest:
    manifest = some_manifest(3, now=NOW + dt.timedelta(hours=hours))
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    return manifest


def log(home: Path, run_id: str) -> None:
    log_submission(home, Submission(run_id=run_id, store="s3://x", local=False, submitted_at=NOW))


def test_a_name_is_short_and_the_same_for_ever() -> None:
    """The four signs by hand: printf %s ID | sha256sum | xxd -r -p | base32 | head -c 4."""
    assert short_name("landsat-20160101-20251231-3_n5-20261130T101112Z-0a1b2c") == "ls-20261130-wze3"
    assert short_name("2024-my-own-folder") == "2024-my-own-folder"


def test_a_name_an_id_and_a_beginning_lead_to_the_run(store: LocalStore, tmp_path: Path) -> None:
    first, second = put(store, hours=0), put(store, hours=30)
    assert first.name != second.name
    for word in (first.run_id, first.name, first.name[:-1], first.run_id[:-3]):
        assert find_run_id(store, tmp_path, word) == first.run_id
    assert is_run_id(first.name)
    assert not is_run_id("049_jakobshavn")


def test_a_beginning_of_several_is_refused_and_names_them(store: LocalStore, tmp_path: Path) -> None:
    first, second = put(store, hours=0), put(store, hours=30)
    with pytest.raises(RunError, match=r"2 runs of .* begin with s2-") as refused:
        find_run_id(store, tmp_path, "s2-")
    assert first.name in refused.value.message
    assert second.name in refused.value.message


def test_what_no_run_is_called_stays_as_it_is_for_those_who_say_so(store: LocalStore, tmp_path: Path) -> None:
    assert find_run_id(store, tmp_path, "s2-20200101-aaaa") == "s2-20200101-aaaa"


def test_a_name_in_the_log_and_a_whole_id_ask_no_store(store: LocalStore, tmp_path: Path) -> None:
    manifest = some_manifest(3)
    log(tmp_path, manifest.run_id)
    # it is not in the store, so whoever asked there would not find it
    assert find_run_id(store, tmp_path, manifest.name) == manifest.run_id
    assert find_run_id(store, tmp_path / "elsewhere", manifest.run_id) == manifest.run_id


def test_the_log_names_runs_newest_first(tmp_path: Path) -> None:
    runs = [some_manifest(3, now=NOW + dt.timedelta(days=day)) for day in range(2)]
    for run in (*runs, runs[0]):
        log(tmp_path, run.run_id)
    assert logged_names(tmp_path) == [runs[0].name, runs[1].name]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_offers_verbs_runs_and_regions_without_asking_anybody(shell: str, tmp_path: Path) -> None:
    name = some_manifest(3).name
    log(tmp_path, some_manifest(3).run_id)

    def tab(*words: str) -> list[str]:
        line = " ".join(("glacierflow", *words))
        environment = {
            **os.environ,
            "_GLACIERFLOW_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words)),
            "GLACIERFLOW_HOME": str(tmp_path),
            # nothing listens there
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        }
        command = [sys.executable, "-c", "from glacierflow.cli import main; main()"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout.replace('"', " ").split()

    assert "report" in tab("rep")
    assert name in tab("status", "s2-")
    assert "049_jakobshavn" in tab("submit", "--regions", "049")
    assert "001_alison,049_jakobshavn" in " ".join(tab("submit", "--regions", "001_alison,049"))
    assert "049_jakobshavn" in tab("why", "049")
    assert "--upload" in tab("report", "--up")
