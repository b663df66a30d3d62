"""glacierflow: index ranges of glacier regions become clipped satellite images.

``regions()`` gives the catalogue as a GeoDataFrame, ``open_region`` a region's images as one lazy array,
``open_velocity`` its velocities; everything else is the command line's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glacierflow.version import __version__

if TYPE_CHECKING:
    from glacierflow.arrays import open_region
    from glacierflow.regions.map import regions
    from glacierflow.velocity.series import open_velocity

__all__ = ["__version__", "open_region", "open_velocity", "regions"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import what is heavy when it is asked for."""
    if name == "open_region":
        from glacierflow.arrays import open_region

        return open_region
    if name == "open_velocity":
        from glacierflow.velocity.series import open_velocity

        return open_velocity
    if name == "regions":
        import importlib

        # the package of that name, which can be called, so that it does not matter who imported it first
        return importlib.import_module("glacierflow.regions")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
