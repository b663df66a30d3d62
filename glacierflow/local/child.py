"""What a child is given: its argument list and its clean environment, as a process and as a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from glacierflow.aws import EMBEDDED_ACCESS_KEY

__all__ = [
    "child_argv",
    "cloud_environment",
    "filled_command",
    "process_environment",
]

_INHERITED = ("HOME", "LANG", "VIRTUAL_ENV", "SSL_CERT_FILE", "PYTHONPATH", "GLACIERFLOW_HOME")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PYTHONS = frozenset({"python", "python3"})


def filled_command(command: Sequence[str], parameters: Mapping[str, str]) -> list[str]:
    """The command with ``Ref::name`` filled in."""
    return [parameters.get(word[5:], word) if word.startswith("Ref::") else word for word in command]


def child_argv(command: Sequence[str]) -> list[str]:
    """A container's command, run by this very Python and this very glacierflow."""
    words = list(command)
    if words[0] in _PYTHONS:
        return [sys.executable, *words[1:]]
    if words[0] == "glacierflow":
        script = Path(sys.executable).with_name("glacierflow")
        if script.exists():
            return [str(script), *words[1:]]
        return [sys.executable, "-c", "from glacierflow.cli import main; main()", *words[1:]]
    return words


def process_environment(scratch: Path, outer: Mapping[str, str]) -> dict[str, str]:
    """What a process on this machine needs, whatever service runs it; ``scratch`` is its TMPDIR."""
    kept = {name: outer[name] for name in _INHERITED if name in outer}
    path = os.pathsep.join([str(Path(sys.executable).parent), outer.get("PATH", os.defpath)])
    return kept | {"PATH": path, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}


def cloud_environment(endpoint: str, region: str, outer: Mapping[str, str]) -> dict[str, str]:
    """How a child of any service finds the embedded cloud.

    Real credentials of the person who started the cloud are handed on under other names, so that only imagery
    that stays real can use them.
    """
    real = {
        f"GLACIERFLOW_IMAGERY_{name}": outer[name]
        for name in _CREDENTIALS
        if outer.get(name) and outer.get("AWS_ACCESS_KEY_ID") != EMBEDDED_ACCESS_KEY
    }
    return real | {
        "GLACIERFLOW_EMBEDDED": "1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": EMBEDDED_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": EMBEDDED_ACCESS_KEY,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
    }
