"""Where the files that travel with the package are: beside it in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

__all__ = ["resource_path"]


def resource_path(name: str) -> Path:
    """Path of a packaged file such as ``ancillary/glacier_regions.gpkg`` or ``config.ini``.

    Raises:
        FileNotFoundError: neither the wheel nor the checkout has it.
    """
    package = Path(__file__).parent
    for root in (package / "data", package.parent):
        candidate = root / name
        if candidate.exists():
            return candidate
    msg = f"{name} is neither in {package / 'data'} nor in {package.parent}"
    raise FileNotFoundError(msg)
