"""The templates: what they promise in documents, in botocore's model, and to a policy linter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from moto.events.models import EventPattern

from glacierflow.runs.workload import VCPUS
from glacierflow.stack.resolve import Account, Resolver
from glacierflow.stack.templates import MAIN, load_template, stack_name, template_names

ROOT = Path(__file__).parents[1]
ACCOUNT = Account("111122223333", "us-west-2", "glacierflow")
GIVEN = {"Vpc": "vpc-1", "Subnets": "subnet-1,subnet-2"}
FED = {
    "SpotQueue": "arn:aws:batch:us-west-2:111122223333:job-queue/glacierflow-spot",
    "OnDemandQueue": "arn:aws:batch:us-west-2:111122223333:job-queue/glacierflow-ondemand",
    "Topic": "arn:aws:sns:us-west-2:111122223333:glacierflow-runs",
    "SchedulerFunctionArn": "arn:aws:lambda:us-west-2:111122223333:function:glacierflow-schedule",
}
"""Outputs of other stacks, which templates of services are fed with."""

RETRY = {
    "attempts": 4,
    "evaluateOnExit": [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onStatusReason": "Your Spot Task was interrupted*", "action": "RETRY"},
        {"onStatusReason": "Task failed to start*", "action": "RETRY"},
        {"onExitCode": "75", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ],
}


def resolver(**parameters: str) -> Resolver:
    return Resolver(load_template(MAIN), ACCOUNT, GIVEN | parameters)


def api(properties: Any) -> Any:
    """CloudFormation's spelling in the API's, numbers as numbers."""
    if isinstance(properties, list):
        return [api(one) for one in properties]
    if isinstance(properties, dict):
        keeps = {"Tags", "Options"}
        return {
            key[0].lower() + key[1:]: value if key in keeps else api(value)
            for key, value in properties.items()
        }
    return int(properties) if isinstance(properties, str) and properties.isdecimal() else properties


def refused(call: str, request: dict[str, Any]) -> str:
    shape = botocore.session.get_session().get_service_model("batch").operation_model(call).input_shape
    assert shape is not None
    report = ParamValidator().validate(request, shape)
    return report.generate_report() if report.has_errors() else ""


def test_cfn_lint_finds_nothing() -> None:
    lint = Path(sys.executable).with_name("cfn-lint")
    files = sorted(str(path) for path in (ROOT / "batch").glob("*.yaml"))
    done = subprocess.run([lint, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_checkov_skips_says_why() -> None:
    reasons = [
        skip.get("comment", "")
        for template in template_names()
        for resource in load_template(template).content["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert reasons
    assert all(len(reason.split()) > 3 for reason in reasons)


def test_every_template_fits_into_a_request_and_has_a_stack_of_its_own() -> None:
    names = template_names()
    assert names[:2] == ("network", MAIN)
    assert all(len(load_template(name).body.encode()) <= 51_200 for name in names)
    assert stack_name("glacierflow", MAIN) == "glacierflow"
    assert len({stack_name("glacierflow", name) for name in names}) == len(names)


@pytest.mark.parametrize("memory", [7_500, 15_500, 31_500, 63_200])
def test_a_job_definition_is_as_documented_and_as_botocore_wants_it(memory: int) -> None:
    definitions = resolver().resources("AWS::Batch::JobDefinition")
    told = definitions[f"JobDefinition{memory}"]
    assert len(definitions) == len(VCPUS)
    assert told["JobDefinitionName"] == f"glacierflow-{memory}"
    needs = {one["Type"]: one["Value"] for one in told["ContainerProperties"]["ResourceRequirements"]}
    assert needs == {"MEMORY": str(memory), "VCPU": str(VCPUS[memory])}
    request = api({key: value for key, value in told.items() if key != "ResourceRetentionPolicy"})
    for rule in request["retryStrategy"]["evaluateOnExit"]:
        if "onExitCode" in rule:
            rule["onExitCode"] = str(rule["onExitCode"])
    for one in request["containerProperties"]["resourceRequirements"]:
        one["value"] = str(one["value"])
    assert request["retryStrategy"] == RETRY
    assert request["propagateTags"] is True
    assert request["timeout"] == {"attemptDurationSeconds": 7200}
    assert request["containerProperties"]["command"] == ["python", "-m", "glacierflow.task"]
    assert refused("RegisterJobDefinition", request) == ""
    assert "Unknown parameter" in refused("RegisterJobDefinition", request | {"retries": 3})


def test_environments_and_queues_are_as_botocore_wants_them() -> None:
    for told in resolver().resources("AWS::Batch::ComputeEnvironment").values():
        kept = {
            key: value
            for key, value in told.items()
            if key not in {"ReplaceComputeEnvironment", "UpdatePolicy"}
        }
        request = api(kept)
        request["computeResources"].pop("updateToLatestImageVersion")
        assert refused("CreateComputeEnvironment", request) == ""
    queues = resolver().resources("AWS::Batch::JobQueue")
    assert set(queues) == {"SpotQueue", "OnDemandQueue"}
    for told in queues.values():
        request = api(told)
        assert refused("CreateJobQueue", request) == ""
        reasons = [one["reason"] for one in request["jobStateTimeLimitActions"]]
        assert reasons == [
            "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
            "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
            "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        ]
        for one in request["jobStateTimeLimitActions"]:
            assert (one["state"], one["action"]) == ("RUNNABLE", "CANCEL")
            assert 600 <= one["maxTimeSeconds"] <= 86_400


FARGATE = {1: range(2048, 8193, 1024), 2: range(4096, 16385, 1024), 4: range(8192, 30721, 1024)} | {
    8: range(16384, 61441, 4096),
    16: range(32768, 122881, 8192),
}
"""Memory in MiB that Fargate offers for a number of vCPUs (AWS Batch, ResourceRequirement; the ECS developer
guide's "Task CPU and memory" has the same table)."""


def test_fargate_definitions_hold_their_class_and_are_pairs_that_fargate_knows() -> None:
    given = dict.fromkeys(("JobRole", "ExecutionRole", "LogGroup", "Repository", "SecurityGroup"), "x")
    told = Resolver(
        load_template("fargate"), ACCOUNT, {**given, "Subnets": "subnet-1", "Architecture": "arm64"}
    )
    definitions = told.resources("AWS::Batch::JobDefinition")
    assert set(definitions) == {f"JobDefinition{memory}" for memory in VCPUS}
    for name, one in definitions.items():
        needs = {each["Type"]: each["Value"] for each in one["ContainerProperties"]["ResourceRequirements"]}
        cpus, memory, wanted = int(needs["VCPU"]), int(needs["MEMORY"]), name.removeprefix("JobDefinition")
        assert memory in FARGATE[cpus]
        assert memory >= int(wanted)
        assert one["JobDefinitionName"] == f"glacierflow-{wanted}"
        request = api({key: value for key, value in one.items() if key != "ResourceRetentionPolicy"})
        request["retryStrategy"]["evaluateOnExit"][3]["onExitCode"] = "75"
        for each in request["containerProperties"]["resourceRequirements"]:
            each["value"] = str(each["value"])
        assert request["retryStrategy"] == RETRY
        assert refused("RegisterJobDefinition", request) == ""
        assert request["containerProperties"]["runtimePlatform"]["cpuArchitecture"] == "ARM64"


def test_tasks_have_the_smallest_size_of_fargate_that_holds_their_class_and_run_nowhere_else() -> None:
    template = load_template("ecs")
    resources = template.content["Resources"]
    tasks = {
        int(name.removeprefix("TaskDefinition")): one["Properties"]
        for name, one in resources.items()
        if name.startswith("TaskDefinition")
    }
    assert set(tasks) == set(VCPUS)
    for wanted, task in tasks.items():
        smallest = min(
            (cpus, memory) for cpus, offered in FARGATE.items() for memory in offered if memory >= wanted
        )
        assert (int(task["Cpu"]) // 1024, int(task["Memory"])) == smallest
        assert task["RequiresCompatibilities"] == ["FARGATE"]
    # such tasks cannot run on instances, so a cluster that offers some would only fail later
    assert resources["Cluster"]["Properties"]["CapacityProviders"] == ["FARGATE_SPOT", "FARGATE"]
    (default,) = resources["Cluster"]["Properties"]["DefaultCapacityProviderStrategy"]
    assert default["CapacityProvider"] == "FARGATE_SPOT"
    assert not {name for name in template.parameters if "Provider" in name}


def test_the_instances_drain_and_ask_for_imdsv2() -> None:
    data = resolver().resources("AWS::EC2::LaunchTemplate")["LaunchTemplate"]["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert data["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == "40"
    assert "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true" in data["UserData"]


def test_what_is_there_already_is_used_and_nothing_is_made_in_its_place() -> None:
    told = resolver(
        ExistingBucket="ours",
        ExistingRepository="images",
        ExistingJobRole="arn:job",
        ExistingExecutionRole="arn:execution",
        ExistingInstanceProfile="arn:profile",
        ExistingSpotQueue="arn:spot",
        ExistingOnDemandQueue="arn:ondemand",
        ExistingJobDefinition="theirs",
        CreateSubmitterRole="false",
    )
    made = {name for name in told.template.content["Resources"] if told.resource(name) is not None}
    assert made == {"LogGroup", "Topic", "TopicPolicy", "RunEndedRule"}
    outputs = {
        name: told.value(one["Value"])
        for name, one in told.template.content["Outputs"].items()
        if "Condition" not in one
    }
    assert (outputs["Bucket"], outputs["SpotQueue"], outputs["JobRole"]) == ("ours", "arn:spot", "arn:job")
    assert outputs["JobDefinition63200"] == "theirs-63200"


def test_every_output_is_named_by_code_docs_or_another_template() -> None:
    texts = [
        path.read_text() for folder in ("glacierflow", "docs") for path in (ROOT / folder).rglob("*.[pm][yd]")
    ]
    texts += [name for template in template_names() for name in load_template(template).parameters]
    everything = "\n".join(texts)
    for template in template_names():
        for name in load_template(template).content.get("Outputs", {}):
            assert re.search(rf"\b{name.rstrip('0123456789')}\b", everything), (template, name)


def test_a_permissions_boundary_is_on_every_role() -> None:
    roles = resolver(PermissionsBoundary="arn:boundary").resources("AWS::IAM::Role")
    assert {one.get("PermissionsBoundary") for one in roles.values()} == {"arn:boundary"}
    assert all("PermissionsBoundary" not in one for one in resolver().resources("AWS::IAM::Role").values())


def test_a_limit_of_children_is_a_consumable_resource_that_the_submitter_may_use() -> None:
    def submit(told: Resolver) -> list[str]:
        policy = told.resources("AWS::IAM::ManagedPolicy")["SubmitterPolicy"]["PolicyDocument"]
        (statement,) = [one for one in policy["Statement"] if one["Sid"] == "Submit"]
        return [arn for arn in statement["Resource"] if "consumable" in arn]

    without, told = resolver(), resolver(MaxConcurrentChildren="200")
    assert not without.resources("AWS::Batch::ConsumableResource")
    assert "ConsumableResource" not in without.outputs()
    assert submit(without) == []
    (made,) = told.resources("AWS::Batch::ConsumableResource").values()
    assert made["ConsumableResourceName"] == told.outputs()["ConsumableResource"] == "glacierflow-children"
    assert submit(told) == ["arn:aws:batch:us-west-2:111122223333:consumable-resource/glacierflow-children"]
    request = api({key: value for key, value in made.items() if key != "Tags"})
    assert request["resourceType"] == "REPLENISHABLE"
    assert request["totalQuantity"] == 200
    assert refused("CreateConsumableResource", request) == ""


def test_graviton_has_families_of_its_own() -> None:
    intel = resolver().resources("AWS::Batch::ComputeEnvironment")["SpotEnvironment"]["ComputeResources"]
    arm = resolver(Architecture="arm64").resources("AWS::Batch::ComputeEnvironment")["SpotEnvironment"]
    families = arm["ComputeResources"]["InstanceTypes"]
    assert all(one.endswith("g") for one in families)
    assert not set(families) & set(intel["InstanceTypes"])


# ---- who is told that a run has ended ----


def event(**detail: Any) -> dict[str, Any]:
    """A Batch Job State Change as the user guide shows it."""
    return {
        "version": "0",
        "id": "c8f9c4b5-76e5-d76a-f980-7011e206042b",
        "detail-type": "Batch Job State Change",
        "source": "aws.batch",
        "account": "111122223333",
        "time": "2026-01-11T23:36:40Z",
        "region": "us-west-2",
        "resources": ["arn:aws:batch:us-west-2:111122223333:job/4c7599ae-0a82-49aa-ba5a-4727fcce14a8"],
        "detail": {
            "jobArn": "arn:aws:batch:us-west-2:111122223333:job/4c7599ae-0a82-49aa-ba5a-4727fcce14a8",
            "jobName": "gf-sentinel2-20240701-20240731-000_22-20260111T233600Z-c0ffee-0",
            "jobId": "4c7599ae-0a82-49aa-ba5a-4727fcce14a8",
            "jobQueue": "arn:aws:batch:us-west-2:111122223333:job-queue/glacierflow-spot",
            "status": "SUCCEEDED",
            "attempts": [],
            "retryStrategy": {"attempts": 4, "evaluateOnExit": []},
        }
        | detail,
    }


PARENT = {"arrayProperties": {"size": 23, "statusSummary": {"SUCCEEDED": 22, "FAILED": 1}}}
CHILD = {
    "jobId": "4c7599ae-0a82-49aa-ba5a-4727fcce14a8:3",
    "arrayProperties": {"index": 3, "statusSummary": {}},
}


@pytest.mark.parametrize(
    ("told", "detail"),
    [
        (True, PARENT | {"status": "FAILED"}),
        (True, PARENT),
        (True, {}),
        (True, {"arrayProperties": {"statusSummary": {}}}),
        (False, CHILD),
        (False, CHILD | {"status": "FAILED"}),
        (False, CHILD | {"arrayProperties": {"index": 0}}),
        (False, PARENT | {"status": "RUNNING"}),
        (False, PARENT | {"status": "PENDING"}),
        (False, PARENT | {"jobName": "somebody-elses"}),
    ],
)
def test_the_topic_is_told_of_parents_that_ended_and_of_nothing_else(
    told: bool, detail: dict[str, Any]
) -> None:
    rule = resolver().resources("AWS::Events::Rule")["RunEndedRule"]
    pattern = EventPattern.load(json.dumps(rule["EventPattern"]))
    told_event: Any = event(**detail)
    assert pattern.matches_event(told_event) is told


def test_the_metric_filter_counts_what_a_failed_unit_writes() -> None:
    """What a child does write: test_task.py."""
    filters = load_template("observability").content["Resources"]["FailedUnits"]["Properties"]
    assert filters["FilterPattern"].strip('"') == "ERROR failed:"
