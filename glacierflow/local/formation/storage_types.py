"""Buckets, repositories, log groups and what hangs on them; topics, alarms and budgets."""

from __future__ import annotations

import json
from typing import Any

import moto.budgets.models as moto_budgets
import moto.cloudwatch.models as moto_cloudwatch
import moto.ecr.models as moto_ecr
import moto.logs.models as moto_logs
import moto.s3.models as moto_s3
import moto.sns.models as moto_sns
from moto.s3.cloud_formation import cfn_to_api_encryption

from glacierflow.local.formation.kinds import Json, Settings, mend, settings_type


def install() -> None:
    """Mend what moto does in part, and add the types it skips without a word."""
    s3: Any = moto_s3
    ecr: Any = moto_ecr
    logs: Any = moto_logs
    mend(s3.FakeBucket, create=_make_bucket, update=_change_bucket)
    mend(logs.LogGroup, create=_make_log_group, update=_change_log_group)
    original = ecr.Repository.create_from_cloudformation_json

    def make_repository(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
        scanning = properties.get("ImageScanningConfiguration", {})
        told = properties | {"ImageScanningConfiguration": _lower_keys(scanning)}
        return original(name, {"Properties": told}, account_id, region)

    mend(ecr.Repository, create=make_repository)
    settings_type("AWS::S3::BucketPolicy", _put_bucket_policy, _end_bucket_policy)
    settings_type("AWS::SNS::TopicPolicy", _put_topic_policy, _end_topic_policy)
    settings_type("AWS::SNS::Subscription", _subscribe, _unsubscribe)
    settings_type(
        "AWS::Logs::MetricFilter", _put_metric_filter, _end_metric_filter, name_property="FilterName"
    )
    settings_type("AWS::CloudWatch::Alarm", _put_alarm, _end_alarm, name_property="AlarmName")
    settings_type("AWS::Budgets::Budget", _put_budget, _end_budget)


def _lower_keys(properties: Json) -> Json:
    return {name[:1].lower() + name[1:]: value for name, value in properties.items()}


def _make_bucket(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend = moto_s3.s3_backends[account_id]["aws"]
    bucket = backend.create_bucket(name, region)
    return _change_bucket(bucket, properties, account_id, region)


def _change_bucket(bucket: Any, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend: Any = moto_s3.s3_backends[account_id]["aws"]
    name = bucket.name
    if properties.get("BucketName", name) != name:
        # made anew; the first one stays, as its UpdateReplacePolicy says
        return _make_bucket(properties["BucketName"], properties, account_id, region)
    if "BucketEncryption" in properties:
        encryption = cfn_to_api_encryption(properties["BucketEncryption"])
        backend.put_bucket_encryption(bucket_name=name, encryption=encryption)
    if "VersioningConfiguration" in properties:
        backend.put_bucket_versioning(name, properties["VersioningConfiguration"]["Status"])
    if "PublicAccessBlockConfiguration" in properties:
        told = {key: _text(value) for key, value in properties["PublicAccessBlockConfiguration"].items()}
        backend.put_public_access_block(name, told)
    if "OwnershipControls" in properties:
        rule = properties["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
        backend.put_bucket_ownership_controls(name, rule)
    if "LifecycleConfiguration" in properties:
        rules = [_lifecycle_rule(rule) for rule in properties["LifecycleConfiguration"]["Rules"]]
        backend.put_bucket_lifecycle_configuration(name, rules)
    if "Tags" in properties:
        tags = {one["Key"]: one["Value"] for one in properties["Tags"]}
        backend.put_bucket_tagging(bucket_name=name, tags=tags)
    return bucket


def _text(value: Any) -> Any:  # noqa: ANN401
    return str(value).lower() if isinstance(value, bool) else value


def _lifecycle_rule(rule: Json) -> Json:
    """In the API's spelling, whose identifier is upper case and whose prefix must be said."""
    told = {key: value for key, value in rule.items() if key != "Id"}
    return told | {"ID": rule.get("Id"), "Prefix": rule.get("Prefix", "")}


def _put_bucket_policy(_: str, properties: Json, account_id: str, __: str) -> str:
    bucket: str = properties["Bucket"]
    backend = moto_s3.s3_backends[account_id]["aws"]
    backend.put_bucket_policy(bucket, json.dumps(properties["PolicyDocument"]).encode())
    return bucket


def _end_bucket_policy(policy: Settings, account_id: str, _: str) -> None:
    moto_s3.s3_backends[account_id]["aws"].delete_bucket_policy(policy.properties["Bucket"])


def _make_log_group(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend = moto_logs.logs_backends[account_id][region]
    # a log group outlives the server of the embedded cloud, and so may be there already
    backend.ensure_log_group(name)
    return _change_log_group(backend.groups[name], properties, account_id, region)


def _change_log_group(group: Any, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
    backend = moto_logs.logs_backends[account_id][region]
    found: Any = backend.groups[group.name]
    found.set_retention_policy(properties.get("RetentionInDays"))
    backend.tag_log_group(group.name, {one["Key"]: one["Value"] for one in properties.get("Tags", [])})
    return found


def _put_metric_filter(name: str, properties: Json, account_id: str, region: str) -> str:
    backend = moto_logs.logs_backends[account_id][region]
    transformations: Any = [_lower_keys(one) for one in properties["MetricTransformations"]]
    backend.put_metric_filter(name, properties["FilterPattern"], properties["LogGroupName"], transformations)
    return name


def _end_metric_filter(one: Settings, account_id: str, region: str) -> None:
    backend = moto_logs.logs_backends[account_id][region]
    backend.delete_metric_filter(one.physical_resource_id, one.properties["LogGroupName"])


def _put_topic_policy(name: str, properties: Json, account_id: str, region: str) -> str:
    for arn in properties["Topics"]:
        topic = moto_sns.sns_backends[account_id][region].get_topic(arn)
        topic.policy = json.dumps(properties["PolicyDocument"])
    return name


def _end_topic_policy(_: Settings, __: str, ___: str) -> None:
    """Goes with its topic."""


def _subscribe(_: str, properties: Json, account_id: str, region: str) -> str:
    backend = moto_sns.sns_backends[account_id][region]
    made = backend.subscribe(properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
    arn: str = made.arn
    return arn


def _unsubscribe(one: Settings, account_id: str, region: str) -> None:
    moto_sns.sns_backends[account_id][region].unsubscribe(one.physical_resource_id)


def _put_alarm(name: str, properties: Json, account_id: str, region: str) -> str:
    backend: Any = moto_cloudwatch.cloudwatch_backends[account_id][region]
    backend.put_metric_alarm(
        name=name,
        namespace=properties["Namespace"],
        metric_name=properties["MetricName"],
        comparison_operator=properties["ComparisonOperator"],
        evaluation_periods=int(properties["EvaluationPeriods"]),
        period=int(properties["Period"]),
        threshold=float(properties["Threshold"]),
        statistic=properties["Statistic"],
        description=properties.get("AlarmDescription", ""),
        dimensions=[],
        alarm_actions=properties.get("AlarmActions", []),
        treat_missing_data=properties.get("TreatMissingData"),
    )
    return name


def _end_alarm(one: Settings, account_id: str, region: str) -> None:
    moto_cloudwatch.cloudwatch_backends[account_id][region].delete_alarms([one.physical_resource_id])


def _put_budget(_: str, properties: Json, account_id: str, __: str) -> str:
    backend: Any = moto_budgets.budgets_backends[account_id]["aws"]
    limit = {key: str(value) for key, value in properties["Budget"]["BudgetLimit"].items()}
    budget = properties["Budget"] | {"BudgetLimit": limit}
    name: str = budget["BudgetName"]
    backend.budgets[account_id].pop(name, None)
    backend.create_budget(account_id, budget, properties.get("NotificationsWithSubscribers", []))
    return name


def _end_budget(one: Settings, account_id: str, _: str) -> None:
    backend: Any = moto_budgets.budgets_backends[account_id]["aws"]
    backend.delete_budget(account_id, one.physical_resource_id)
