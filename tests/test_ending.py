"""What a watching command does when a run has ended: retries by itself, and a message that arrives."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from embedded import wait_for
from family_bench import FamilyBench

from glacierflow.aws.account import publish
from glacierflow.cli.batch import runs
from glacierflow.cli.batch.following import Ending, follow_to_the_end, tell
from glacierflow.cli.context import CommandLine
from glacierflow.live.family import FamilyLook
from glacierflow.local.control import Endpoint
from glacierflow.model.manifest import Manifest
from glacierflow.runs.progress import summary_message
from glacierflow.runs.status import RunStatus
from glacierflow.settings import load_settings

pytestmark = pytest.mark.embedded

LINE = CommandLine(local=True)
HOG = "exec python -c 'import time; hog = bytearray(200 << 20); hog[::4096] = hog[::4096]; time.sleep(1)'"


@pytest.fixture
def bench(cloud_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> FamilyBench:
    bench = FamilyBench(cloud_endpoint)

    def locate(run: str, _line: CommandLine) -> runs.Located:
        return runs.Located(run, bench.store, bench.cloud, load_settings(environ={}), bench.places)

    monkeypatch.setattr(runs, "locate_run", locate)
    return bench


def watch(bench: FamilyBench, root: Manifest, ending: Ending) -> tuple[FamilyLook, RunStatus]:
    looks: list[RunStatus] = []

    def follow(look: FamilyLook) -> RunStatus:
        def ended() -> bool:
            looks.append(look.now())
            return looks[-1].finished

        wait_for(ended, 40)
        return looks[-1]

    return follow_to_the_end(runs.open_run(root.run_id, LINE), LINE, ending, follow)


def test_what_lacked_memory_is_tried_again_by_itself(
    bench: FamilyBench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.define(HOG)
    root = bench.submit(2)
    look, status = watch(bench, root, Ending(auto_retry=True))
    (retry,) = status.retries
    assert [member.manifest.run_id for member in look.members] == [root.run_id, retry]
    assert {row.memory_mib for row in status.rows} == {15_500}
    assert {row.state for row in status.rows} == {"SUCCEEDED"}
    assert f"retrying automatically: 2 oom as {retry}" in capsys.readouterr().err


def test_it_is_tried_twice_at_most(bench: FamilyBench) -> None:
    bench.define("exit 75")
    _, status = watch(bench, bench.submit(1), Ending(auto_retry=True))
    assert len(status.retries) == 2
    assert status.exit_code == 1


@pytest.mark.parametrize("script", ["exit 65", "exit 70", "exit 0"])
def test_what_somebody_has_to_mend_is_not(bench: FamilyBench, script: str) -> None:
    bench.define(script)
    _, status = watch(bench, bench.submit(1), Ending(auto_retry=True))
    assert status.retries == ()


def test_nothing_is_tried_again_unasked(bench: FamilyBench) -> None:
    bench.define(HOG)
    _, status = watch(bench, bench.submit(1), Ending())
    assert status.retries == ()


def test_where_there_is_no_larger_definition_it_is_said(
    bench: FamilyBench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.define(HOG.replace("200", "700"))
    _, status = watch(bench, bench.submit(1), Ending(auto_retry=True))
    assert len(status.retries) == 1
    assert status.exit_code == 1
    assert "no retry was submitted: there is no memory class of 31500 MiB" in capsys.readouterr().err


def topic_and_queue(bench: FamilyBench) -> tuple[str, str]:
    sns, sqs = bench.cloud.client("sns"), bench.cloud.client("sqs")
    topic: str = sns.create_topic(Name=bench.name)["TopicArn"]
    queue: str = sqs.create_queue(QueueName=bench.name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return topic, queue


def messages(bench: FamilyBench, queue: str) -> list[Any]:
    found = bench.cloud.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in found.get("Messages", [])]


def test_the_summary_arrives(bench: FamilyBench) -> None:
    topic, queue = topic_and_queue(bench)
    bench.places = replace(bench.places, topic=topic)
    bench.define("exit 65")
    root = bench.submit(2)
    look, status = watch(bench, root, Ending())
    tell(look, status, LINE, Ending())
    assert messages(bench, queue) == []
    tell(look, status, LINE, Ending(notify=True))
    (message,) = messages(bench, queue)
    assert message["Subject"].startswith("glacierflow: 2 of 2 units went wrong: sentinel2-20240701")
    assert "2 data: 000_made_up, 001_made_up: " in message["Message"]
    assert f"next: glacierflow batch retry {root.name} --dry-run" in message["Message"]


def test_a_topic_that_is_not_there_is_said_and_no_more(
    bench: FamilyBench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.define("exit 0")
    look, status = watch(bench, bench.submit(1), Ending())
    tell(look, status, LINE, Ending(notify=True))
    assert "no summary was sent: there is no topic; set sns_topic_arn" in capsys.readouterr().err
    arn = "arn:aws:sns:us-west-2:123456789012:nowhere"
    bench.places = replace(bench.places, topic=arn)
    tell(look, status, LINE, Ending(notify=True))
    assert f"no summary was sent: SNS would not publish to {arn}" in capsys.readouterr().err


def test_a_subject_is_what_sns_takes(bench: FamilyBench) -> None:
    bench.define("exit 0")
    root = bench.submit(1)
    _, status = watch(bench, root, Ending())
    odd = status.model_copy(update={"run_id": "glétscher-" * 20})
    subject, text = summary_message(odd)
    assert len(subject) == 100
    assert subject.isascii()
    topic, queue = topic_and_queue(bench)
    publish(bench.cloud, topic, subject, text)
    assert [message["Subject"] for message in messages(bench, queue)] == [subject]
