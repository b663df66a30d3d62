"""``glacierflow local``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glacierflow.cli import local
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.image import docker
from glacierflow.local import control
from glacierflow.local.control import Endpoint

ENDPOINT = Endpoint("http://127.0.0.1:5", "http://127.0.0.1:5/stac", 7, 5, "/h", None)


def run(*arguments: str) -> int | None:
    code: int | None = local.app(list(arguments), standalone_mode=False)
    return code


def test_up_hands_every_option_on_and_prints_what_to_export(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, object] = {}

    def fake_up(home: Path, **options: object) -> Endpoint:
        seen.update(options, home=home)
        return ENDPOINT

    monkeypatch.setattr(control, "up", fake_up)
    options = ["--port", "5", "--vcpus", "2", "--clock", "60", "--spot-reclaim", "0.3", "--seed", "9"]
    options += ["--executor", "auto", "--image", "mine", "--reclaim", "kind"]
    run("up", "--archive", "/a", *options)
    assert seen == {
        "home": control.default_home(),
        "archive": Path("/a"),
        "port": 5,
        "vcpus": 2.0,
        "clock": 60.0,
        "spot_reclaim": 0.3,
        "reclaim": "kind",
        "seed": 9,
        "executor": "auto",
        "image": "mine",
    }
    told = capsys.readouterr().out
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:5\n" in told
    assert "export AWS_ACCESS_KEY_ID=embedded AWS_SECRET_ACCESS_KEY=embedded" in told


def test_docker_without_an_engine_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises((UsageError, UnavailableError), match=r"there is no docker command|no Docker engine"):
        run("up", "--executor", "docker")
    assert control.status(control.default_home()) is None
    assert docker.engine_version() is None


def test_status_down_and_reset_where_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status") == 1
    assert "glacierflow local up" in capsys.readouterr().out
    assert run("status", "--json") == 1
    assert json.loads(capsys.readouterr().out) is None
    run("down")
    assert "was not running" in capsys.readouterr().out
    run("reset")
    assert not control.default_home().exists()


def test_status_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(control, "status", lambda _: ENDPOINT)
    assert run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["stac_url"] == "http://127.0.0.1:5/stac"


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLACIERFLOW_HOME", str(tmp_path))
    assert control.default_home() == tmp_path / "local"
    monkeypatch.delenv("GLACIERFLOW_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert control.default_home().name == "local"
    assert "glacierflow" in control.default_home().parts


def test_sample_writes_an_archive_that_can_be_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "sample"
    dates = ["--date1", "2025-06-01", "--date2", "2025-06-04"]
    run("sample", str(target), "--regions", "001_alison", *dates)
    assert list(target.rglob("*.json"))
    assert f"glacierflow local up --archive {target}" in capsys.readouterr().out


def test_a_date_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--date1 2025-13-01"):
        run("sample", str(tmp_path / "x"), "--date1", "2025-13-01")
    assert not (tmp_path / "x").exists()
