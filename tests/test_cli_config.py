"""``glacierflow config show`` and ``check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glacierflow.cli.app import run
from glacierflow.settings import iter_fields


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_show_prints_every_value_and_where_it_is_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config.ini").write_text("[SETTINGS]\nsatellite = landsat\n[FLAGS]\ndownload_flag = yes\n")
    monkeypatch.setenv("GLACIERFLOW_S3_BUCKET", "mine")
    assert run(["config", "show"]) == 0
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["satellite", "landsat", "config.ini"] in lines
    assert ["download_flag", "1", "config.ini"] in lines
    assert ["s3_bucket", "mine", "environment", "GLACIERFLOW_S3_BUCKET"] in lines
    assert ["aws_profile", "default"] in lines
    assert ["landsat_tiers", "T1,", "T2", "default"] in lines
    assert {line[0] for line in lines if line} >= {key for _, key, _ in iter_fields()}
    assert "there is no aws_config.ini" in printed.err


def test_show_as_json_is_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.ini").write_text("[DATES]\ndate1 = 2024-07-03\n")
    assert run(["config", "show", "--json", "--config", "mine.ini"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["DATES"]["date1"] == {"value": "2024-07-03", "origin": "mine.ini"}
    assert shown["settings"]["LAMBDA"]["timeout"] == {"value": 900, "origin": "default"}
    assert shown["settings"]["IMAGERY"]["landsat_tiers"]["value"] == ["T1", "T2"]
    count = sum(len(keys) for keys in shown["settings"].values())
    assert count == len(list(iter_fields()))
    assert len(shown["notices"]) == 1


def test_check_of_sound_settings_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    Path("aws_config.ini").write_text("[STORAGE]\ns3_bucket = mine\ns3_buket = x\n")
    assert run(["config", "check"]) == 0
    printed = capsys.readouterr().out
    assert "the settings are sound" in printed
    assert "notice: aws_config.ini: [STORAGE] has no key s3_buket" in printed


def test_check_names_all_that_is_refused_and_ends_with_64(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.ini").write_text("[DATES]\ndate1 = 2024-13-01\n[SETTINGS]\nsatellite = x\n[ODD]\na = b\n")
    Path("aws.ini").write_text("[AWS_ACCOUNT]\naccount_id = 12\n")
    assert run(["config", "check", "--aws-config", "aws.ini"]) == 64
    printed = capsys.readouterr()
    refused = [line for line in printed.out.splitlines() if line.startswith("refused: ")]
    assert len(refused) == 3
    assert "notice: config.ini: there is no section [ODD]" in printed.out
    assert "3 settings are refused" in printed.err
    assert "sound" not in printed.out


@pytest.mark.parametrize("command", ["show", "check"])
def test_a_missing_file_and_a_bad_value_end_with_64(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["config", command, "--config", "none.ini"]) == 64
    assert "there is no file none.ini" in capsys.readouterr().err
    monkeypatch.setenv("GLACIERFLOW_MEMORY", "much")
    assert run(["config", command]) == 64
    printed = capsys.readouterr()
    assert "GLACIERFLOW_MEMORY: [SETTINGS] memory = much is refused" in printed.out + printed.err
