"""CloudWatch Logs as documented where it bites: pages, empty pages in between, the same token at the end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from botocore.exceptions import ClientError


class LogsFake:
    """A boto3 client for CloudWatch Logs."""

    def __init__(self, page: int = 3) -> None:
        self.streams: dict[tuple[str, str], list[str]] = {}
        self.calls: Counter[str] = Counter()
        self._page = page

    def write(self, group: str, stream: str, *lines: str) -> None:
        """Append lines to a stream."""
        self.streams.setdefault((group, stream), []).extend(lines)

    def get_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803 - boto3's names
        logStreamName: str,  # noqa: N803
        startFromHead: bool = False,  # noqa: N803
        nextToken: str | None = None,  # noqa: N803
        limit: int = 10_000,
    ) -> dict[str, Any]:
        self.calls["GetLogEvents"] += 1
        lines = self.streams.get((logGroupName, logStreamName))
        if lines is None:
            raise ClientError(
                {"Error": {"Code": "ResourceNotFoundException", "Message": "no stream"}}, "GetLogEvents"
            )
        if not startFromHead and nextToken is None:
            first = max(0, len(lines) - min(limit, self._page))
            return self._answer(lines, first, len(lines), f"f/{len(lines)}")
        # a token stands for a place; a page that only says where to go on is as good as any other
        place, seen, _ = (nextToken or "f/0").removeprefix("f/").partition("+")
        begin = int(place)
        if begin < len(lines) and not seen:
            return self._answer(lines, begin, begin, f"f/{begin}+")
        end = min(len(lines), begin + min(limit, self._page))
        return self._answer(lines, begin, end, f"f/{end}" if end > begin else (nextToken or "f/0"))

    @staticmethod
    def _answer(lines: list[str], begin: int, end: int, token: str) -> dict[str, Any]:
        events = [
            {"timestamp": 1_722_513_605_000 + index, "message": lines[index]} for index in range(begin, end)
        ]
        return {"events": events, "nextForwardToken": token, "nextBackwardToken": "b/0"}
