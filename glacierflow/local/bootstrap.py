"""What a real account gets from its template, made in the embedded cloud through the same AWS calls."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from glacierflow.aws import Cloud
from glacierflow.resources import resource_path
from glacierflow.runs.workload import VCPUS

__all__ = ["COMPUTE_ENVIRONMENTS", "JOB_DEFINITION", "JOB_QUEUES", "bootstrap", "template"]

Json = dict[str, Any]

COMPUTE_ENVIRONMENTS = ("glacierflow-spot", "glacierflow-ondemand")
JOB_QUEUES = ("glacierflow-spot", "glacierflow-ondemand")
JOB_DEFINITION = "glacierflow"

_ROLES = ("glacierflow-task", "glacierflow-execution", "glacierflow-instance", "glacierflow-batch")
_ASSUME = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": ["ecs-tasks.amazonaws.com", "ec2.amazonaws.com", "batch.amazonaws.com"]},
            "Action": "sts:AssumeRole",
        }
    ],
}


def template(name: str) -> Json:
    """One of the JSON files in ``batch/``, by its name without the ending."""
    content: Json = json.loads(resource_path(f"batch/{name}.json").read_text())
    return content


def bootstrap(endpoint_url: str, *, region: str, bucket: str) -> None:
    """Make bucket, log group, roles, compute environments, queues and job definitions; what is there stays.

    Args:
        endpoint_url: the embedded cloud.
        region: AWS region to make them in.
        bucket: bucket for products and runs.
    """
    cloud = Cloud(region=region, endpoint_url=endpoint_url, embedded=True)
    _make_bucket(cloud, bucket)
    batch = cloud.client("batch")
    definition = template("job-definition")
    _make_log_group(cloud, definition["containerProperties"]["logConfiguration"]["options"]["awslogs-group"])
    environments = {one["computeEnvironmentName"] for one in _environments(batch)}
    if not environments.issuperset(COMPUTE_ENVIRONMENTS):
        account = _make_account(cloud)
        for name in sorted(set(COMPUTE_ENVIRONMENTS) - environments):
            batch.create_compute_environment(
                **_for_account(template(f"compute-environment-{name[12:]}"), account)
            )
    queues = {one["jobQueueName"] for one in batch.describe_job_queues()["jobQueues"]}
    for name in sorted(set(JOB_QUEUES) - queues):
        batch.create_job_queue(**template(f"job-queue-{name[12:]}"))
    _register(batch, definition)
    for memory_mib, vcpus in VCPUS.items():
        _register(batch, _of_class(definition, memory_mib, vcpus))


def _of_class(definition: Json, memory_mib: int, vcpus: int) -> Json:
    """The job definition with the memory and the vCPUs of a class."""
    container = definition["containerProperties"] | {
        "resourceRequirements": [
            {"type": "VCPU", "value": str(vcpus)},
            {"type": "MEMORY", "value": str(memory_mib)},
        ]
    }
    name = f"{definition['jobDefinitionName']}-{memory_mib}"
    return definition | {"jobDefinitionName": name, "containerProperties": container}


def _environments(batch: Any) -> list[Json]:  # noqa: ANN401 - a boto3 client
    found: list[Json] = batch.describe_compute_environments()["computeEnvironments"]
    return found


def _make_bucket(cloud: Cloud, bucket: str) -> None:
    s3 = cloud.client("s3")
    if bucket in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
        return
    # us-east-1 is the one region that must not be named
    where = {} if cloud.region == "us-east-1" else {"LocationConstraint": cloud.region}
    s3.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {}))


def _make_log_group(cloud: Cloud, name: str) -> None:
    logs = cloud.client("logs")
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    if name not in {group["logGroupName"] for group in groups}:
        logs.create_log_group(logGroupName=name)


def _make_account(cloud: Cloud) -> Json:
    """Roles and network that the templates leave to the account: what stands for each placeholder."""
    iam, ec2 = cloud.client("iam"), cloud.client("ec2")
    known = {role["RoleName"]: role["Arn"] for role in iam.list_roles()["Roles"]}
    for name in _ROLES:
        if name not in known:
            made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_ASSUME))
            known[name] = made["Role"]["Arn"]
    profiles = {
        one["InstanceProfileName"]: one["Arn"] for one in iam.list_instance_profiles()["InstanceProfiles"]
    }
    if "glacierflow-instance" not in profiles:
        made = iam.create_instance_profile(InstanceProfileName="glacierflow-instance")
        profiles["glacierflow-instance"] = made["InstanceProfile"]["Arn"]
    return {
        "instance_profile": profiles["glacierflow-instance"],
        "subnets": [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]][:3],
        "security_groups": [one["GroupId"] for one in ec2.describe_security_groups()["SecurityGroups"]][:1],
        "service_role": known["glacierflow-batch"],
    }


def _for_account(environment: Json, account: Json) -> Json:
    resources = environment["computeResources"] | {
        "instanceRole": account["instance_profile"],
        "subnets": account["subnets"],
        "securityGroupIds": account["security_groups"],
    }
    # moto insists on a service role; AWS has a service-linked one
    return environment | {"computeResources": resources, "serviceRole": account["service_role"]}


def _register(batch: Any, definition: Json) -> None:  # noqa: ANN401 - a boto3 client
    """Register the definition unless its newest revision says the same."""
    answer = batch.describe_job_definitions(
        jobDefinitionName=definition["jobDefinitionName"], status="ACTIVE"
    )
    newest = max(answer["jobDefinitions"], key=lambda one: int(one["revision"]), default=None)
    if newest is None or newest.get("tags", {}).get("glacierflow:template") != _stamp(definition):
        stamped = definition["tags"] | {"glacierflow:template": _stamp(definition)}
        batch.register_job_definition(**(definition | {"tags": stamped}))


def _stamp(definition: Json) -> str:
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:16]
