"""glacierflow: index ranges of glacier regions become clipped satellite images.

``open_region`` gives a region's images as one lazy array; everything else is the command line's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glacierflow.arrays import open_region

__all__ = ["__version__", "open_region"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import what is heavy when it is asked for."""
    if name == "open_region":
        from glacierflow.arrays import open_region

        return open_region
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
