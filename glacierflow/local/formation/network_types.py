"""Network resources whose deletion moto refuses or forgets."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.internet_gateways import InternetGateway
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.subnets import SubnetRouteTableAssociation
from moto.ec2.models.vpcs import VPCEndPoint
from moto.ec2.models.vpn_gateway import VPCGatewayAttachment

from glacierflow.local import moto_private
from glacierflow.local.formation.kinds import Json, mend

__all__ = ["install"]


def install() -> None:
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
