"""The entry of the scheduler's zip function. It needs boto3 and pydantic, and no geospatial stack.

``{"do": "prepare" | "assess" | "verify", ...}`` come from the state machine (see ``rounds``);
``{"do": "schedule", ...}`` comes from a clock, and a message of a data provider's topic from SNS (see
``fresh``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from glacierflow.errors import UsageError
from glacierflow.services.scheduler import fresh, rounds
from glacierflow.services.scheduler.office import Office, open_office

__all__ = ["handler"]

Json = dict[str, Any]

_TASKS: dict[str, Callable[[Office, Mapping[str, Any]], Json]] = {
    "prepare": rounds.prepare,
    "assess": rounds.assess,
    "verify": rounds.verify,
    "schedule": fresh.submit_fresh,
}


def handler(event: Mapping[str, Any], _: object) -> Json:
    """Answer one invocation.

    Raises:
        UsageError: the event asks for nothing that is known here.
    """
    logging.getLogger().setLevel(logging.INFO)
    if "Records" in event:
        return fresh.submit_announced(open_office(), event)
    task = _TASKS.get(str(event.get("do")))
    if task is None:
        raise UsageError(f"do = {event.get('do')} is not known", next_step=f"accepted: {', '.join(_TASKS)}")
    return task(open_office(), event)
