"""One Lambda invocation in a process of its own: ``python -m ...function_process MODULE.HANDLER``.

The event comes on standard input, the answer goes to the file that GLACIERFLOW_FUNCTION_ANSWER names, and
standard output is the function's log; this is what Lambda's own runtime does, without its HTTP in between.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any


class _Context:
    """What Lambda tells of an invocation, as far as handlers here ask."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.aws_request_id = os.environ.get("GLACIERFLOW_FUNCTION_REQUEST", "")

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return max(0, round((self._deadline - time.time()) * 1000))


def main(handler: str) -> int:
    """Call the handler once; exit code 1 where it raised."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="[%(levelname)s]\t%(message)s", force=True
    )
    module, _, name = handler.rpartition(".")
    context = _Context(float(os.environ["GLACIERFLOW_FUNCTION_DEADLINE"]))
    answer: Any
    try:
        answer, code = getattr(importlib.import_module(module), name)(json.load(sys.stdin), context), 0
    except Exception as error:  # noqa: BLE001 - as Lambda does: the caller is told, whatever it was
        answer = {
            "errorMessage": str(error),
            "errorType": type(error).__name__,
            "stackTrace": traceback.format_tb(error.__traceback__),
        }
        code = 1
        traceback.print_exc(file=sys.stdout)
    Path(os.environ["GLACIERFLOW_FUNCTION_ANSWER"]).write_text(json.dumps(answer), encoding="utf-8")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    # as in Lambda, a thread the handler left behind does not keep the invocation
    os._exit(main(sys.argv[1]))
