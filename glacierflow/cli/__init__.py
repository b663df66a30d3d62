"""The command line: the only place that prints or asks.

Commands import what they need when they run, so that ``--help`` stays quick.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line and leave with the documented exit code."""
    from glacierflow.cli.app import run

    code = run(sys.argv[1:])
    if code == EXIT_INTERRUPTED:
        # A read that was dropped may still hold a thread, and a person who typed Ctrl-C does not wait for it.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
