"""glacierflow: index ranges of glacier regions become clipped satellite images."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
