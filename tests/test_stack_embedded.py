"""The embedded cloud's stack: every resource of the template is there, asked from its own service."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from embedded import stack_outputs

from glacierflow.cloud import Cloud
from glacierflow.local.control import Endpoint
from glacierflow.stack.templates import MAIN, load_template

pytestmark = pytest.mark.embedded

STACK = "glacierflow"
EXCEPTIONS = {"EmailSubscription", "ConsumableResource"}
"""Logical ids that are not there: nobody is named to be mailed; moto knows no consumable resources, and no
limit of children is asked for."""


@pytest.fixture
def cloud(cloud_endpoint: Endpoint) -> Cloud:
    return Cloud(endpoint_url=cloud_endpoint.url, embedded=True)


def outputs(cloud: Cloud) -> dict[str, str]:
    return stack_outputs(cloud.client("cloudformation"), STACK)


def lookups(cloud: Cloud) -> dict[str, Callable[[], Any]]:
    """How each resource is asked for at its own service."""
    told = outputs(cloud)
    batch, iam, s3 = cloud.client("batch"), cloud.client("iam"), cloud.client("s3")
    ec2, sns, ecr = cloud.client("ec2"), cloud.client("sns"), cloud.client("ecr")

    def environment(name: str) -> Any:
        return batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"][0]

    def queue(name: str) -> Any:
        return batch.describe_job_queues(jobQueues=[name])["jobQueues"][0]

    def definition(memory: int) -> Any:
        name = f"{STACK}-{memory}"
        return batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")["jobDefinitions"][0]

    def role(name: str) -> Any:
        return iam.get_role(RoleName=f"{STACK}-{name}-us-west-2")["Role"]

    def profile() -> Any:
        return iam.get_instance_profile(InstanceProfileName=f"{STACK}-instance-us-west-2")["InstanceProfile"]

    def log_group() -> Any:
        logs = cloud.client("logs")
        return logs.describe_log_groups(logGroupNamePrefix=told["LogGroup"])["logGroups"][0]

    return {
        "Bucket": lambda: s3.head_bucket(Bucket=told["Bucket"]),
        "BucketPolicy": lambda: s3.get_bucket_policy(Bucket=told["Bucket"])["Policy"],
        "Repository": lambda: ecr.describe_repositories(repositoryNames=["glacierflow"])["repositories"][0],
        "LogGroup": log_group,
        "JobRole": lambda: role("job"),
        "ExecutionRole": lambda: role("execution"),
        "InstanceRole": lambda: role("instance"),
        "InstanceProfile": profile,
        "SubmitterPolicy": lambda: iam.get_policy(PolicyArn=told["SubmitterPolicy"])["Policy"],
        "SubmitterRole": lambda: role("submitter"),
        "SecurityGroup": lambda: ec2.describe_security_groups(GroupIds=[told["SecurityGroup"]])[
            "SecurityGroups"
        ][0],
        "LaunchTemplate": lambda: ec2.describe_launch_templates(LaunchTemplateNames=[f"{STACK}-instances"])[
            "LaunchTemplates"
        ][0],
        "SpotEnvironment": lambda: environment(f"{STACK}-spot"),
        "OnDemandEnvironment": lambda: environment(f"{STACK}-ondemand"),
        "SpotQueue": lambda: queue(f"{STACK}-spot"),
        "OnDemandQueue": lambda: queue(f"{STACK}-ondemand"),
        "JobDefinition7500": lambda: definition(7500),
        "JobDefinition15500": lambda: definition(15500),
        "JobDefinition31500": lambda: definition(31500),
        "JobDefinition63200": lambda: definition(63200),
        "Topic": lambda: sns.get_topic_attributes(TopicArn=told["Topic"])["Attributes"],
        "TopicPolicy": lambda: sns.get_topic_attributes(TopicArn=told["Topic"])["Attributes"]["Policy"],
        "RunEndedRule": lambda: cloud.client("events").describe_rule(Name=f"{STACK}-run-ended"),
    }


def test_every_logical_id_exists_or_is_a_named_exception(cloud: Cloud) -> None:
    resources = set(load_template(MAIN).content["Resources"])
    asked = lookups(cloud)
    assert set(asked) | EXCEPTIONS == resources
    for name, ask in asked.items():
        assert ask(), name
    listed = cloud.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    assert {one["LogicalResourceId"] for one in listed} == resources - EXCEPTIONS


def test_the_bucket_is_encrypted_versioned_closed_and_keeps_everything(cloud: Cloud) -> None:
    s3, name = cloud.client("s3"), outputs(cloud)["Bucket"]
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    closed = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert set(closed.values()) == {True}
    assert len(closed) == 4
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert not {"Expiration", "Transitions", "NoncurrentVersionExpiration"} & set(rule)
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_roles_hang_together(cloud: Cloud) -> None:
    iam, told = cloud.client("iam"), outputs(cloud)
    attached = iam.list_attached_role_policies(RoleName=f"{STACK}-submitter-us-west-2")["AttachedPolicies"]
    assert [one["PolicyArn"] for one in attached] == [told["SubmitterPolicy"]]
    attached = iam.list_attached_role_policies(RoleName=f"{STACK}-instance-us-west-2")["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AmazonEC2ContainerServiceforEC2Role"]
    definition = lookups(cloud)["JobDefinition7500"]()["containerProperties"]
    assert (definition["jobRoleArn"], definition["executionRoleArn"]) == (
        told["JobRole"],
        told["ExecutionRole"],
    )


def test_the_environments_are_as_the_template_says(cloud: Cloud) -> None:
    asked = lookups(cloud)
    spot, on_demand = asked["SpotEnvironment"](), asked["OnDemandEnvironment"]()
    assert spot["computeResources"]["allocationStrategy"] == "SPOT_PRICE_CAPACITY_OPTIMIZED"
    assert on_demand["computeResources"]["allocationStrategy"] == "BEST_FIT_PROGRESSIVE"
    for environment in (spot, on_demand):
        resources = environment["computeResources"]
        assert len(resources["instanceTypes"]) >= 10
        assert len(resources["subnets"]) == 4, "one in each zone moto has"
        assert resources["launchTemplate"]["version"] == "1"
        assert "bidPercentage" not in resources
    scanned = asked["Repository"]()
    assert scanned["imageTagMutability"] == "IMMUTABLE"
    assert scanned["imageScanningConfiguration"] == {"scanOnPush": True}
    assert asked["LogGroup"]()["retentionInDays"] == 365
