"""What a template's parameters allow, held against values before anybody is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.local import control
from glacierflow.stack.parameters import check_values
from glacierflow.stack.resolve import Account, Resolver
from glacierflow.stack.templates import MAIN, Template, load_template, template_names


def template(**declared: Any) -> Template:
    return Template("made_up", "", {"Some": {"Type": "String"} | declared}, {})


@pytest.mark.parametrize(
    ("declared", "good", "bad", "allowed"),
    [
        ({"AllowedValues": ["a", "b"]}, "b", "c", "one of a, b"),
        ({"Type": "Number", "AllowedValues": [1, 3]}, "3", "2", "one of 1, 3"),
        ({"Type": "Number", "MinValue": 1}, "1", "0", "a number from 1"),
        ({"Type": "Number", "MinValue": 3, "MaxValue": 6}, "6", "7", "a number from 3 to 6"),
        ({"Type": "Number"}, "-2.5", "many", "a number"),
        ({"Type": "Number", "MinValue": 0}, "0", "", "a number"),
        ({"Type": "Number", "MinValue": 0}, "0", "nan", "a number"),
        ({"MinLength": 1}, "x", "", "a number of characters from 1"),
        ({"MinLength": 2, "MaxLength": 3}, "xyz", "wxyz", "a number of characters from 2 to 3"),
        ({"AllowedPattern": "[a-z]+"}, "abc", "abc1", "what matches [a-z]+"),
        ({"AllowedPattern": "a", "ConstraintDescription": "the letter a"}, "a", "b", "the letter a"),
        ({"Type": "CommaDelimitedList", "AllowedValues": ["a", "b"]}, "a, b", "a,c", "one of a, b"),
    ],
)
def test_each_rule_takes_what_it_allows_and_names_it(
    declared: dict[str, Any], good: str, bad: str, allowed: str
) -> None:
    check_values({"Some": good, "Other": bad}, [template(**declared)])
    with pytest.raises(UsageError, match="the parameter Some = ") as refused:
        check_values({"Some": bad}, [template(**declared)])
    assert str(refused.value.next_step).endswith(f"with {allowed}")


@pytest.mark.parametrize("name", template_names())
def test_every_default_is_allowed(name: str) -> None:
    one = load_template(name)
    check_values(
        {key: str(told["Default"]) for key, told in one.parameters.items() if "Default" in told}, [one]
    )


@pytest.mark.parametrize("verb", ["deploy", "diff"])
@pytest.mark.parametrize("where", [["--local"], []])
def test_a_value_that_is_not_allowed_is_refused_before_a_cloud_is_asked(
    verb: str,
    where: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Cloud, "client", lambda *_: pytest.fail("AWS was asked"))
    monkeypatch.setattr(control, "up", lambda *_, **__: pytest.fail("the embedded cloud was started"))
    for words, value, allowed in (
        (["--set", "MaxVcpus=0"], "MaxVcpus = 0", "a number from 1"),
        (["--set", "Architecture=sparc"], "Architecture = sparc", "one of x86_64, arm64"),
        (["--with", "lambda", "--set", "FunctionMemoryMB=99999"], "FunctionMemoryMB = 99999", "from 1024"),
    ):
        assert run(["stack", verb, *words, *where]) == 64
        told = capsys.readouterr().err
        assert f"the parameter {value} is not accepted" in told
        assert allowed in told


def test_old_versions_of_images_expire_on_request_and_records_never_do() -> None:
    def rules(**given: str) -> list[dict[str, Any]]:
        told = Resolver(load_template(MAIN), Account("1", "us-west-2", "glacierflow"), given)
        bucket = told.resource("Bucket")
        assert bucket
        found: list[dict[str, Any]] = bucket["LifecycleConfiguration"]["Rules"]
        return found

    assert [one["Id"] for one in rules()] == ["incomplete-uploads"]
    (expiring,) = [one for one in rules(ExpireVersionsDays="90") if "NoncurrentVersionExpiration" in one]
    assert expiring["NoncurrentVersionExpiration"] == {"NoncurrentDays": "90"}
    # manifests and receipts lie below runs/, and a current version of anything stays
    assert expiring["Prefix"] == "1_download_merge_and_clip/"
    assert "ExpirationInDays" not in expiring
