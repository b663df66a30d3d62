"""Cost so far: the same sum as the cost report's, from what a look knows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from big_run import BigRun
from runs_samples import NOW, make_receipt, make_started, some_manifest

from glacierflow.cost.gather import Spent, spells_of, spent_so_far, tries_of
from glacierflow.cost.price_sources import load_prices
from glacierflow.cost.report import cost_of
from glacierflow.live.family import FamilyLook
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.receipt import Started
from glacierflow.runs.family import read_family
from glacierflow.runs.ledger import Ledger
from glacierflow.runs.states import AttemptState, BatchView, SlotState
from glacierflow.runs.status import join_status

MANIFEST = some_manifest(3)
PRICES = load_prices(None)
RUNS = {0: SlotState("RUNNING", "job-0:0")}
LATER = NOW + dt.timedelta(minutes=90)


def spent_on(*records: Started, states: dict[int, SlotState], now: dt.datetime = LATER) -> Spent:
    """By the records of attempts, and what Batch says of slots; it has forgotten the others."""
    ledger = Ledger(MANIFEST.run_id)
    for record in records:
        ledger.add_attempt(AttemptEntry.of(record))
    status = join_status(MANIFEST, BatchView(states), ledger.listed, ledger.attempts, jobs=[])
    return spent_so_far(status, [MANIFEST], PRICES, now=now)


def spent_of(look: FamilyLook) -> Spent:
    return spent_so_far(look.now(), look.manifests, PRICES)


def test_the_sum_is_that_of_the_cost_report() -> None:
    run = BigRun(2)
    for slot in range(2):
        receipt = make_receipt(run.manifest, slot).model_copy(update={"ended_at": LATER})
        key = f"runs/{run.manifest.run_id}/attempts/{slot}/1.done.json"
        run.s3.objects[key] = receipt.model_dump_json().encode()
        run.batch.set_child("job-0", slot, status="SUCCEEDED")
    look = run.open()
    status = look.now()
    family = read_family(run.store, run.manifest.run_id)
    tries = list(tries_of(status))
    report = cost_of(family, tries, spells_of(family, tries), PRICES)
    spent = spent_of(look)
    assert spent.usd == pytest.approx(report.usd)
    assert spent.usd > 0
    assert (spent.attempts, spent.unknown, spent.prices_of) == (2, 0, None)
    elsewhere = spent_so_far(status, look.manifests, load_prices(None, "eu-central-1"))
    assert (elsewhere.usd, elsewhere.prices_of) == (spent.usd, "us-west-2")


def test_a_running_attempt_counts_up_to_now() -> None:
    soon = NOW + dt.timedelta(minutes=45)
    half = spent_on(make_started(MANIFEST, 0), states=RUNS, now=soon).usd
    whole = spent_on(make_started(MANIFEST, 0), states=RUNS).usd
    assert whole == pytest.approx(2 * half)
    assert whole > 0


@pytest.mark.parametrize("states", [{}, {0: SlotState("RUNNABLE", "job-0:0")}])
def test_a_start_of_what_is_not_running_costs_nothing_that_is_known(states: dict[int, SlotState]) -> None:
    """Its child was forgotten by AWS Batch before anybody saw its end, or waits for its next attempt."""
    spent = spent_on(make_started(MANIFEST, 0), states=states)
    assert (spent.usd, spent.attempts, spent.unknown) == (0.0, 0, 1)


def test_a_killed_attempt_ends_when_batch_says_so() -> None:
    end = AttemptState(stopped_at=LATER, started_at=NOW)
    killed = {0: SlotState("FAILED", "job-0:0", attempts=(end,), explained=True)}
    spent = spent_on(make_started(MANIFEST, 0), states=killed, now=LATER + dt.timedelta(days=3))
    assert spent.usd == pytest.approx(spent_on(make_started(MANIFEST, 0), states=RUNS).usd)


def test_what_is_not_known_is_counted_as_not_known() -> None:
    """A first attempt that was lost, and one of another slot whose receipt nobody has read."""
    records = make_started(MANIFEST, 0, 1), make_started(MANIFEST, 0, 2)
    writes = SlotState("RUNNING", "job-0:1", log_stream="a stream")
    spent = spent_on(*records, states={**RUNS, 1: writes})
    assert (spent.attempts, spent.unknown) == (1, 2)


def test_a_slot_that_was_cancelled_before_any_attempt_has_none_to_know() -> None:
    run = BigRun(2)
    for slot in range(2):
        run.batch.set_child("job-0", slot, status="FAILED", isCancelled=True, statusReason="Cancelled")
    spent = spent_of(run.open())
    assert (spent.attempts, spent.unknown) == (0, 0)


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
    spent = spent_of(run.open())
    assert (spent.attempts, spent.unknown) == (4, 0)
    same = spent_on(make_started(MANIFEST, 0), states=RUNS, now=NOW + dt.timedelta(hours=1))
    assert spent.usd == pytest.approx(2 * same.usd)
    assert spent.usd > 0


def batch_attempt(reason: str | None, *, minutes: float) -> dict[str, Any]:
    begin, end = (int((NOW + dt.timedelta(minutes=at)).timestamp() * 1000) for at in (0, minutes))
    return {"statusReason": reason, "startedAt": begin, "stoppedAt": end, "container": {}}
