"""How a resource type is added to moto's CloudFormation, or one of its own is replaced in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.core.common_models import CloudFormationModel

Json = dict[str, Any]
Create = Callable[[str, Json, str, str], Any]
"""(name, properties, account, region) -> the resource."""
Update = Callable[[Any, Json, str, str], Any]
"""(resource, properties, account, region) -> the resource."""
Delete = Callable[[Any, str, str], None]
"""(resource, account, region)."""


def mend(
    model: Any,  # noqa: ANN401 - one of moto's classes
    *,
    create: Create | None = None,
    update: Update | None = None,
    delete: Delete | None = None,
) -> None:
    """Replace how CloudFormation makes, changes or deletes a type that moto knows."""
    if create is not None:
        model.create_from_cloudformation_json = classmethod(_creating(create))
    if update is not None:
        model.update_from_cloudformation_json = classmethod(_updating(update))
    if delete is not None:
        model.delete = lambda self, account_id, region_name: delete(self, account_id, region_name)


def _creating(create: Create) -> Callable[..., Any]:
    def made(_: type, resource_name: str, body: Json, account_id: str, region: str, **__: Any) -> Any:  # noqa: ANN401
        return create(resource_name, body["Properties"], account_id, region)

    return made


def _updating(update: Update) -> Callable[..., Any]:
    def changed(
        _: type,
        original_resource: Any,  # noqa: ANN401
        new_resource_name: str,  # noqa: ARG001 - moto's signature
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Any:  # noqa: ANN401
        return update(original_resource, cloudformation_json["Properties"], account_id, region_name)

    return changed


class Settings:
    """A resource that only sets something of another one: a bucket's policy, a log group's filter."""

    cf_resource_type = ""
    logical_resource_id = ""

    def __init__(self, physical_resource_id: str, properties: Json) -> None:
        self.physical_resource_id = physical_resource_id
        self.properties = properties

    def is_created(self) -> bool:
        """Whether it is there, which it is at once."""
        return True


def settings_type(
    kind: str,
    apply: Callable[[str, Json, str, str], str],
    remove: Callable[[Settings, str, str], None],
    *,
    name_property: str = "",
) -> None:
    """Add a type that moto does not know.

    Args:
        kind: ``AWS::S3::BucketPolicy``.
        apply: (name, properties, account, region) -> physical id; also called to change it.
        remove: called when the resource is deleted.
        name_property: the property that names it, if any.
    """

    def create(_: Any, name: str, body: Json, account_id: str, region: str, **__: Any) -> Settings:  # noqa: ANN401
        made: Settings = model(apply(name, body["Properties"], account_id, region), body["Properties"])
        return made

    def update(
        _: Any,  # noqa: ANN401
        original_resource: Settings,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Settings:
        properties = cloudformation_json["Properties"]
        name = properties.get(name_property) or original_resource.physical_resource_id or new_resource_name
        apply(name, properties, account_id, region_name)
        original_resource.properties = properties
        return original_resource

    # Any: a function with moto's parameter names, which it is called by
    class_method: Any = classmethod
    # moto finds types among the direct subclasses of CloudFormationModel
    model: Any = type(
        kind.replace("::", ""),
        (Settings, CloudFormationModel),
        {
            "__module__": __name__,
            "cloudformation_type": staticmethod(lambda: kind),
            "cloudformation_name_type": staticmethod(lambda: name_property),
            "has_cfn_attr": classmethod(lambda _, __: False),
            "create_from_cloudformation_json": class_method(create),
            "update_from_cloudformation_json": class_method(update),
            "delete": lambda self, account_id, region: remove(self, account_id, region),
        },
    )
    globals()[model.__name__] = model
