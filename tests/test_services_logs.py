"""Logs read whole, followed, and from their end."""

from __future__ import annotations

import pytest
from big_run import FakeCloud
from logs_fake import LogsFake

from glacierflow.aws.logs import LogStream
from glacierflow.errors import UsageError

GROUP, STREAM = "/glacierflow/batch", "glacierflow/default/1"


@pytest.fixture
def logs() -> LogsFake:
    return LogsFake()


def reader(logs: LogsFake) -> LogStream:
    return LogStream(FakeCloud(clients={"logs": logs}), GROUP, STREAM)


def test_every_line_is_read_once_over_pages_and_empty_pages(logs: LogsFake) -> None:
    lines = [f"line {number}" for number in range(10)]
    logs.write(GROUP, STREAM, *lines)
    stream = reader(logs)
    assert [line.text for line in stream.news()] == lines
    assert list(stream.news()) == []
    logs.write(GROUP, STREAM, "later")
    assert [line.text for line in stream.news()] == ["later"]


def test_the_tail_takes_one_call(logs: LogsFake) -> None:
    logs.write(GROUP, STREAM, *[f"line {number}" for number in range(10)])
    assert [line.text for line in reader(logs).tail(2)] == ["line 8", "line 9"]
    assert logs.calls["GetLogEvents"] == 1


def test_following_gives_what_comes_up_to_the_last_line_after_the_end(logs: LogsFake) -> None:
    ended = iter([False, False, True])
    logs.write(GROUP, STREAM, "one")

    def write_more(_seconds: float) -> None:
        logs.write(GROUP, STREAM, f"line {logs.calls['GetLogEvents']}", "more")

    stream = reader(logs)
    found = [line.text for line in stream.follow(lambda: next(ended), pause_s=1, sleep=write_more)]
    assert found == logs.streams[GROUP, STREAM]
    assert len(found) == 5


def test_a_stream_that_is_not_there_yet_is_waited_for(logs: LogsFake) -> None:
    ended = iter([False, True])
    stream = reader(logs)
    found = stream.follow(
        lambda: next(ended), pause_s=1, sleep=lambda _seconds: logs.write(GROUP, STREAM, "at last")
    )
    assert [line.text for line in found] == ["at last"]


def test_a_stream_that_is_gone_is_said_so(logs: LogsFake) -> None:
    with pytest.raises(UsageError, match="there is no log glacierflow/default/1") as caught:
        list(reader(logs).news())
    assert "retention" in (caught.value.next_step or "")
    with pytest.raises(UsageError, match="there is no log"):
        list(reader(logs).follow(lambda: True, pause_s=1))
