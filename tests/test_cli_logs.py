"""``glacierflow logs`` of what is no child of a run; those of children are in test_cli_batch_look.py."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud

GROUPS = {
    "function": "/aws/lambda/glacierflow-lambda",
    "scheduler": "/aws/lambda/glacierflow-schedule",
    "machine": "/aws/vendedlogs/states/glacierflow-stepfunctions",
}


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    monkeypatch.chdir(tmp_path)
    with mock_aws():
        yield Cloud(embedded=True).client("logs")


@pytest.mark.parametrize("of", GROUPS)
def test_the_end_of_each_log_is_printed(of: str, logs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    now_s = int(time.time())  # CloudWatch takes nothing that is older than two weeks
    for name, group in GROUPS.items():
        logs.create_log_group(logGroupName=group)
        if name == of:
            assert run(["logs", of]) == 0
            assert capsys.readouterr().err.endswith(f"{group}: there are no lines yet\n")
        logs.create_log_stream(logGroupName=group, logStreamName="s")
        events = [{"timestamp": now_s * 1000 + n, "message": f"{name} {n}"} for n in range(3)]
        logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    assert run(["logs", of, "--lines", "2"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{of} 1\n{of} 2\n"
    assert f"{GROUPS[of]} s\n" in told.err
    assert run(["logs", of, "--grep", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "time": dt.datetime.fromtimestamp(now_s, dt.UTC).isoformat(),
        "message": f"{of} 0",
    }


def test_the_groups_are_those_of_the_templates() -> None:
    batch = Path(__file__).parents[1] / "batch"
    for template, group in {
        "schedule": '!Sub "/aws/lambda/${AWS::StackName}"',
        "stepfunctions": '!Sub "/aws/vendedlogs/states/${AWS::StackName}"',
        "lambda": '!Sub\n        - "/aws/lambda/${Name}"',
    }.items():
        assert f"LogGroupName: {group}" in (batch / f"{template}.yaml").read_text()


def test_what_is_not_deployed_says_so(logs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "machine"]) == 64
    told = capsys.readouterr().err
    assert f"there is no log group {GROUPS['machine']} in us-west-2" in told
    assert "glacierflow stack status" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scheduler", "--slot", "1"], "--slot does not belong to the log of scheduler"),
        (["machine", "--region", "x"], "--region does not belong to the log of machine"),
        (["latest", "--lines", "5"], "--lines does not belong to the log of latest"),
        (["function", "--grep", "("], "--grep = ( is not a regular expression"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["logs", *words]) == 64
    assert said in capsys.readouterr().err
