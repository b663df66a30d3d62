"""CloudFormation in the embedded cloud: moto's, with what it leaves out or gets wrong put right."""

from __future__ import annotations

__all__ = ["install"]


def install() -> None:
    """Mend moto's CloudFormation, before it answers its first request.

    It imports half of moto, so it is called when a template is first deployed, not when the server starts.
    """
    from glacierflow.local.formation import access_types, batch_types, engine, service_types, storage_types

    for types in (batch_types, service_types, storage_types):
        types.install()
    access_types.install_roles()
    access_types.install_networks()
    engine.install()
