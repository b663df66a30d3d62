"""Functions that the tests of the embedded cloud's Lambda invoke."""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from glacierflow.functions.handler import handler


class Seconds:
    """A context with so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self.until - time.monotonic()) * 1000))


def hurried(event: Any, context: Any) -> Any:
    """The handler itself, with as many seconds as somebody says who is asked for them."""
    with urllib.request.urlopen(f"{os.environ['DOOR']}/seconds") as answer:  # noqa: S310
        return handler(event, Seconds(float(answer.read())))


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
