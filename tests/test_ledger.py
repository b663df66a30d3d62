"""The ledger: nothing is lost between receipt, file and merge, whoever writes at the same time."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from runs_samples import NOW, make_receipt, make_started, some_manifest

from glacierflow.cloud import Cloud
from glacierflow.errors import StoreError
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.layout import RunLayout
from glacierflow.model.receipt import Counts
from glacierflow.runs.ledger import Ledger, SlotEntry, keep_ledger, read_ledger
from glacierflow.runs.states import AttemptState, SlotState
from glacierflow.store import LocalStore, S3Store, Store

MANIFEST = some_manifest(5)
RUN = MANIFEST.run_id
RECLAIMED = SlotState(
    "FAILED",
    "job-0:3",
    status_reason="Host EC2 (instance i-1) terminated.",
    exit_code=137,
    attempts=(
        AttemptState(
            exit_code=137, status_reason="Host EC2 x", log_stream="s", started_at=NOW, stopped_at=NOW
        ),
    ),
    explained=True,
)


def entry(slot: int, outcome: str | None = "done", attempt: int = 1) -> AttemptEntry:
    if outcome is None:
        return AttemptEntry.of(make_started(MANIFEST, slot, attempt))
    return AttemptEntry.of(make_receipt(MANIFEST, slot, outcome, attempt))


def ledger_of(*entries: AttemptEntry) -> Ledger:
    ledger = Ledger(RUN)
    for one in entries:
        ledger.add_attempt(one)
    return ledger


@pytest.fixture(params=["directory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "directory":
        yield LocalStore(tmp_path / "store")
        return
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="made-up")
        yield S3Store("made-up", Cloud(region="us-east-1"))


def test_an_entry_is_the_receipt_without_its_lists() -> None:
    receipt = make_receipt(MANIFEST, 2, "partial", error="1 of 3", exit_code=0, bytes_read=7)
    found = AttemptEntry.of(receipt)
    assert (found.slot, found.outcome, found.error, found.bytes_read) == (2, "partial", "1 of 3", 7)
    assert found.counts == receipt.counts
    assert found.left_out == {"low_coverage": 1}
    assert AttemptEntry.model_validate_json(found.model_dump_json()) == found


def test_what_is_written_is_read_again() -> None:
    ledger = ledger_of(entry(0), entry(1, None), entry(1, "no_data", 2))
    ledger.add_slot(SlotEntry.of(3, RECLAIMED))
    ledger.complete = True
    back = Ledger.from_bytes(ledger.to_bytes())
    assert back == ledger
    assert back.slots[3].state_of() == RECLAIMED
    assert back.to_bytes() == ledger.to_bytes()


def test_ten_thousand_entries_are_small() -> None:
    one = entry(0)
    ledger = Ledger(RUN, {(slot, 1): one.model_copy(update={"slot": slot}) for slot in range(10_000)})
    assert len(ledger.to_bytes()) < 1_000_000


def test_a_receipt_takes_the_place_of_a_start_and_never_the_other_way_round() -> None:
    ledger = ledger_of(entry(0, None))
    assert ledger.add_attempt(entry(0))
    assert not ledger.add_attempt(entry(0, None))
    assert not ledger.add_attempt(entry(0))
    assert ledger.attempts[0, 1].outcome == "done"


def test_batchs_reasons_take_the_place_of_a_bare_state() -> None:
    ledger = Ledger(RUN)
    assert ledger.add_slot(SlotEntry.of(3, SlotState("FAILED", "job-0:3")))
    assert ledger.add_slot(SlotEntry.of(3, RECLAIMED))
    assert not ledger.add_slot(SlotEntry.of(3, SlotState("FAILED", "job-0:3")))
    assert ledger.slots[3].exit_code == 137


def test_two_watchers_put_together_what_they_saw(store: Store) -> None:
    first, second = ledger_of(entry(0)), ledger_of(entry(1))
    assert keep_ledger(store, first)
    assert keep_ledger(store, second)
    assert set(read_ledger(store, RUN).attempts) == {(0, 1), (1, 1)}
    assert set(second.attempts) == {(0, 1), (1, 1)}


def test_a_write_between_ones_read_and_write_is_not_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_ledger(store, ledger_of(entry(0)))
    read = type(store).get_tagged
    others = [ledger_of(entry(1)), ledger_of(entry(2))]

    def read_then_somebody_writes(self: Store, key: str) -> tuple[bytes, str] | None:
        found = read(self, key)
        if others:
            other = others.pop()
            with monkeypatch.context() as context:
                context.setattr(type(store), "get_tagged", read)
                keep_ledger(store, other)
        return found

    monkeypatch.setattr(type(store), "get_tagged", read_then_somebody_writes)
    assert keep_ledger(store, ledger_of(entry(3)))
    monkeypatch.undo()
    assert set(read_ledger(store, RUN).attempts) == {(slot, 1) for slot in range(4)}


def test_the_first_write_of_two_is_not_lost_either(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = type(store).get_tagged
    others = [ledger_of(entry(1))]

    def read_then_somebody_is_first(self: Store, key: str) -> tuple[bytes, str] | None:
        found = read(self, key)
        if others:
            store.put(key, others.pop().to_bytes())
        return found

    monkeypatch.setattr(type(store), "get_tagged", read_then_somebody_is_first)
    assert keep_ledger(store, ledger_of(entry(0)))
    monkeypatch.undo()
    assert set(read_ledger(store, RUN).attempts) == {(0, 1), (1, 1)}


def test_without_news_nothing_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_ledger(store, ledger_of(entry(0), entry(1)))
    monkeypatch.setattr(type(store), "replace", lambda *_: pytest.fail("written without news"))
    assert keep_ledger(store, ledger_of(entry(1)))


def test_completeness_is_news_and_stays(store: Store) -> None:
    keep_ledger(store, ledger_of(entry(0)))
    ended = ledger_of(entry(0))
    ended.complete = True
    keep_ledger(store, ended)
    keep_ledger(store, ledger_of(entry(0)))
    assert read_ledger(store, RUN).complete


def test_an_absent_ledger_is_empty(store: Store) -> None:
    assert read_ledger(store, RUN) == Ledger(RUN)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"{}", mtime=0),
        gzip.compress(b'{"schema_version":99}', mtime=0),
    ],
)
def test_what_is_no_ledger_is_refused_and_left_alone(store: Store, content: bytes) -> None:
    key = RunLayout(RUN).ledger
    store.put(key, content)
    with pytest.raises(StoreError, match="not a ledger") as caught:
        keep_ledger(store, ledger_of(entry(0)))
    assert caught.value.next_step is not None
    assert store.get(key) == content


def test_a_replace_needs_the_version_that_was_read(store: Store) -> None:
    assert not store.replace("a/x", b"1", "nothing yet")
    store.put("a/x", b"1")
    found = store.get_tagged("a/x")
    assert found is not None
    store.put("a/x", b"2")
    assert not store.replace("a/x", b"3", found[1])
    again = store.get_tagged("a/x")
    assert again is not None
    assert store.replace("a/x", b"3", again[1])
    assert store.get("a/x") == b"3"
    assert [one.key for one in store.list("a/")] == ["a/x"]


def test_counts_and_times_survive() -> None:
    receipt = make_receipt(MANIFEST, 0, counts=Counts(found=9, kept=4, written=3, skipped=1))
    late = receipt.model_copy(update={"ended_at": NOW + dt.timedelta(minutes=3)})
    back = Ledger.from_bytes(ledger_of(AttemptEntry.of(late)).to_bytes()).attempts[0, 1]
    assert back.counts == receipt.counts
    assert back.ended_at == NOW + dt.timedelta(minutes=3)
