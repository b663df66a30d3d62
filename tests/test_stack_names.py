"""Names that AWS would refuse, too long or taken, stop a deployment before anything is deployed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import pytest
from refusals import refusal

from glacierflow.errors import UsageError
from glacierflow.stack.parameters import check_new_names
from glacierflow.stack.resolve import Account, Resolver
from glacierflow.stack.templates import MAIN, load_template, template_names

PREDECESSORS = "glacier-processing"


@dataclass
class AccountWith:
    """A cloud in which there are some stacks, functions and log groups."""

    stacks: dict[str, dict[str, str]] = field(default_factory=dict)
    functions: tuple[str, ...] = ()
    log_groups: tuple[str, ...] = ()
    may_ask: bool = True
    region: str = "us-west-2"

    def client(self, service: str) -> AccountWith:
        assert service in {"cloudformation", "lambda", "logs"}
        return self

    def _permit(self, operation: str) -> None:
        if not self.may_ask:
            raise refusal(operation, "AccessDeniedException", 403)

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        if StackName not in self.stacks:
            raise refusal("DescribeStacks", "ValidationError", 400, f"{StackName} does not exist")
        told = self.stacks[StackName].items()
        listed = [{"ParameterKey": name, "ParameterValue": value} for name, value in told]
        state = {"StackName": StackName, "StackId": "id", "StackStatus": "CREATE_COMPLETE"}
        return {"Stacks": [state | {"CreationTime": dt.datetime.now(dt.UTC), "Parameters": listed}]}

    def get_function(self, *, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        self._permit("GetFunction")
        if FunctionName not in self.functions:
            raise refusal("GetFunction", "ResourceNotFoundException", 404)
        return {"Configuration": {}}

    def describe_log_groups(self, *, logGroupNamePrefix: str) -> dict[str, Any]:  # noqa: N803
        self._permit("DescribeLogGroups")
        found = [one for one in self.log_groups if one.startswith(logGroupNamePrefix)]
        return {"logGroups": [{"logGroupName": one} for one in found]}


def check(cloud: AccountWith, *templates: str, base: str = "glacierflow", **given: str) -> None:
    stands_in: Any = cloud
    check_new_names([load_template(one) for one in templates], stands_in, base, given)


def names(template: str, stack: str, **given: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in Resolver(load_template(template), Account("1", "us-west-2", stack), given).names():
        found.setdefault(one.kind, []).append(one.name)
    return found


@pytest.mark.parametrize("template", [one for one in template_names() if one != MAIN])
def test_every_name_begins_with_the_stacks_unless_it_was_set_by_hand(template: str) -> None:
    for kind, found in names(template, "other-stack").items():
        for name in found:
            begins = ("/aws/lambda/other-stack", "/aws/vendedlogs/states/other-stack", "other-stack")
            assert name.startswith(begins), (kind, name)


def test_the_main_stacks_names_begin_with_its_own_too() -> None:
    found = names(MAIN, "other-stack")
    # bucket and repository outlive stacks, and a stack takes over those that are there
    of_the_stack = set(found) - {"AWS::S3::Bucket", "AWS::ECR::Repository"}
    assert all(name.lstrip("/").startswith("other-stack") for kind in of_the_stack for name in found[kind])
    assert found["AWS::Logs::LogGroup"] == ["/other-stack/batch"]
    assert names("lambda", "x", FunctionName=PREDECESSORS)["AWS::Lambda::Function"] == [PREDECESSORS]


def test_a_function_of_somebody_else_stops_the_deployment_and_the_setting_is_printed() -> None:
    theirs = AccountWith(functions=(PREDECESSORS,), log_groups=(f"/aws/lambda/{PREDECESSORS}",))
    check(theirs, MAIN, "lambda")
    with pytest.raises(UsageError, match=f"there is a log group /aws/lambda/{PREDECESSORS} already") as told:
        check(theirs, MAIN, "lambda", FunctionName=PREDECESSORS)
    assert "--set FunctionName=NAME, or function_name in [LAMBDA]" in str(told.value.next_step)
    alone = AccountWith(functions=("glacierflow-lambda",))
    with pytest.raises(UsageError, match="a function glacierflow-lambda already, which the stack"):
        check(alone, MAIN, "lambda")
    # of another name that only begins so
    check(AccountWith(log_groups=("/aws/lambda/glacierflow-lambda-2",)), MAIN, "lambda")
    group = AccountWith(log_groups=("/glacierflow/batch",))
    with pytest.raises(UsageError, match="a log group /glacierflow/batch") as told:
        check(group, MAIN)
    assert "log_group in [MONITORING]" in str(told.value.next_step)


def test_what_the_stack_made_itself_stays() -> None:
    ours = AccountWith(
        stacks={"glacierflow": {}, "glacierflow-lambda": {"FunctionName": PREDECESSORS}},
        functions=(PREDECESSORS, "taken"),
        log_groups=(f"/aws/lambda/{PREDECESSORS}", "/glacierflow/batch"),
    )
    # an earlier version made it under the predecessor's name, and it is not renamed
    check(ours, "lambda")
    check(ours, "lambda", FunctionName=PREDECESSORS)
    with pytest.raises(UsageError, match="there is a function taken already"):
        check(ours, "lambda", FunctionName="taken")


def test_who_may_not_ask_is_told_by_cloudformation() -> None:
    check(AccountWith(may_ask=False, functions=("glacierflow-lambda",)), MAIN, "lambda")


def test_names_longer_than_iam_takes_are_refused_with_the_longest_stack_name() -> None:
    base = "glacierflow-of-the-university-department"
    with pytest.raises(UsageError, match=r"the Role .* would have .* characters, and AWS takes 64") as told:
        check(AccountWith(region="ap-southeast-2"), MAIN, base=base)
    (fits,) = [word for word in str(told.value.next_step).split() if word.isdecimal()]
    with pytest.raises(UsageError):
        check(AccountWith(region="ap-southeast-2"), MAIN, base="g" * (int(fits) + 1))
    check(AccountWith(region="ap-southeast-2"), MAIN, base="g" * int(fits))
    with pytest.raises(UsageError, match=r"the Function f{65} would have 65") as told:
        check(AccountWith(), "lambda", FunctionName="f" * 65)
    assert told.value.next_step == "give --set FunctionName=NAME"
