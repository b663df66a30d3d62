"""Network resources whose deletion moto refuses or forgets."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.launch_templates import LaunchTemplate
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.subnets import SubnetRouteTableAssociation

from glacierflow.local.formation.kinds import Json, mend

__all__ = ["install"]


def install() -> None:
    """Mend route tables, their associations and launch templates."""
    mend(SubnetRouteTableAssociation, delete=_end_association)
    mend(RouteTable, delete=_end_route_table)
    mend(LaunchTemplate, update=_change_launch_template)


def _tables(account_id: str, region: str) -> Any:  # noqa: ANN401
    return ec2_backends[account_id][region]


def _end_association(association: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    table = _tables(account_id, region).route_tables.get(association.route_table_id)
    if table is not None:
        gone = [one for one, subnet in table._associations.items() if subnet == association.subnet_id]
        for one in gone:
            del table._associations[one]


def _end_route_table(table: Any, account_id: str, region: str) -> None:  # noqa: ANN401
    _tables(account_id, region).delete_route_table(table.id)


def _change_launch_template(template: Any, properties: Json, _: str, __: str) -> Any:  # noqa: ANN401
    """A new version, which is what ``LatestVersionNumber`` then says."""
    template.create_version(properties["LaunchTemplateData"], "")
    return template
