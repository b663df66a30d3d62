"""Ways to run the slots of a run: one code path up to the last call, which is a launcher's."""

from __future__ import annotations

from glacierflow.services.launch.choose import find_launcher
from glacierflow.services.launch.launcher import Launcher

__all__ = ["Launcher", "find_launcher"]
