"""The parameters of each template: where their values come from, and whether the template allows them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.settings import LoadedSettings, section_attribute
from glacierflow.settings.load import DEFAULT
from glacierflow.stack.deploy import describe
from glacierflow.stack.existing import adopt, has_bucket, has_function, has_log_group
from glacierflow.stack.resolve import Account, Named, Resolver
from glacierflow.stack.templates import MAIN, NETWORK, Template, stack_name

_FROM_SETTINGS = {
    "BasePath": "STORAGE.s3_base_path",
    "LogGroupName": "MONITORING.log_group",
    "LogRetentionDays": "MONITORING.log_retention_days",
    "ExistingExecutionRole": "SECURITY.iam_execution_role",
    "ExistingJobRole": "SECURITY.iam_task_role",
    "SpotStrategy": "COST_OPTIMIZATION.spot_allocation_strategy",
    "BudgetUsd": "COST_OPTIMIZATION.budget_limit",
    "BucketName": "STORAGE.s3_bucket",
    "FunctionName": "LAMBDA.function_name",
    "FunctionMemoryMB": "LAMBDA.memory_size",
    "FunctionTimeoutSeconds": "LAMBDA.timeout",
    "EphemeralStorageMiB": "LAMBDA.ephemeral_storage",
    "FunctionImage": "LAMBDA.ecr_image_uri",
    "lambda:Architecture": "LAMBDA.architecture",
    "ClusterName": "ECS.cluster",
    "InstanceTypes": "BATCH.instance_types",
    "DetailedMonitoring": "MONITORING.enable_detailed_monitoring",
}
"""The key that decides a parameter; ``template:Parameter`` is that of one template alone."""


_BUILDS_ON = {"schedule": ("lambda",), "stepfunctions": ("schedule", "lambda")}
"""Templates whose parameters are fed by other stacks than the network's and the main one."""

_LONGEST = {
    "AWS::Batch::ComputeEnvironment": 128,
    "AWS::Batch::JobDefinition": 128,
    "AWS::Batch::JobQueue": 128,
    "AWS::ECS::Cluster": 255,
    "AWS::Events::Rule": 64,
    "AWS::IAM::InstanceProfile": 128,
    "AWS::IAM::ManagedPolicy": 128,
    "AWS::IAM::Role": 64,
    "AWS::Lambda::Function": 64,
    "AWS::Logs::LogGroup": 512,
    "AWS::SNS::Topic": 256,
    "AWS::SQS::Queue": 80,
    "AWS::StepFunctions::StateMachine": 80,
}
"""Most characters of a name (the API references of the services; botocore's models agree where they say)."""

Json = dict[str, Any]


def from_settings(loaded: LoadedSettings) -> dict[str, str]:
    """Parameters that aws_config.ini decides, of the keys that are set."""
    told = {}
    for parameter, key in _FROM_SETTINGS.items():
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.settings, section_attribute(section)), name)
        by_hand = loaded.origins.get(key, DEFAULT) != DEFAULT and value is not None
        # the predecessor's file may name a role without its account, which a template cannot use
        if by_hand and (section != "SECURITY" or str(value).startswith("arn:")):
            told[parameter] = _text(value)
    return told | _addresses(loaded)


def _text(value: object) -> str:
    """A value as CloudFormation takes it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _addresses(loaded: LoadedSettings) -> dict[str, str]:
    """Who is told of what; and what is switched on by a key, and off only by hand."""
    settings = loaded.settings
    email, topic = settings.settings.email, settings.notifications.sns_topic_arn
    told = {}
    if email and settings.notifications.email_notifications:
        told["NotificationEmail"] = email
    if email and settings.cost_optimization.budget_limit:
        told["BudgetEmail"] = email
    if topic and settings.cost_optimization.budget_limit:
        told["BudgetTopic"] = topic
    if settings.experimental.enable_step_functions:
        told["ScheduleService"] = "stepfunctions"
    return told


def repository_named(loaded: LoadedSettings) -> dict[str, str]:
    """The repository's name by aws_config.ini, for a stack that has none yet."""
    name = loaded.settings.lambda_.ecr_repository
    return {"RepositoryName": name} if name else {}


def check_names(names: Iterable[str], templates: Iterable[Template]) -> None:
    """Refuse a parameter that none of the templates has.

    Raises:
        UsageError: with the nearest names there are.
    """
    known = {name for template in templates for name in template.parameters}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3) or sorted(known)
            raise UsageError(
                f"no template to be deployed has a parameter {name}",
                next_step=f"did you mean {', '.join(near)}?",
            )


def choose_parameters(
    template: Template, cloud: Cloud, base: str, given: Mapping[str, str]
) -> dict[str, str]:
    """Values for the parameters of a template.

    What is given wins; then outputs of the stacks it builds on. A stack that is made for the first time takes
    over a bucket and a repository that are there already, and without a network stack the default VPC. What
    is left out keeps its value of last time, or has its default.

    Args:
        template: what is to be deployed.
        cloud: which AWS.
        base: name of the main stack.
        given: values by parameter, for all templates together.

    Raises:
        UsageError: a value is not allowed, there is no network to deploy into, a bucket belongs to somebody
            else, or earlier stacks left several.
    """
    # what is typed for all templates wins over a setting about this one
    mark = f"{template.name}:"
    alone = {name.removeprefix(mark): one for name, one in given.items() if name.startswith(mark)}
    own = {name: value for name, value in (alone | dict(given)).items() if name in template.parameters}
    check_values(own, [template])
    if template.name == "observability":
        _check_budget(cloud, base, own)
    if template.name == NETWORK:
        return _zones(cloud) | own
    fed = _outputs(cloud, stack_name(base, NETWORK))
    if template.name != MAIN:
        for below in (MAIN, *_BUILDS_ON.get(template.name, ())):
            fed |= _outputs(cloud, stack_name(base, below))
    told = {name: value for name, value in fed.items() if name in template.parameters} | own
    if template.name != MAIN:
        return told
    state = describe(cloud, base)
    if state is not None and state.status != "REVIEW_IN_PROGRESS":
        return _moved(cloud, told, state.outputs.get("Bucket", ""))
    return adopt(cloud, template, base, told | (_default_network(cloud) if "Vpc" not in told else {}))


def check_new_names(templates: Iterable[Template], cloud: Cloud, base: str, given: Mapping[str, str]) -> None:
    """Refuse, before anything is deployed, names that AWS would refuse: too long, or taken by something else.

    What a stack has made already keeps its name and is not looked for.

    Args:
        templates: what is to be deployed.
        cloud: which AWS.
        base: name of the main stack.
        given: values by parameter, for all templates together.

    Raises:
        UsageError: with the name, and the setting that changes it.
        UnavailableError: AWS cannot be reached.
    """
    new: list[tuple[str, Named]] = []
    for template in templates:
        stack = stack_name(base, template.name)
        state = describe(cloud, stack)
        where = Account("", cloud.region or "", stack)
        last = {} if state is None or state.status == "REVIEW_IN_PROGRESS" else dict(state.parameters)
        own = {} if not last else {(one.kind, one.name) for one in Resolver(template, where, last).names()}
        named = Resolver(template, where, last | dict(given)).names()
        new += [(stack, one) for one in named if (one.kind, one.name) not in own]
    _check_lengths([one for _, one in new], base)
    for stack, one in new:
        _check_free(one, cloud, stack)


def _check_lengths(named: list[Named], base: str) -> None:
    over = [(len(one.name) - _LONGEST.get(one.kind, len(one.name)), one) for one in named]
    much, one = max(over, key=lambda found: found[0], default=(0, None))
    if one is None or much <= 0:
        return
    kind = one.kind.rpartition("::")[2]
    by_stack = f"a stack name of at most {len(base) - much} characters: --stack NAME"
    by_hand = ", ".join(f"--set {name}=NAME" for name in one.parameters)
    raise UsageError(
        f"the {kind} {one.name} would have {len(one.name)} characters, and AWS takes {_LONGEST[one.kind]}",
        next_step=f"give {by_hand if one.parameters and base not in one.name else by_stack}",
    )


def _check_free(one: Named, cloud: Cloud, stack: str) -> None:
    looks = {
        "AWS::Lambda::Function": ("function", has_function),
        "AWS::Logs::LogGroup": ("log group", has_log_group),
    }
    if one.kind not in looks:
        return
    word, is_there = looks[one.kind]
    if is_there(cloud, one.name):
        keys = [_FROM_SETTINGS[name] for name in one.parameters if name in _FROM_SETTINGS]
        ways = [f"--set {name}=NAME" for name in one.parameters] or ["--stack NAME"]
        ways += [f"{key.partition('.')[2]} in [{key.partition('.')[0]}] of aws_config.ini" for key in keys]
        raise UsageError(
            f"there is a {word} {one.name} already, which the stack {stack} did not make",
            next_step=f"choose another name ({', or '.join(ways)}), or delete that {word}",
        )


def _check_budget(cloud: Cloud, base: str, own: Mapping[str, str]) -> None:
    """A budget tells somebody."""
    state = describe(cloud, stack_name(base, "observability"))
    told = {**(state.parameters if state else {}), **own}
    if float(told.get("BudgetUsd") or 0) and not (told.get("BudgetEmail") or told.get("BudgetTopic")):
        raise UsageError(
            f"a budget of {told['BudgetUsd']} dollars would tell nobody",
            next_step="set email in [SETTINGS] or sns_topic_arn in [NOTIFICATIONS], "
            "or give --set BudgetEmail=you@example.org",
        )


def _outputs(cloud: Cloud, stack: str) -> dict[str, str]:
    state = describe(cloud, stack)
    return dict(state.outputs) if state else {}


def _zones(cloud: Cloud) -> dict[str, str]:
    with plain_errors("list the zones of the region", service="EC2"):
        zones = cloud.client("ec2").describe_availability_zones(
            Filters=[
                {"Name": "state", "Values": ["available"]},
                {"Name": "zone-type", "Values": ["availability-zone"]},
            ]
        )["AvailabilityZones"]
    names = sorted(zone["ZoneName"] for zone in zones)[:6]
    return {"Zones": ",".join(names), "ZoneCount": str(len(names))}


def _default_network(cloud: Cloud) -> dict[str, str]:
    ec2 = cloud.client("ec2")
    with plain_errors("find the default VPC", service="EC2"):
        found = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not found:
            raise UsageError(
                f"the region {cloud.region} has no default VPC",
                next_step="add `--with network` for a small one, or give --set Vpc=... --set Subnets=...",
            )
        vpc = found[0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    ids = sorted(one["SubnetId"] for one in subnets)
    return {"Vpc": vpc, "Subnets": ",".join(ids)}


def _moved(cloud: Cloud, told: dict[str, str], bucket: str) -> dict[str, str]:
    """Of a stack that has a bucket: another one is used or made where it is asked for; the first stays."""
    rest = {name: value for name, value in told.items() if name != "BucketName"}
    wanted = told.get("BucketName", bucket)
    if wanted == bucket:
        return rest
    if has_bucket(cloud, wanted):
        return {"ExistingBucket": wanted} | rest
    return {"ExistingBucket": "", "BucketName": wanted} | rest


def check_values(given: Mapping[str, str], templates: Iterable[Template]) -> None:
    """Refuse a value that CloudFormation would refuse, and the embedded cloud would take.

    Args:
        given: values by parameter, for all templates together; a list is one text with commas.
        templates: what is to be deployed; a parameter that none of them has is passed over.

    Raises:
        UsageError: with the parameter, the value, and what is allowed.
    """
    for template in templates:
        for name, value in given.items():
            if name in template.parameters:
                _check(name, value, template.parameters[name])


def _check(name: str, value: str, declared: Json) -> None:
    kind = str(declared["Type"])
    is_list = "List" in kind
    for one in (part.strip() for part in value.split(",")) if is_list else (value,):
        for allowed in _broken(one, kind, declared):
            raise UsageError(
                f"the parameter {name} = {one} is not accepted",
                next_step=f"give --set {name}=VALUE, or its key in aws_config.ini, with {allowed}",
            )


def _broken(value: str, kind: str, declared: Json) -> Iterator[str]:
    """What would be allowed in place of the value, for each rule that it breaks."""
    choices = [str(one) for one in declared.get("AllowedValues", ())]
    if choices and value not in choices:
        yield f"one of {', '.join(choices)}"
    if kind in {"Number", "List<Number>"}:
        low, high = (declared.get(key) for key in ("MinValue", "MaxValue"))
        number = _number(value)
        if number is None:
            yield "a number"
        elif (low is not None and number < float(low)) or (high is not None and number > float(high)):
            yield f"a number{_span(low, high)}"
        return
    shortest, longest = (declared.get(key) for key in ("MinLength", "MaxLength"))
    if (shortest and len(value) < int(shortest)) or (longest and len(value) > int(longest)):
        yield f"a number of characters{_span(shortest, longest)}"
    pattern = declared.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, value):
        yield str(declared.get("ConstraintDescription") or f"what matches {pattern}")


def _span(low: object, high: object) -> str:
    """`` from 1 to 9``, with one end where only one is set."""
    ends = (("from", low), ("to", high))
    return "".join(f" {word} {end}" for word, end in ends if end is not None)


def _number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value.strip()) else None
