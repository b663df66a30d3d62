"""One number, one source: all verbs count the same after faults."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from big_run import BigRun
from runs_samples import NOW
from test_cost import BOOK
from test_verify import a_retry

from glacierflow.aws.names import find_places
from glacierflow.cost.gather import report_cost, spent_so_far
from glacierflow.live.slot import explain_slot, gather_slot
from glacierflow.model.receipt import Counts, ProductRecord, ProductThere
from glacierflow.runs.family import read_family
from glacierflow.runs.history import list_runs
from glacierflow.runs.progress import summary_message
from glacierflow.runs.verify import verify_run
from glacierflow.settings import load_settings

SLOTS = 192
LOST = "Host EC2 (instance i-0f1e2d3c4b5a69788) terminated."
EXITED = "Essential container in task exited"
BEGIN_MS = int(NOW.timestamp() * 1000)


def there(slot: int, number: int) -> dict[str, Any]:
    key = f"landsat/{slot:03d}_made_up/clipped/{number}.tif"
    return {"unit": 0, "key": key, "acquisition": str(number), "datetime": NOW}


def made(slot: int, number: int) -> ProductRecord:
    return ProductRecord(**there(slot, number), size=7, sha256="0" * 64, coverage=1.0, sources=("a",))


class Faults:
    """A run of 192 children whose attempts are lost, fail, are cut short, find nothing or find all there.

    What it counts while it makes them is the truth.
    """

    def __init__(self, seed: int) -> None:
        self.run = BigRun(SLOTS)
        self.run.cloud = replace(self.run.cloud, embedded=True)
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.attempts = self.reclaims = 0
        self.new: set[str] = set()
        self.in_all: set[str] = set()
        self.outcomes: dict[str, int] = {}
        for slot in range(SLOTS):
            self._child(slot)

    def _child(self, slot: int) -> None:
        said: list[dict[str, Any]] = []
        before = self.chance.choice((0, 0, 3))
        done = before
        for number in range(1, 5):
            end = self.chance.choice(
                ("lost", "lost", "no trace", "killed", "no start", "unavailable", "well")
            )
            reason = LOST if end in {"lost", "no trace", "killed"} else EXITED
            times = {"startedAt": BEGIN_MS, "stoppedAt": BEGIN_MS + 600_000}
            container: dict[str, Any] = {}
            if end == "no start":
                times, reason = {}, "Task failed to start"
            elif end == "lost":
                done = self._work(slot, number, "interrupted", done, done + self.chance.choice((0, 1, 2)))
            elif end == "killed":
                self.run.attempt(slot, None, number)
            elif end == "unavailable":
                done = self._work(slot, number, "unavailable", done, done)
                container = {"exitCode": 75}
            elif end == "well":
                outcome = self.chance.choice(("done", "done", "partial", "failed", "no_data"))
                last = done if outcome in {"no_data", "failed"} else done + 4
                outcome = "done" if outcome == "no_data" and last else outcome
                self._work(slot, number, outcome, done, last)
                container = {"exitCode": 65 if outcome == "failed" else 0}
            said.append({"statusReason": reason, "container": container, **times})
            self.attempts += 1
            self.reclaims += reason == LOST
            if end == "well":
                break
        else:
            outcome = "killed"
        trace = {"lost": "interrupted", "unavailable": "unavailable", "well": outcome}.get(end, "")
        state = "SUCCEEDED" if end == "well" and outcome != "failed" else "FAILED"
        self.run.batch.set_child(
            "job-0", slot, status=state, attempts=said, statusReason=said[-1]["statusReason"]
        )
        if not trace:
            latest = [key for key in self.run.s3.objects if f"/attempts/{slot}/" in key]
            names = [key.rpartition("/")[2].split(".") for key in latest]
            last_number = max((int(name[0]) for name in names), default=0)
            words = [name[1] for name in names if int(name[0]) == last_number and name[1] != "started"]
            trace = words[0] if words else "killed" if said else "never_started"
        self.outcomes[trace] = self.outcomes.get(trace, 0) + 1

    def _work(self, slot: int, number: int, outcome: Any, found: int, last: int) -> int:
        """An attempt that finds ``found`` products and writes those up to ``last``."""
        products = tuple(made(slot, one) for one in range(found, last))
        known = tuple(ProductThere(**there(slot, one)) for one in range(found))
        self.run.attempt(
            slot,
            outcome,
            number,
            exit_code={"interrupted": 75, "unavailable": 75, "failed": 65}.get(outcome, 0),
            counts=Counts(found=9, kept=last, written=last - found, skipped=found),
            products=products,
            already_there=known,
        )
        self.new |= {one.key for one in products}
        self.in_all |= {one.key for one in (*known, *products)}
        return last


@pytest.fixture(scope="module", params=[3, 12])
def faults(request: pytest.FixtureRequest) -> Faults:
    return Faults(request.param)


def test_all_verbs_count_the_same_after_faults_in_192_children(faults: Faults) -> None:
    run = faults.run
    look = run.open()
    status = look.now(quick=True)
    truth = (faults.attempts, faults.reclaims, len(faults.new), len(faults.in_all))
    assert truth[1] > 100
    assert 0 < truth[2] < truth[3]
    assert (status.attempts, status.reclaims, status.new, status.products) == truth
    assert status.outcomes == faults.outcomes
    assert sum(status.outcomes.values()) == SLOTS
    (listed,) = list_runs(run.store, limit=5)
    assert (listed.attempts, listed.reclaims, listed.new, listed.products) == truth
    assert (listed.outcomes, listed.size) == (faults.outcomes, SLOTS)
    family = read_family(run.store, run.manifest.run_id)
    places = find_places(load_settings(environ={}), None)
    report, _ = report_cost(family, run.store, run.cloud, places.queues, BOOK)
    assert (report.tried, report.reclaims, report.new, report.products) == truth
    spent = spent_so_far(status, look.manifests, BOOK)
    assert spent.usd == pytest.approx(report.usd)
    assert spent.unknown == 0
    verified = verify_run(family, run.store, depth="quick")
    assert (verified.new, verified.products) == truth[2:]
    subject, text = summary_message(status, spent.usd)
    assert f"{len(status.wrong)} of {SLOTS} units went wrong" in subject
    for words in (
        f"{truth[0]} attempts ({truth[1]} interrupted by spot reclaims), {report.usd:.4f} US dollars",
        f"products: {truth[2]} new, {truth[3] - truth[2]} already there, {truth[3]} in all",
    ):
        assert words in text


def test_why_and_logs_tell_of_each_attempt_what_status_counts(faults: Faults) -> None:
    run = faults.run
    look = run.open()
    status = look.now()
    for row in status.rows[::7]:
        why = explain_slot(look, row, run.cloud)
        seen = gather_slot(look, row, run.cloud)
        assert [one.failure for one in why.attempts] == [one.failure for one in row.tries]
        told = [(one.number, one.fact.state, one.fact.failure) for one in seen.attempts]
        assert told == [(one.number, one.state, one.failure) for one in row.tries]
        assert len(row.tries) == row.attempts
        assert sum(one.failure == "spot" for one in why.attempts) == row.reclaims
        assert why.failure == row.failure


def test_an_attempt_has_its_own_state_and_not_the_slots() -> None:
    run = BigRun(2)
    run.attempt(0, "interrupted", 1, exit_code=75)
    run.attempt(0, "done", 2)
    run.attempt(1, None, 1)
    run.batch.set_child("job-0", 0, status="SUCCEEDED")
    run.batch.set_child("job-0", 1, status="RUNNING")
    first, second = run.open().now().rows
    assert [one.state for one in first.tries] == ["interrupted", "done"]
    assert [one.state for one in second.tries] == ["running"]


def test_a_retry_adds_to_what_is_new_and_to_what_was_tried() -> None:
    """2 found and 3 written by an attempt that failed; the retry finds those 5 and writes 4."""
    run = BigRun(2)
    run.batch.set_child("job-0", 0, status="SUCCEEDED")
    run.attempt(0, "done", counts=Counts(kept=1, written=1), products=(made(0, 0),))
    counts = Counts(kept=5, written=3, skipped=2)
    run.attempt(1, "failed", counts=counts, exit_code=70)
    run.batch.set_child("job-0", 1, status="FAILED", container={"exitCode": 70})
    retry = a_retry(run.store, run.manifest, (1,))
    again = BigRun(2)
    again.manifest = retry
    again.s3.objects.clear()
    again.attempt(0, "done", counts=Counts(kept=9, written=4, skipped=5))
    run.s3.objects.update(again.s3.objects)
    run.batch.add_array("job-9", ["SUCCEEDED"])
    record = {
        "number": 0, "name": "gf-9", "job_id": "job-9", "job_queue": "glacierflow-spot", "first_slot": 0,
        "size": 1, "job_definition": "d:1", "submitted_at": NOW.isoformat(),
    }  # fmt: skip
    run.store.put(f"runs/{retry.run_id}/jobs/0.json", json.dumps(record).encode())
    run.batch.jobs["job-9"] |= {"status": "SUCCEEDED"}
    status = run.open().now()
    row = status.rows[1]
    assert (row.new, row.products, row.attempts, row.outcome) == (7, 9, 2, "done")
    assert [one.run_id for one in row.tries] == [run.manifest.run_id, retry.run_id]
    assert (status.new, status.products) == (8, 10)
