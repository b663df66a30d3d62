"""What the policies allow: resources they name, actions the code calls, and nothing a linter complains of."""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from botocore import xform_name
from permissions import NOT_THEIRS, ROLES, calls, missing, page
from test_template import ACCOUNT, FED, GIVEN, ROOT, resolver

from glacierflow.stack.policies import policy_files
from glacierflow.stack.resolve import Account, Resolver
from glacierflow.stack.templates import load_template, stack_name, template_names

GIVEN_ALL = (
    GIVEN
    | FED
    | {
        "Bucket": "bucket",
        "SubmitterRoleName": "submitter",
        "NewScenesTopic": "arn:aws:sns:us-west-2:111122223333:new",
        "ScheduleService": "stepfunctions",
        "Stack": "glacierflow",
    }
)
"""With these, every statement that depends on a condition is there."""

MAIN_BUCKET = "glacierflow-111122223333-us-west-2"
WILDCARDS = {
    "the service has no resource level for these actions": {
        "template/SubmitterPolicy/Watch *",
        "template/ExecutionRole/RegistryLogin *",
        "ecs/SubmitterPolicy/LookAtDefinition *",
        "stepfunctions/MachineRole/Watch *",
        "stepfunctions/MachineRole/WriteLog *",
    },
    "AWS asks for a container instance, which Fargate has not; a condition names the cluster": {
        "ecs/SubmitterPolicy/ListTasks *",
    },
    "objects below a prefix": {
        f"template/SubmitterPolicy/WriteRecords {MAIN_BUCKET}/runs/*",
        f"template/SubmitterPolicy/ReadRecordsAndProducts {MAIN_BUCKET}/runs/*",
        f"template/SubmitterPolicy/ReadRecordsAndProducts {MAIN_BUCKET}/1_download_merge_and_clip/*",
        f"template/JobRole/OwnPrefixes {MAIN_BUCKET}/1_download_merge_and_clip/*",
        f"template/JobRole/OwnPrefixes {MAIN_BUCKET}/runs/*",
        "lambda/LambdaRole/OwnPrefixes bucket/1_download_merge_and_clip/*",
        "lambda/LambdaRole/OwnPrefixes bucket/runs/*",
        "lambda/LambdaRole/ReadSettings bucket/scripts/greenland-glacier-flow/*",
        "schedule/SchedulerRole/ReadSettings bucket/scripts/greenland-glacier-flow/*",
        "stepfunctions/MachineRole/ReadItems bucket/runs/*",
    },
    "public images of a data provider": {
        "template/JobRole/ReadSources sentinel-cogs/*",
        "template/JobRole/ReadSources usgs-landsat/*",
        "lambda/LambdaRole/ReadSources sentinel-cogs/*",
        "lambda/LambdaRole/ReadSources usgs-landsat/*",
        "schedule/SchedulerRole/ReadFootprints usgs-landsat/*_stac.json",
    },
    "streams of one log group, which AWS names": {
        "template/SubmitterPolicy/ReadLogs log-group:/glacierflow/batch:*",
        "template/SubmitterPolicy/ReadLogs log-group:/aws/lambda/glacierflow-schedule:*",
        "template/SubmitterPolicy/ReadLogs log-group:/aws/vendedlogs/states/glacierflow-stepfunctions:*",
        "template/ExecutionRole/WriteLog log-group:/glacierflow/batch:*",
        "lambda/SubmitterPolicy/ReadLogs log-group:/aws/lambda/glacierflow-lambda:*",
        "lambda/LambdaRole/WriteLog log-group:/aws/lambda/glacierflow-lambda:*",
        "schedule/SchedulerRole/WriteLog log-group:/aws/lambda/glacierflow-schedule:*",
    },
    "a job's id is made when it is submitted, and has nothing of its queue or name": {
        "template/SubmitterPolicy/TagAndTerminate job/*",
        "stepfunctions/MachineRole/TagAndTerminate job/*",
    },
    "tasks of one cluster and executions of one machine, named when they start": {
        "ecs/SubmitterPolicy/TagAtStart task/glacierflow-ecs/*",
        "ecs/SubmitterPolicy/WatchAndStop task/glacierflow-ecs/*",
        "stepfunctions/SubmitterPolicy/WatchAndStop execution:glacierflow-stepfunctions:*",
        "stepfunctions/MachineRole/WatchTheMap execution:glacierflow-stepfunctions:*",
        "stepfunctions/MachineRole/WatchTheMap execution:glacierflow-stepfunctions/*",
        "schedule/SchedulerRole/WatchMachine execution:glacierflow-stepfunctions:*",
    },
    "each memory class, and revisions that are yet to be made": {
        "template/SubmitterPolicy/Submit job-definition/glacierflow-*",
        "stepfunctions/MachineRole/Submit job-definition/glacierflow-*",
        "stepfunctions/MachineRole/Submit job-definition/glacierflow-fargate-*",
        "ecs/SubmitterPolicy/Run task-definition/glacierflow-ecs-*",
    },
    "stacks beside the main one, whose ids end in what AWS makes up": {
        "template/SubmitterPolicy/FindNames stack/glacierflow*/*",
    },
    "roles that AWS makes for itself, one a service": {
        "template/SubmitterPolicy/LookAtRoles role/aws-service-role/*",
    },
    "what is denied": {
        "schedule/SchedulerRole/NotItsTask *",
    },
}
"""Reason -> policy, statement and resource: every wildcard there is. Whoever adds one says here why."""


@cache
def statements() -> list[tuple[str, dict[str, Any]]]:
    """Policy and statement of all templates, each with the name of its own stack."""
    found = []
    for template in map(load_template, template_names()):
        where = Account(ACCOUNT.account_id, ACCOUNT.region, stack_name(ACCOUNT.stack, template.name))
        given = {name: value for name, value in GIVEN_ALL.items() if name in template.parameters}
        told = Resolver(template, where, given)
        documents = [
            (f"{template.name}/{name}", one["PolicyDocument"])
            for name, one in told.resources("AWS::IAM::ManagedPolicy").items()
        ]
        for name, role in told.resources("AWS::IAM::Role").items():
            documents += [
                (f"{template.name}/{name}", one["PolicyDocument"]) for one in role.get("Policies", [])
            ]
        found += [(name, one) for name, document in documents for one in document["Statement"]]
    return found


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_no_policy_allows_more_than_it_names() -> None:
    assert len(statements()) >= 35
    for name, statement in statements():
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}, name
        for action in listed(statement["Action"]):
            assert "*" not in action, (name, action)
            if action == "iam:GetRole":
                assert name == "template/SubmitterPolicy"
            elif action.split(":")[0] in {"iam", "sts"}:
                assert (name, action) == ("ecs/SubmitterPolicy", "iam:PassRole"), action
                assert "iam:PassedToService" in statement["Condition"]["StringEquals"]


def test_every_wildcard_has_a_reason() -> None:
    found = [
        f"{name}/{statement['Sid']} {resource.split(':', 5)[-1]}"
        for name, statement in statements()
        for resource in listed(statement["Resource"])
        if "*" in resource or "?" in resource
    ]
    assert sorted(found) == sorted(one for reasoned in WILDCARDS.values() for one in reasoned)
    # only the last part of an ARN may be open: neither the service nor the account nor the region
    for _, statement in statements():
        for resource in listed(statement["Resource"]):
            assert resource == "*" or "*" not in "".join(resource.split(":", 5)[:5]), resource


def test_what_is_allowed_on_everything_has_no_resource_level() -> None:
    """By the service authorization reference, as the linter's copy has it."""
    there = importlib.util.find_spec("parliament")
    assert there is not None
    assert there.origin is not None
    services = json.loads(Path(there.origin).with_name("iam_definition.json").read_text())
    levels = {
        f"{service['prefix']}:{action['privilege']}": {
            one["resource_type"] for one in action["resource_types"]
        }
        for service in services
        for action in service["privileges"]
    }
    assert levels["batch:TerminateJob"] == {"job*"}
    for name, statement in statements():
        if "*" in listed(statement["Resource"]) and statement["Effect"] == "Allow":
            for action in listed(statement["Action"]):
                of_our_cluster = "ecs:cluster" in statement.get("Condition", {}).get("ArnEquals", {})
                assert levels[action] == {""} or (action == "ecs:ListTasks" and of_our_cluster), (
                    name,
                    action,
                )


# ---- what is allowed is called ----

RUNS = {
    "template/SubmitterPolicy": "glacierflow.cli.app",
    "lambda/SubmitterPolicy": "glacierflow.cli.app",
    "ecs/SubmitterPolicy": "glacierflow.cli.app",
    "stepfunctions/SubmitterPolicy": "glacierflow.cli.app",
    "template/JobRole": "glacierflow.task",
    "lambda/LambdaRole": "glacierflow.functions.handler",
    "schedule/SchedulerRole": "glacierflow.functions.scheduler.handler",
}
"""Policy -> module that runs under it."""
NOT_OUR_CODE = {
    "template/ExecutionRole": "ECS pulls the image and writes the log",
    "stepfunctions/MachineRole": "Step Functions carries the definition out",
}

CALLED_AS = {
    "s3:ListBucket": {"list_objects_v2"},
    "lambda:InvokeFunction": {"invoke"},
    "batch:TagResource": {"submit_job"},
    "ecs:TagResource": {"run_task"},
    "iam:PassRole": {"run_task"},
}
"""Action -> calls of another name that need it."""

CALLED_BY_AWS = {
    ("lambda/LambdaRole", "logs:CreateLogStream"),
    ("lambda/LambdaRole", "logs:PutLogEvents"),
    ("lambda/LambdaRole", "sqs:SendMessage"),
    ("schedule/SchedulerRole", "logs:CreateLogStream"),
    ("schedule/SchedulerRole", "logs:PutLogEvents"),
}
"""Lambda itself writes the log, and puts what failed into the queue, with the function's role."""


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("glacierflow", exclude_type_checking_imports=True, cache_dir=None)


def calls_below(module: str) -> set[str]:
    """Methods that a module, or one it imports, calls; the embedded cloud is no caller of AWS."""
    found = set()
    for name in {module, *imports().find_upstream_modules(module)}:
        if name.startswith("glacierflow.local"):
            continue
        path = ROOT / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                pages = node.func.attr == "get_paginator" and isinstance(node.args[0], ast.Constant)
                found.add(node.args[0].value if pages else node.func.attr)  # type: ignore[attr-defined]
    return found


def uncalled(actions: Iterable[str], calls: set[str]) -> set[str]:
    return {
        action
        for action in actions
        if not CALLED_AS.get(action, {xform_name(action.partition(":")[2])}) & calls
    }


def test_what_is_allowed_is_called_by_what_runs_under_it() -> None:
    names = {name for name, _ in statements()}
    assert names == set(RUNS) | set(NOT_OUR_CODE)
    found = set()
    for policy, module in RUNS.items():
        allowed = [one for name, one in statements() if name == policy and one["Effect"] == "Allow"]
        actions = {action for one in allowed for action in listed(one["Action"])}
        found |= {(policy, action) for action in uncalled(actions, calls_below(module))}
    assert found == CALLED_BY_AWS


def allowed_to(role: str) -> set[str]:
    policies, _ = ROLES[role]
    return {
        action
        for name, one in statements()
        if name in policies and one["Effect"] == "Allow"
        for action in listed(one["Action"])
    }


@pytest.mark.parametrize("role", list(ROLES))
def test_whatever_the_code_of_a_role_calls_it_may(role: str) -> None:
    assert missing(role, allowed_to(role)) == {}
    # a right that is taken away is missed
    (action, *_) = sorted(allowed_to(role) & {action for action, _ in calls(*ROLES[role][1])})
    assert action in missing(role, allowed_to(role) - {action})
    # what is said not to be theirs is called somewhere, and not allowed but where it is denied
    assert NOT_THEIRS[role].keys() & allowed_to(role) <= {"batch:TerminateJob"}


def test_the_page_of_permissions_is_made_from_the_code() -> None:
    told = (ROOT / "docs/reference/permissions.md").read_text()
    assert told == page(statements()), "make it anew: python tests/permissions.py"


def test_an_action_that_nothing_calls_is_found() -> None:
    calls = calls_below("glacierflow.task")
    allowed = {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    assert uncalled({*allowed, "s3:DeleteObject", "batch:TagResource"}, calls) == {
        "s3:DeleteObject",
        "batch:TagResource",
    }


def test_who_reads_objects_that_may_be_missing_may_list_their_bucket_whatever_the_prefix() -> None:
    for name, statement in statements():
        if "s3:ListBucket" in listed(statement["Action"]):
            # a GET or HEAD has no prefix, so such a condition turns 404 into 403
            assert "Condition" not in statement, name
    listing = {name for name, one in statements() if "s3:ListBucket" in listed(one["Action"])}
    assert listing == {"template/JobRole", "template/SubmitterPolicy", "lambda/LambdaRole"}
    # the scheduler's role is given the submitter's policy
    scheduler = load_template("schedule").content["Resources"]["SchedulerRole"]["Properties"]
    assert scheduler["ManagedPolicyArns"] == [{"Ref": "SubmitterPolicy"}]


FALSE_ALARMS = {
    ("submitter-role", "RESOURCE_MISMATCH", "batch:SubmitJob"),
    ("stepfunctions-machine-role", "RESOURCE_MISMATCH", "batch:SubmitJob"),
    ("ecs-submitter", "RESOURCE_STAR", "ecs:ListTasks"),
    ("stepfunctions-submitter", "RESOURCE_MISMATCH", "states:ListExecutions"),
    ("stepfunctions-submitter", "RESOURCE_MISMATCH", "states:DescribeExecution"),
    ("stepfunctions-machine-role", "RESOURCE_MISMATCH", "states:DescribeExecution"),
    ("schedule-scheduler-role", "RESOURCE_MISMATCH", "states:DescribeExecution"),
}
"""The linter's table of 2023 takes SubmitJob for an action on jobs; AWS: on queue and job definition. And it
wants DescribeExecution on an express execution besides the standard one, which our machine does not have, and
ListExecutions on a map run besides the machine. A condition names the cluster whose tasks are listed."""


LINT = """
import json, sys, parliament
told = {}
for name, document in json.load(sys.stdin).items():
    found = parliament.analyze_policy_string(document).findings
    firsts = [one.detail[0] if isinstance(one.detail, list) else one.detail for one in found]
    details = [one["action"] if isinstance(one, dict) and "action" in one else str(one) for one in firsts]
    told[name] = [[one.issue, detail] for one, detail in zip(found, details)]
print(json.dumps(told))
"""


def findings(documents: dict[str, str]) -> set[tuple[str, str, str]]:
    """(policy, kind, detail) of every finding; in another process, for the linter leaves files open."""
    done = subprocess.run(
        [sys.executable, "-c", LINT], input=json.dumps(documents), capture_output=True, text=True, check=True
    )
    return {(name, *one) for name, found in json.loads(done.stdout).items() for one in found}


def test_a_policy_linter_finds_nothing_in_actions_resources_and_conditions() -> None:
    files = policy_files([load_template(name) for name in template_names()], ACCOUNT, GIVEN | FED)
    policies = {name.partition(".")[0]: text for name, text in files.items() if name.endswith(".policy.json")}
    assert len(policies) >= 4
    condition = {"StringEquals": {"s3:never": "x"}}
    wrong = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}
    policies["wrong"] = json.dumps({"Version": "2012-10-17", "Statement": [wrong | {"Condition": condition}]})
    told = findings(policies)
    assert {one[:2] for one in told if one[0] == "wrong"} == {("wrong", "UNKNOWN_CONDITION_FOR_ACTION")}
    assert {one for one in told if one[0] != "wrong"} == FALSE_ALARMS


def test_what_the_submitter_needs_of_each_service_is_written_for_an_administrator() -> None:
    files = policy_files([load_template(name) for name in template_names()], ACCOUNT, GIVEN)
    actions = {
        name: {action for one in json.loads(text)["Statement"] for action in listed(one["Action"])}
        for name, text in files.items()
        if name.endswith("-submitter.policy.json")
    }
    assert {name: {one.partition(":")[0] for one in found} for name, found in actions.items()} == {
        "lambda-submitter.policy.json": {"lambda", "logs", "sqs"},
        "ecs-submitter.policy.json": {"ecs", "iam"},
        "stepfunctions-submitter.policy.json": {"states"},
    }
    text = "".join(text for name, text in files.items() if name.endswith(".json"))
    assert "<" not in text, "everything is worked out"
    # each stack by its own name
    for arn in (
        ":task-definition/glacierflow-ecs-*",
        ":execution:glacierflow-stepfunctions:*",
        ":log-group:/aws/lambda/glacierflow-schedule:*",
        ":role/glacierflow-job-us-west-2",
    ):
        assert arn in text
    assert "| ecs-submitter |" in files["README.md"]


def test_the_machine_may_do_what_aws_asks_for_a_distributed_map() -> None:
    """As in AWS's "IAM policies for using Distributed Map states", and nothing for tracing, which is off."""
    states = "arn:aws:states:us-west-2:111122223333"
    allowed = {
        (action, resource)
        for name, one in statements()
        if name == "stepfunctions/MachineRole"
        for action in listed(one["Action"])
        for resource in listed(one["Resource"])
    }
    child = f"{states}:execution:glacierflow-stepfunctions/Slots:a1b2"
    assert ("states:StartExecution", f"{states}:stateMachine:glacierflow-stepfunctions") in allowed
    for action in ("states:DescribeExecution", "states:StopExecution"):
        patterns = [resource for one, resource in allowed if one == action]
        for arn in (f"{states}:execution:glacierflow-stepfunctions:run", child):
            assert any(fnmatch.fnmatchcase(arn, pattern) for pattern in patterns), (action, arn)
            foreign = arn.replace("glacierflow-stepfunctions", "glacierflow-stepfunctions2")
            assert not any(fnmatch.fnmatchcase(foreign, pattern) for pattern in patterns)
    machine = load_template("stepfunctions").content["Resources"]["StateMachine"]["Properties"]
    assert machine["TracingConfiguration"] == {"Enabled": False}
    assert not any(action.startswith("xray:") for action, _ in allowed)


def test_trust_is_for_services_of_this_account_only() -> None:
    roles = resolver().resources("AWS::IAM::Role")
    for name in ("JobRole", "ExecutionRole"):
        (statement,) = roles[name]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "111122223333"}}
    (statement,) = roles["SubmitterRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::111122223333:root"}
    topic = resolver().resources("AWS::SNS::TopicPolicy")["TopicPolicy"]["PolicyDocument"]["Statement"]
    rule, alarm = topic
    assert rule["Principal"] == {"Service": "events.amazonaws.com"}
    assert rule["Condition"]["ArnEquals"]["aws:SourceArn"].endswith(":rule/glacierflow-run-ended")
    assert alarm["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarm["Action"] == "sns:Publish"
    assert alarm["Condition"]["StringEquals"] == {"aws:SourceAccount": "111122223333"}
    allowed = alarm["Condition"]["ArnLike"]["aws:SourceArn"]
    watching = Account("111122223333", "us-west-2", stack_name("glacierflow", "observability"))
    observed = Resolver(load_template("observability"), watching, {"Topic": "arn:topic"})
    (told,) = observed.resources("AWS::CloudWatch::Alarm").values()
    assert told["AlarmActions"] == ["arn:topic"]
    arn = f"arn:aws:cloudwatch:us-west-2:111122223333:alarm:{told['AlarmName']}"
    assert fnmatch.fnmatchcase(arn, allowed)
    assert not fnmatch.fnmatchcase(arn.replace("glacierflow", "theirs"), allowed)
