"""Networks and roles: what moto forgets when they are deleted or changed by an update."""

from __future__ import annotations

import json
from typing import Any

import moto.iam.models as moto_iam
from moto.ec2.models import ec2_backends
from moto.ec2.models.internet_gateways import InternetGateway
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.subnets import SubnetRouteTableAssociation
from moto.ec2.models.vpcs import VPCEndPoint
from moto.ec2.models.vpn_gateway import VPCGatewayAttachment

from glacierflow.local import moto_private
from glacierflow.local.formation.kinds import Json, mend

_AWS_POLICY = {"Version": "2012-10-17", "Statement": []}


def install_networks() -> None:
    """Mend what is forgotten at the end, and the versions of launch templates."""
    mend(SubnetRouteTableAssociation, delete=_end_association)
    mend(RouteTable, delete=_end_route_table)
    mend(VPCGatewayAttachment, delete=_end_attachment)
    mend(InternetGateway, delete=_end_gateway)
    mend(VPCEndPoint, delete=_end_endpoint)
    mend(LaunchTemplate, update=_change_launch_template)


def _network(account_id: str, region: str) -> Any:  # noqa: ANN401
    return ec2_backends[account_id][region]


def _end_association(association: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    table = _network(account_id, region).route_tables.get(association.route_table_id)
    if table is not None:
        moto_private.drop_association(table, association.subnet_id)


def _end_route_table(table: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    _network(account_id, region).delete_route_table(table.id)


def _end_attachment(attachment: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    backend = _network(account_id, region)
    # the attachment does not say which gateway it is of
    for gateway in backend.internet_gateways.values():
        if gateway.vpc and gateway.vpc.id == attachment.vpc_id:
            backend.detach_internet_gateway(gateway.id, attachment.vpc_id)


def _end_gateway(gateway: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    _network(account_id, region).delete_internet_gateway(gateway.id)


def _end_endpoint(endpoint: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    backend = _network(account_id, region)
    # the routes of a table that is gone went with it
    endpoint.route_table_ids = [one for one in endpoint.route_table_ids or () if one in backend.route_tables]
    backend.delete_vpc_endpoints([endpoint.id])


def _change_launch_template(template: Any, properties: Json, _: str, __: str) -> Any:  # noqa: ANN401
    """A new version, which is what ``LatestVersionNumber`` then says."""
    template.create_version(properties["LaunchTemplateData"], "")
    return template


def install_roles() -> None:
    """Mend roles and managed policies."""
    moto: Any = moto_iam
    original = moto.Role.create_from_cloudformation_json

    def make_role(name: str, properties: Json, account_id: str, region: str) -> Any:  # noqa: ANN401
        role = original(name, {"Properties": properties}, account_id, region)
        _set_policies(role, properties, account_id)
        return role

    mend(moto.Role, create=make_role, update=_change_role, delete=_end_role)
    mend(moto.ManagedPolicy, update=_change_policy, delete=_end_policy)


def _backend(account_id: str) -> Any:  # noqa: ANN401
    return moto_iam.iam_backends[account_id]["aws"]


def _set_policies(role: Any, properties: Json, account_id: str) -> None:  # noqa: ANN401
    backend = _backend(account_id)
    for name in list(role.policies):
        role.delete_policy(name)
    for policy in properties.get("Policies", []):
        # moto keeps what it is given here, and its enforcement wants text
        role.put_policy(policy["PolicyName"], json.dumps(policy["PolicyDocument"]))
    wanted = properties.get("ManagedPolicyArns", [])
    # what another stack attached stays, as on AWS
    for arn in set(getattr(role, "arns_of_template", ())) - set(wanted):
        backend.detach_role_policy(arn, role.name)
    role.arns_of_template = tuple(wanted)
    for arn in wanted:
        if arn not in backend.managed_policies:
            _know_aws_policy(backend, arn)
        if arn not in role.managed_policies:
            backend.attach_role_policy(arn, role.name)


def _know_aws_policy(backend: Any, arn: str) -> None:  # noqa: ANN401
    """Stand in for a policy that AWS keeps; what it allows is not known here."""
    name = arn.rpartition("/")[2]
    # Any: to a type checker moto's classes are abstract
    moto: Any = moto_iam
    policy = moto.AWSManagedPolicy(
        name, account_id=backend.account_id, region=backend.region_name, document=json.dumps(_AWS_POLICY)
    )
    policy.path = f"/{arn.partition(':policy/')[2].rpartition('/')[0]}/".replace("//", "/")
    backend.managed_policies[arn] = policy


def _change_role(role: Any, properties: Json, account_id: str, _: str) -> Any:  # noqa: ANN401
    role.assume_role_policy_document = json.dumps(properties["AssumeRolePolicyDocument"])
    _set_policies(role, properties, account_id)
    return role


def _end_role(role: Any, account_id: str, _: str) -> None:  # noqa: ANN401
    backend = _backend(account_id)
    for profile in backend.instance_profiles.values():
        profile.roles = [one for one in profile.roles if one.name != role.name]
    for name in list(role.policies):
        role.delete_policy(name)
    for arn in list(role.managed_policies):
        backend.detach_role_policy(arn, role.name)
    backend.delete_role(role.name)


def _change_policy(policy: Any, properties: Json, account_id: str, _: str) -> Any:  # noqa: ANN401
    backend = _backend(account_id)
    old = [one.version_id for one in policy.versions if not one.is_default]
    for version in old:
        backend.delete_policy_version(policy.arn, version)
    backend.create_policy_version(policy.arn, json.dumps(properties["PolicyDocument"]), "true")
    return policy


def _end_policy(policy: Any, account_id: str, _: str) -> None:  # noqa: ANN401
    backend = _backend(account_id)
    for role in backend.roles.values():
        if policy.arn in role.managed_policies:
            backend.detach_role_policy(policy.arn, role.name)
    backend.delete_policy(policy.arn)
