"""Module paths by which functions that are deployed already know their handlers; nothing imports them here.

The templates go on naming them, so that every template works with every code, whichever was put there first.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

_MOVED = {
    "lambda_handler": "glacierflow.functions.handler",
    "scheduler": "glacierflow.functions.scheduler",
    "scheduler.handler": "glacierflow.functions.scheduler.handler",
}


def _stand_in(name: str, moved: str) -> ModuleType:
    """A module that imports what it stands for when it is asked for something: one of them is heavy."""
    module = ModuleType(name, f"Stands for :mod:`{moved}`.")
    module.__dict__["__getattr__"] = lambda wanted: getattr(import_module(moved), wanted)
    return module


for _old, _new in _MOVED.items():
    sys.modules[f"{__name__}.{_old}"] = _stand_in(f"{__name__}.{_old}", _new)
