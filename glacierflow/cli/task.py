"""``glacierflow task``: what a child runs, for people who look for it among the verbs."""

from __future__ import annotations

__all__ = ["task_command"]


def task_command() -> None:
    """Process one slot of a run, as a child of an array job does (reads GLACIERFLOW_MANIFEST)."""
    from glacierflow.task import leave, main

    leave(main())
