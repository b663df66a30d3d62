"""Cost so far: the same sum as the cost report's, from the ledger alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from big_run import BigRun
from runs_samples import NOW, make_receipt, make_started, some_manifest

from glacierflow.cost.attempt_times import spells_of
from glacierflow.cost.gather import spent_so_far
from glacierflow.cost.price_sources import load_prices
from glacierflow.cost.report import cost_of
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.receipt import Started
from glacierflow.runs.family import read_family
from glacierflow.runs.ledger import Ledger, SlotEntry
from glacierflow.runs.states import AttemptState, SlotState

MANIFEST = some_manifest(3)
PRICES = load_prices(None)
RUNNING = frozenset({(MANIFEST.run_id, 0)})
LATER = NOW + dt.timedelta(minutes=90)


def ledger_of(*records: Started) -> Ledger:
    ledger = Ledger(MANIFEST.run_id)
    for record in records:
        ledger.add_attempt(AttemptEntry.of(record))
    return ledger


def test_the_sum_is_that_of_the_cost_report() -> None:
    run = BigRun(2)
    for slot in range(2):
        receipt = make_receipt(run.manifest, slot).model_copy(update={"ended_at": LATER})
        key = f"runs/{run.manifest.run_id}/attempts/{slot}/1.done.json"
        run.s3.objects[key] = receipt.model_dump_json().encode()
        run.batch.set_child("job-0", slot, status="SUCCEEDED")
    look = run.open()
    look.now()
    family = read_family(run.store, run.manifest.run_id)
    report = cost_of(family, spells_of(family, {}), PRICES)
    spent = spent_so_far(look.ledgers(), PRICES, attempts=2, running=())
    assert spent.usd == pytest.approx(report.usd)
    assert spent.usd > 0
    assert (spent.attempts, spent.unknown, spent.prices_of) == (2, 0, None)
    elsewhere = spent_so_far(look.ledgers(), load_prices(None, "eu-central-1"), attempts=2, running=())
    assert (elsewhere.usd, elsewhere.prices_of) == (spent.usd, "us-west-2")


def test_a_running_attempt_counts_up_to_now() -> None:
    ledger = ledger_of(make_started(MANIFEST, 0))
    soon = NOW + dt.timedelta(minutes=45)
    half = spent_so_far([(MANIFEST, ledger)], PRICES, attempts=1, running=RUNNING, now=soon).usd
    whole = spent_so_far([(MANIFEST, ledger)], PRICES, attempts=1, running=RUNNING, now=LATER).usd
    assert whole == pytest.approx(2 * half)
    assert whole > 0


def test_a_start_of_what_is_not_running_costs_nothing_that_is_known() -> None:
    """Its child was forgotten by AWS Batch before anybody saw its end, or waits for its next attempt."""
    spent = spent_so_far(
        [(MANIFEST, ledger_of(make_started(MANIFEST, 0)))], PRICES, attempts=1, running=(), now=LATER
    )
    assert (spent.usd, spent.attempts, spent.unknown) == (0.0, 0, 1)
    retry = frozenset({("a-retry", 0)})
    spent = spent_so_far(
        [(MANIFEST, ledger_of(make_started(MANIFEST, 0)))], PRICES, attempts=1, running=retry, now=LATER
    )
    assert spent.unknown == 1


def test_a_killed_attempt_ends_when_batch_says_so() -> None:
    ledger = ledger_of(make_started(MANIFEST, 0))
    killed = SlotState("FAILED", "job-0:0", attempts=(AttemptState(stopped_at=LATER),), explained=True)
    ledger.add_slot(SlotEntry.of(0, killed))
    much_later = LATER + dt.timedelta(days=3)
    spent = spent_so_far([(MANIFEST, ledger)], PRICES, attempts=1, running=(), now=much_later)
    started = ledger_of(make_started(MANIFEST, 0))
    running = spent_so_far([(MANIFEST, started)], PRICES, attempts=1, running=RUNNING, now=LATER)
    assert spent.usd == pytest.approx(running.usd)


def test_what_is_not_known_is_counted_as_not_known() -> None:
    ledger = ledger_of(make_started(MANIFEST, 0, 1), make_started(MANIFEST, 0, 2))
    ledger.add_slot(SlotEntry.of(1, SlotState("SUCCEEDED", "job-0:1")))
    spent = spent_so_far([(MANIFEST, ledger)], PRICES, attempts=3, running=RUNNING, now=LATER)
    assert (spent.attempts, spent.unknown) == (1, 2)


def test_a_slot_that_was_cancelled_before_any_attempt_has_none_to_know() -> None:
    run = BigRun(2)
    for slot in range(2):
        run.batch.set_child("job-0", slot, status="FAILED", isCancelled=True, statusReason="Cancelled")
    look = run.open()
    status = look.now()
    spent = spent_so_far(look.ledgers(), PRICES, attempts=status.attempts, running=status.running)
    assert (status.attempts, spent.attempts, spent.unknown) == (0, 0, 0)


def test_attempts_lost_before_their_record_cost_what_batch_says() -> None:
    """By the times of Batch; one that never started costs nothing, and that is known."""
    run = BigRun(2)
    run.attempt(0, "done", 3, ended_at=NOW)
    hour = batch_attempt("Host EC2 (instance i-0) terminated.", minutes=60)
    never = {"statusReason": "Task failed to start", "container": {}}
    run.batch.set_child(
        "job-0", 0, status="SUCCEEDED", attempts=[hour, never, batch_attempt(None, minutes=0)]
    )
    run.batch.set_child("job-0", 1, status="FAILED", attempts=[hour])
    look = run.open()
    status = look.now()
    spent = spent_so_far(look.ledgers(), PRICES, attempts=status.attempts, running=())
    assert (status.attempts, spent.attempts, spent.unknown) == (4, 4, 0)
    one_hour = ledger_of(make_started(run.manifest, 0))
    in_an_hour, running = NOW + dt.timedelta(hours=1), {(run.manifest.run_id, 0)}
    same = spent_so_far([(run.manifest, one_hour)], PRICES, attempts=1, running=running, now=in_an_hour)
    assert spent.usd == pytest.approx(2 * same.usd)
    assert spent.usd > 0


def batch_attempt(reason: str | None, *, minutes: float) -> dict[str, Any]:
    begin, end = (int((NOW + dt.timedelta(minutes=at)).timestamp() * 1000) for at in (0, minutes))
    return {"statusReason": reason, "startedAt": begin, "stoppedAt": end, "container": {}}
