"""CloudWatch Logs: one stream page by page, followed, or its last lines; for any service that logs there.

Filtering is left to the reader of the lines: CloudWatch's filter patterns are a language of their own, and
FilterLogEvents searches whole groups, at many calls for what one stream gives in a few.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.outside import told

_SERVICE = "CloudWatch Logs"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a log."""

    time: dt.datetime
    text: str


class LogStream:
    """Reads one stream; every line is given once."""

    def __init__(self, cloud: Cloud, group: str, stream: str) -> None:
        self.group, self.stream = group, stream
        self._client: Any = cloud.client("logs")
        self._token: str | None = None

    def news(self) -> Iterator[LogLine]:
        """The lines since the last time this was asked, from the first on.

        A page may be empty while more follow: the end is where the token comes back unchanged.

        Raises:
            UsageError: there is no such stream, or it may not be read.
            UnavailableError: CloudWatch Logs cannot be reached.
        """
        while True:
            position = {"nextToken": self._token} if self._token else {}
            answer = self._get(startFromHead=True, **position)
            for event in answer["events"]:
                yield _line(event)
            token = answer["nextForwardToken"]
            if token == self._token:
                return
            self._token = token

    def tail(self, lines: int) -> list[LogLine]:
        """The last lines, with one call.

        Raises:
            UsageError: there is no such stream, or it may not be read.
            UnavailableError: CloudWatch Logs cannot be reached.
        """
        return [_line(event) for event in self._get(startFromHead=False, limit=lines)["events"]][-lines:]

    def follow(
        self, ended: Callable[[], bool], *, pause_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[LogLine]:
        """Lines as they come, until what writes them has ended and all it wrote was given.

        A stream that is not there yet is waited for.
        """
        while True:
            over = ended()
            try:
                yield from self.news()
            except _NoStreamError:
                if over:
                    raise
            if over:
                return
            sleep(pause_s)

    def _get(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - boto3's parameters
        from botocore.exceptions import ClientError

        with plain_errors(f"read the log {self.stream}", service=_SERVICE):
            try:
                answer: dict[str, Any] = self._client.get_log_events(
                    logGroupName=self.group, logStreamName=self.stream, **more
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    raise _NoStreamError(
                        f"there is no log {self.stream} in {self.group}",
                        next_step="nothing was written yet, or the log group's retention has deleted it",
                    ) from error
                raise
        return answer


def newest_streams(cloud: Cloud, group: str, most: int) -> list[str]:
    """Streams of a log group, the one written to last at the end.

    Raises:
        UsageError: there is no such group.
        UnavailableError: AWS cannot be reached.
    """
    from botocore.exceptions import ClientError

    with plain_errors(f"list the logs of {group}", service=_SERVICE):
        try:
            answer = cloud.client("logs").describe_log_streams(
                logGroupName=group, orderBy="LastEventTime", descending=True, limit=most
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            raise UsageError(
                f"there is no log group {group} in {cloud.region}",
                next_step="what writes there is not deployed or has never run: `glacierflow stack status`",
            ) from error
    return [stream["logStreamName"] for stream in answer["logStreams"]][::-1]


class _NoStreamError(UsageError):
    """The stream is not there."""


def _line(event: dict[str, Any]) -> LogLine:
    return LogLine(dt.datetime.fromtimestamp(event["timestamp"] / 1000, dt.UTC), told(event["message"]))
