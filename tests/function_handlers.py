"""Functions that the tests of the embedded cloud's Lambda invoke."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any


def echo(event: Any, context: Any) -> Any:
    sys.stdout.write(f"asked for {event}\n")
    return {"event": event, "remaining_ms": context.get_remaining_time_in_millis()}


def fail(event: Any, context: Any) -> Any:
    with Path(event["trace"]).open("a") as trace:
        trace.write("x")
    raise ValueError("made to fail")


def sleep(event: Any, context: Any) -> Any:
    if "pid" in event:
        Path(event["pid"]).write_text(str(os.getpid()))
    time.sleep(event["seconds"])
    return "slept"


def eat(event: Any, context: Any) -> Any:
    food = bytearray(300 * 2**20)
    time.sleep(20)
    return len(food)
