"""``glacierflow task``: what a child runs, for people who look for it among the verbs."""

from __future__ import annotations

__all__ = ["task_command"]


def task_command() -> None:
    """Process one slot of a run (GLACIERFLOW_MANIFEST), or one region by settings, as a child does."""
    from glacierflow.task import leave, main

    leave(main())
