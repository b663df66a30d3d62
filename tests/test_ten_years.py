"""A run of ten years of every region on the embedded cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from embedded import REGION, wait_for
from samples import real_archive

from glacierflow.cli.app import run as type_command
from glacierflow.cloud import Cloud
from glacierflow.local import control

pytestmark = pytest.mark.embedded


def test_ten_years_of_every_region_are_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,920 children, of which hardly one starts: there is half a vCPU, and all are ended at once."""
    monkeypatch.setenv("GLACIERFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    home, archive = control.default_home(), real_archive()
    endpoint = control.up(home, archive=archive, vcpus=0.5)

    def typed(*words: str, expect: int = 0) -> Any:
        capsys.readouterr()
        assert type_command(["batch", *words, "--local", "--quiet", "--json"]) == expect
        return json.loads(capsys.readouterr().out)

    try:
        dates = ["--date1", "2016-01-01", "--date2", "2025-12-31", "--by", "year"]
        sent = typed("submit", "--all", "--satellite", "sentinel2", *dates, "--archive", str(archive))
        assert sent["slots"] == 1_920
        batch = Cloud(region=REGION, endpoint_url=endpoint.url, embedded=True).client("batch")

        def jobs() -> list[Any]:
            described = batch.describe_jobs(jobs=[job["job_id"] for job in sent["jobs"]])
            return list(described["jobs"])

        assert sum(job["arrayProperties"]["size"] for job in jobs()) == 1_920
        standing = typed("status", sent["run_id"])
        assert sum(standing["states"].values()) == 1_920
        assert standing["states"]["RUNNABLE"] >= 1_900
        (cancelled,) = typed("cancel", sent["run_id"])
        assert cancelled["ended"] == list(range(1_920))
        wait_for(lambda: all(job["status"] == "FAILED" for job in jobs()))
        assert typed("status", sent["run_id"], expect=1)["states"] == {"FAILED": 1_920}
    finally:
        control.down(home)
