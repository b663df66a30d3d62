"""What a template is fed: outputs of the stacks it builds on, by the names its parameters have."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.stack import parameters as parameters_module
from glacierflow.stack.deploy import StackState
from glacierflow.stack.parameters import choose_parameters
from glacierflow.stack.resolve import Account, Resolver
from glacierflow.stack.templates import MAIN, load_template, stack_name, template_names

GIVEN = {"Vpc": "vpc-1", "Subnets": "subnet-1"}


def deployed(base: str, **given: str) -> dict[str, StackState]:
    """Every stack as it would stand, by its name."""
    found = {}
    for template in template_names():
        name = stack_name(base, template)
        told = Resolver(
            load_template(template), Account("111122223333", "us-west-2", name), GIVEN | given
        ).outputs()
        found[name] = StackState(name, "id", "CREATE_COMPLETE", None, told, {}, dt.datetime.now(dt.UTC))
    return found


def fed(monkeypatch: pytest.MonkeyPatch, base: str, template: str, **given: str) -> dict[str, Any]:
    stacks = deployed(base, **given)
    monkeypatch.setattr(parameters_module, "describe", lambda _, name: stacks.get(name))
    return choose_parameters(load_template(template), Cloud(embedded=True), base, {})


@pytest.mark.parametrize(
    ("base", "given", "prefix"),
    [
        ("glacierflow", {}, "glacierflow"),
        ("other", {}, "other"),
        ("other", {"ExistingJobDefinition": "theirs"}, "theirs"),
    ],
)
def test_the_state_machine_may_submit_the_definitions_that_its_runs_name(
    monkeypatch: pytest.MonkeyPatch, base: str, given: dict[str, str], prefix: str
) -> None:
    told = fed(monkeypatch, base, "stepfunctions", FunctionName="ours", **given)
    assert told["JobDefinitionPrefix"] == prefix
    assert told["FunctionName"] == "ours"
    where = Account("111122223333", "us-west-2", stack_name(base, "stepfunctions"))
    machine = Resolver(load_template("stepfunctions"), where, told).resources("AWS::IAM::Role")["MachineRole"]
    text = str(machine["Policies"])
    assert f":job-definition/{prefix}-*" in text
    assert ":function:ours" in text
    outputs = deployed(base, **given)[base].outputs
    assert all(prefix in value for name, value in outputs.items() if name.startswith("JobDefinition"))


@pytest.mark.parametrize("template", [one for one in template_names() if one not in {"network", MAIN}])
def test_what_a_template_says_is_an_output_of_another_stack_is_fed_from_there(
    monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    told = fed(monkeypatch, "other", template, Image="images@sha256:1")
    parameters = load_template(template).parameters
    promised = {name for name, one in parameters.items() if "utput of" in one.get("Description", "")}
    without_default = {name for name, one in parameters.items() if "Default" not in one}
    assert promised | without_default
    assert promised | without_default <= told.keys()
    assert ("Image" in told) == ("Image" in parameters)


@pytest.mark.parametrize("address", [{"BudgetEmail": "a@example.org"}, {"BudgetTopic": "arn:aws:sns:1:2:t"}])
def test_a_budget_that_would_tell_nobody_is_refused_and_one_with_an_address_is_made(
    monkeypatch: pytest.MonkeyPatch, address: dict[str, str]
) -> None:
    stacks = deployed("glacierflow")
    del stacks["glacierflow-observability"]
    monkeypatch.setattr(parameters_module, "describe", lambda _, name: stacks.get(name))
    template, cloud = load_template("observability"), Cloud(embedded=True)
    with pytest.raises(UsageError, match="a budget of 70 dollars would tell nobody") as refused:
        choose_parameters(template, cloud, "glacierflow", {"BudgetUsd": "70"})
    assert refused.value.next_step is not None
    assert all(name in refused.value.next_step for name in ("email", "sns_topic_arn", "BudgetEmail"))
    told = choose_parameters(template, cloud, "glacierflow", {"BudgetUsd": "70"} | address)
    assert told.items() >= ({"BudgetUsd": "70"} | address).items()


def test_the_on_demand_queue_of_fargate_has_capacity_of_its_own_and_may_be_submitted_to() -> None:
    where = Account("111122223333", "us-west-2", "glacierflow-fargate")
    fargate = Resolver(load_template("fargate"), where, GIVEN)
    queues = {queue["JobQueueName"]: queue for queue in fargate.resources("AWS::Batch::JobQueue").values()}
    assert queues.keys() == {"glacierflow-fargate", "glacierflow-fargate-ondemand"}
    kinds = {
        one["ComputeEnvironmentName"]: one["ComputeResources"]["Type"]
        for one in fargate.resources("AWS::Batch::ComputeEnvironment").values()
    }
    assert kinds["glacierflow-fargate-ondemand"] == "FARGATE"
    assert "FARGATE_SPOT" in kinds.values()
    main = Resolver(load_template(MAIN), Account("111122223333", "us-west-2", "glacierflow"), GIVEN)
    policies = str(main.resources("AWS::IAM::ManagedPolicy"))
    for name in queues:
        assert f"arn:aws:batch:us-west-2:111122223333:job-queue/{name}'" in policies
