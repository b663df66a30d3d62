"""Every stack at once on the embedded cloud: made, looked at, deleted until no service has anything of it."""

from __future__ import annotations

import json
from typing import Any

import jmespath
import pytest
from embedded import stack_outputs

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.local.control import Endpoint
from glacierflow.stack.templates import MAIN, stack_name, template_names

pytestmark = [pytest.mark.embedded, pytest.mark.rehearsal]

OWN = ["--stack", "all", "--local"]
BESIDE = [name for name in template_names() if name != MAIN]
SETS = {
    "BucketName": "all-bucket",
    "LogGroupName": "/all/batch",
    "RepositoryName": "all",
    "FunctionName": "all-processing",
    "ScheduleExpression": "rate(7 days)",
    "ScheduleService": "stepfunctions",
    "BudgetUsd": "50",
    "BudgetEmail": "a@example.org",
}
STACKS = {stack_name("all", name) for name in template_names()}

INVENTORY = {
    ("batch", "describe_compute_environments"): "computeEnvironments[].computeEnvironmentName",
    ("batch", "describe_job_queues"): "jobQueues[].jobQueueName",
    ("batch", "describe_job_definitions"): "jobDefinitions[?status=='ACTIVE'].jobDefinitionName",
    ("budgets", "describe_budgets"): "Budgets[].BudgetName",
    ("cloudwatch", "describe_alarms"): "MetricAlarms[].AlarmName",
    ("cloudwatch", "list_dashboards"): "DashboardEntries[].DashboardName",
    ("ec2", "describe_internet_gateways"): "InternetGateways[].InternetGatewayId",
    ("ec2", "describe_launch_templates"): "LaunchTemplates[].LaunchTemplateName",
    ("ec2", "describe_route_tables"): "RouteTables[].RouteTableId",
    ("ec2", "describe_security_groups"): "SecurityGroups[].GroupId",
    ("ec2", "describe_subnets"): "Subnets[].SubnetId",
    ("ec2", "describe_vpc_endpoints"): "VpcEndpoints[?State!='deleted'].VpcEndpointId",
    ("ec2", "describe_vpcs"): "Vpcs[].VpcId",
    ("ecr", "describe_repositories"): "repositories[].repositoryName",
    ("ecs", "describe_clusters"): "clusters[?status=='ACTIVE'].clusterName",
    ("ecs", "list_task_definitions"): "taskDefinitionArns",
    ("events", "list_rules"): "Rules[].Name",
    ("iam", "list_instance_profiles"): "InstanceProfiles[].InstanceProfileName",
    ("iam", "list_policies"): "Policies[?contains(Arn, ':iam::123456789012:')].PolicyName",
    ("iam", "list_roles"): "Roles[].RoleName",
    ("lambda", "list_functions"): "Functions[].FunctionName",
    ("lambda", "list_layers"): "Layers[].LayerName",
    ("logs", "describe_log_groups"): "logGroups[].logGroupName",
    ("s3", "list_buckets"): "Buckets[].Name",
    ("sns", "list_topics"): "Topics[].TopicArn",
    ("sqs", "list_queues"): "QueueUrls",
    ("stepfunctions", "list_state_machines"): "stateMachines[].name",
}
"""What there is of each kind of resource, asked of its own service: call -> names in the answer."""

KEPT = {
    ("s3", "list_buckets"): {"all-bucket"},
    ("ecr", "describe_repositories"): {"all"},
}
"""Products, records and images outlive the stacks."""


Found = dict[tuple[str, str], set[str]]


def inventory(cloud: Cloud) -> Found:
    asked = {
        "describe_budgets": {"AccountId": "123456789012"},
        "describe_clusters": {"clusters": cloud.client("ecs").list_clusters()["clusterArns"]},
    }
    found = {}
    for (service, call), names in INVENTORY.items():
        # Any: the service is a name here, and the stubs want a literal
        client: Any = cloud.client(service)
        ask = client.get_paginator(call).paginate if client.can_paginate(call) else getattr(client, call)
        answer = ask(**asked.get(call, {}))
        pages = [answer] if isinstance(answer, dict) else answer
        found[service, call] = {name for page in pages for name in jmespath.search(names, page) or []}
    return found


def added(after: Found, before: Found) -> Found:
    return {kind: names - before[kind] for kind, names in after.items() if names - before[kind]}


def test_all_stacks_are_made_looked_at_and_deleted_and_bucket_and_images_stay(
    at_cloud: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = Cloud(endpoint_url=at_cloud.url, embedded=True)
    s3 = cloud.client("s3")
    before = inventory(cloud)
    sets = [f"--set={name}={value}" for name, value in SETS.items()]
    # the main one alone first, for the zips lie in its bucket
    assert run(["stack", "deploy", *OWN, *sets[:3], "--yes", "--quiet"]) == 0
    for key in ("scheduler.zip", "scheduler-layer.zip"):
        s3.put_object(Bucket="all-bucket", Key=f"scripts/glacierflow/{key}", Body=b"code")
    assert run(["stack", "deploy", *OWN, "--with", ",".join(BESIDE), *sets, "--yes", "--quiet"]) == 0
    made = added(inventory(cloud), before)
    assert set(made) == set(INVENTORY), "each kind is there to be deleted"

    capsys.readouterr()
    assert run(["stack", "status", *OWN, "--json"]) == 0
    stood = json.loads(capsys.readouterr().out)
    assert {one["stack"]: one["status"][-8:] for one in stood} == dict.fromkeys(STACKS, "COMPLETE")
    assert run(["stack", "outputs", *OWN, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    cloudformation = cloud.client("cloudformation")
    assert told == {name: stack_outputs(cloudformation, name) for name in STACKS}

    assert run(["stack", "delete", *OWN, "--yes", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    order = [stack_name("all", name) for name in template_names()]
    assert lines[: len(order)] == [f"{name}: deleted" for name in reversed(order)]
    assert "kept: the bucket all-bucket with everything in it" in lines[len(order)]
    assert added(inventory(cloud), before) == KEPT
    assert (
        s3.get_object(Bucket="all-bucket", Key="scripts/glacierflow/scheduler.zip")["Body"].read() == b"code"
    )
    assert run(["stack", "status", *OWN]) == 1
    assert run(["stack", "outputs", *OWN]) == 64
    assert run(["stack", "delete", *OWN, "--yes"]) == 0
    assert "nothing to delete" in capsys.readouterr().err
