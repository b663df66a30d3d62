"""Names: what is set by hand wins over the stack, the stack over the defaults; one call at most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stubbed import stubbed

from glacierflow.aws.names import find_places
from glacierflow.cli.batch.planning import job_options
from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, UsageError
from glacierflow.settings import load_settings

OUTPUTS = {
    "Bucket": "glacierflow-7-us-west-2",
    "SpotQueue": "arn:spot",
    "OnDemandQueue": "arn:ondemand",
    "LogGroup": "/ours",
    "Topic": "arn:topic",
    "Repository": "7.dkr.ecr.us-west-2.amazonaws.com/glacierflow",
    "JobDefinition7500": "arn:7500:3",
    "JobDefinition63200": "arn:63200:3",
}


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def described(outputs: dict[str, str]) -> dict[str, Any]:
    listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    stack = {"StackName": "glacierflow", "CreationTime": "2026-01-01", "StackStatus": "CREATE_COMPLETE"}
    return {"Stacks": [stack | {"Outputs": listed}]}


def test_without_a_cloud_the_default_names_hold() -> None:
    places = find_places(load_settings(environ={}), None)
    assert places.queue_of(on_demand=False) == "glacierflow-spot"
    assert places.queue_of(on_demand=True) == "glacierflow-ondemand"
    assert places.definition_of(None) == places.definition_of(7500) == "glacierflow-7500"
    assert places.definition_of(63200) == "glacierflow-63200"
    assert (places.bucket, places.topic, places.outputs) == ("greenland-glacier-data", None, {})
    with pytest.raises(UsageError, match="no memory class of 8192 MiB"):
        places.definition_of(8192)


def test_the_stack_wins_over_defaults_and_a_setting_over_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_settings(
        overrides={"BATCH.job_queue": "glacierflow-spot", "BATCH.stack": "other"}, environ={}
    )
    with stubbed(monkeypatch, "cloudformation") as stub:
        stub.add_response("describe_stacks", described(OUTPUTS), {"StackName": "other"})
        places = find_places(loaded, Cloud())
    assert places.spot_queue == "glacierflow-spot"
    assert places.ondemand_queue == "arn:ondemand"
    assert places.definition_of(7500) == "arn:7500:3"
    assert places.definition_of(15500) == "glacierflow-15500"
    assert (places.bucket, places.log_group, places.topic) == (OUTPUTS["Bucket"], "/ours", "arn:topic")
    assert places.repository == OUTPUTS["Repository"]


def test_a_definition_set_by_hand_is_meant_for_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    with stubbed(monkeypatch, "cloudformation") as stub:
        for _ in range(2):
            stub.add_response("describe_stacks", described(OUTPUTS))
        mine = load_settings(overrides={"BATCH.job_definition": "mine"}, environ={})
        assert find_places(mine, Cloud()).definition_of(7500) == "mine-7500"
        pinned = load_settings(environ={"GLACIERFLOW_JOB_DEFINITION": "mine:4"})
        assert find_places(pinned, Cloud()).definition_of(63200) == "mine:4"


def test_no_stack_means_default_names_and_no_permission_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with stubbed(monkeypatch, "cloudformation") as stub:
        stub.add_client_error("describe_stacks", "ValidationError", "Stack ... does not exist", 400)
        places = find_places(load_settings(environ={}), Cloud())
        assert (places.spot_queue, places.notice) == ("glacierflow-spot", None)
        stub.add_client_error("describe_stacks", "AccessDenied", "User: ... is not authorized", 403)
        places = find_places(load_settings(environ={}), Cloud())
        assert places.spot_queue == "glacierflow-spot"
        assert "may not describe the stack glacierflow" in (places.notice or "")


def test_refused_credentials_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with stubbed(monkeypatch, "cloudformation") as stub:
        stub.add_client_error("describe_stacks", "ExpiredToken", "expired", 403)
        with pytest.raises(CredentialsError, match="refuses your credentials"):
            find_places(load_settings(environ={}), Cloud())


@pytest.mark.parametrize(
    ("by_hand", "of_the_stack", "held"),
    [
        ({}, {}, None),
        ({}, {"ConsumableResource": "glacierflow-children"}, "glacierflow-children"),
        ({"BATCH.consumable_resource": "stac"}, {"ConsumableResource": "glacierflow-children"}, "stac"),
    ],
)
def test_each_job_holds_one_of_what_the_stack_or_a_setting_names(
    monkeypatch: pytest.MonkeyPatch, by_hand: dict[str, str], of_the_stack: dict[str, str], held: str | None
) -> None:
    loaded = load_settings(environ={}, overrides=by_hand)
    with stubbed(monkeypatch, "cloudformation") as stub:
        stub.add_response("describe_stacks", described(OUTPUTS | of_the_stack))
        places = find_places(loaded, Cloud())
    assert places.consumable_resource == held
    assert job_options(loaded.settings, places)["consumable_resource"] == held
