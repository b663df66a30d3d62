"""The command line: the only place that prints or asks.

Commands import what they need when they run, so that ``--help`` stays quick.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with the documented exit code."""
    from glacierflow.cli.app import run

    sys.exit(run(sys.argv[1:]))
