"""What a run has cost, against sums made by hand."""

from __future__ import annotations

import csv
import datetime as dt
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from big_run import BigRun
from runs_samples import NOW, make_started, some_job, some_manifest
from test_verify import a_retry, put_manifest

from glacierflow.aws.names import find_places
from glacierflow.cost.gather import report_cost, spells_of, tries_of
from glacierflow.cost.price_sources import load_prices
from glacierflow.cost.prices import PriceBook, SpotPoint, SpotRange
from glacierflow.cost.report import CostReport, cost_csv, cost_of
from glacierflow.errors import DataError
from glacierflow.model.attempts import AttemptEntry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import ArrayRange, Manifest
from glacierflow.model.receipt import Counts, Machine, ProductRecord, Receipt
from glacierflow.runs.facts import AttemptFact
from glacierflow.runs.family import Family, Member, read_family
from glacierflow.runs.plan import job_name
from glacierflow.runs.states import AttemptState, BatchView, SlotState
from glacierflow.runs.status import RunStatus, join_status, unended_attempts
from glacierflow.settings import load_settings
from glacierflow.store import LocalStore

PACKAGED = load_prices(None).table
BOOK = PriceBook(
    PACKAGED.model_copy(
        update={
            "on_demand": {"m6i.large": 0.096, "r6i.large": 0.126, "m6i.xlarge": 0.192},
            "spot": {
                "m6i.large": {
                    "us-west-2a": SpotRange(p50=0.03, p90=0.04),
                    "us-west-2b": SpotRange(p50=0.05, p90=0.06),
                }
            },
            "spot_share": SpotRange(p50=0.4, p90=0.55),
        }
    )
)


def machine(zone: str = "us-west-2a", lifecycle: str = "spot", **more: Any) -> Machine:
    facts = {"instance_type": "m6i.large", "vcpus": 1.0, "memory_mib": 3000.0, "launch_type": "EC2"}
    return Machine(**facts | {"zone": zone, "lifecycle": lifecycle} | more)


def product(key: str, unit: int = 0) -> ProductRecord:
    when = dt.datetime(2024, 7, 3, tzinfo=dt.UTC)
    return ProductRecord(
        unit=unit, key=key, acquisition=key, datetime=when, size=1, sha256="0", coverage=1, sources=()
    )


class Bench:
    """A run in a directory, and attempts that took so many minutes."""

    def __init__(self, folder: Path, slots: int) -> None:
        self.store = LocalStore(folder)
        self.root = some_manifest(slots, str(folder))
        put_manifest(self.store, self.root)

    def attempt(
        self,
        slot: int,
        outcome: Any,
        minutes: float,
        *,
        on: Machine | None,
        attempt: int = 1,
        keys: tuple[str, ...] = (),
        manifest: Manifest | None = None,
    ) -> None:
        of = manifest or self.root
        run = RunLayout(of.run_id)
        started = make_started(of, slot, attempt).model_copy(update={"machine": on})
        self.store.put(run.started(slot, attempt), started.model_dump_json().encode())
        if outcome is None:
            return
        receipt = Receipt(
            **started.model_dump(),
            ended_at=NOW + dt.timedelta(minutes=minutes),
            outcome=outcome,
            exit_code=0,
            counts=Counts(),
            products=tuple(product(key) for key in keys),
        )
        self.store.put(run.receipt(slot, attempt, outcome), receipt.model_dump_json().encode())

    def family(self) -> Family:
        return read_family(self.store, self.root.run_id)

    def report(self, ends: Any = None, book: PriceBook = BOOK) -> CostReport:
        """As Batch has forgotten the run; of some slots, by number, it said how their attempts ended."""
        family, tries = self.family(), list[AttemptFact]()
        for member in family.members:
            of_run = ends or {} if member.manifest.run_id == self.root.run_id else {}
            tries += tries_of(joined(member, of_run))
        return cost_of(family, tries, spells_of(family, tries), book)


def joined(member: Member, said: dict[int, AttemptState]) -> RunStatus:
    """One run, as its records and the ends of some slots' latest attempts tell."""
    view = BatchView({slot: SlotState("FAILED", "", attempts=(end,)) for slot, end in said.items()})
    starts = member.receipts.starts(unended_attempts(member.attempts))
    records = (AttemptEntry.of(one) for one in (*member.receipts.every(member.attempts), *starts))
    entries = {(entry.slot, entry.attempt): entry for entry in records}
    return join_status(member.manifest, view, member.attempts, entries, jobs=[])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "store", 3)


def test_a_run_adds_up_by_region_product_and_waste(bench: Bench) -> None:
    """By hand: a job of 1 of 2 vCPUs has half of an m6i.large.

    region 0: 30 min interrupted in zone a: 0.5 h x 0.5 x 0.03 = 0.0075, wasted on spot
              60 min done in zone b:        1.0 h x 0.5 x 0.05 = 0.025, two products
    region 1: 12 min failed, on demand:     0.2 h x 0.5 x 0.096 = 0.0096, wasted
              its retry, 24 min on demand:  0.4 h x 0.5 x 0.096 = 0.0192, one product
    region 2: 6 min without scenes, zone a: 0.1 h x 0.5 x 0.03 = 0.0015
    """
    bench.attempt(0, "interrupted", 30, on=machine(), keys=("a",))
    bench.attempt(0, "done", 60, on=machine("us-west-2b"), attempt=2, keys=("b",))
    bench.attempt(1, "failed", 12, on=machine(lifecycle="on-demand"))
    bench.attempt(2, "no_data", 6, on=machine())
    retry = a_retry(bench.store, bench.root, (1,))
    bench.attempt(0, "done", 24, on=machine(lifecycle="on-demand"), keys=("c",), manifest=retry)
    report = bench.report()
    assert report.usd == pytest.approx(0.0075 + 0.025 + 0.0096 + 0.0192 + 0.0015)
    assert report.wasted == pytest.approx({"spot": 0.0075, "bug": 0.0096})
    costs = [(one.usd, one.wasted_usd, one.products, one.usd_a_product) for one in report.regions]
    assert costs == [
        pytest.approx((0.0325, 0.0075, 2, 0.01625)),
        pytest.approx((0.0288, 0.0096, 1, 0.0288)),
        (pytest.approx(0.0015), 0.0, 0, None),
    ]
    assert sum(one.usd for one in report.regions) == pytest.approx(report.usd)
    assert report.products == 3


def test_the_larger_share_of_vcpus_and_memory_is_charged(bench: Bench) -> None:
    """6,144 of 8,192 MiB is three quarters of the instance, whatever the vCPUs."""
    bench.attempt(0, "done", 60, on=machine(memory_mib=6144.0))
    (attempt,) = bench.report().attempts
    assert attempt.share == 0.75
    assert attempt.usd == pytest.approx(0.75 * 0.03)


def test_true_prices_of_the_moment_win(bench: Bench) -> None:
    bench.attempt(0, "done", 60, on=machine())
    points = [
        SpotPoint("m6i.large", "us-west-2a", NOW - dt.timedelta(hours=hours), usd)
        for hours, usd in ((5, 0.01), (1, 0.02), (-1, 0.9))
    ]
    (attempt,) = bench.report(book=BOOK.with_history(points)).attempts
    assert attempt.usd == pytest.approx(0.5 * 0.02)
    assert attempt.price_source == "spot price in us-west-2a at the time"


def test_a_killed_attempt_is_charged_to_the_end_batch_knows(bench: Bench) -> None:
    bench.attempt(0, None, 0, on=machine())
    bench.attempt(1, None, 0, on=machine())
    reason = "OutOfMemoryError: Container killed due to memory usage"
    end = AttemptState(stopped_at=NOW + dt.timedelta(minutes=90), reason=reason, exit_code=137)
    report = bench.report({0: end})
    assert report.wasted == pytest.approx({"oom": 1.5 * 0.5 * 0.03, "killed": 0.0})
    assert report.attempts[1].hours is None
    assert any(
        note.startswith("1 attempts are running, or ended at a time nobody knows") for note in report.notes
    )


def a_killed_child() -> BigRun:
    """One that AWS Batch ended for its time limit, 90 minutes after its start."""
    run = BigRun(2)
    run.cloud = replace(run.cloud, embedded=True)
    for slot in range(2):
        run.attempt(slot, None if slot else "done")
        run.batch.set_child("job-0", slot, status="FAILED" if slot else "SUCCEEDED")
    stopped = int((NOW + dt.timedelta(minutes=90)).timestamp() * 1000)
    attempt = {"statusReason": "Job attempt duration exceeded timeout", "stoppedAt": stopped}
    run.batch.set_child("job-0", 1, attempts=[attempt | {"container": {}}])
    return run


def cost_asked(run: BigRun) -> CostReport:
    places = find_places(load_settings(environ={}), None)
    family = read_family(run.store, run.manifest.run_id)
    return report_cost(family, run.store, run.cloud, places.queues, BOOK)[0]


def test_the_end_of_a_killed_attempt_outlives_the_memory_of_aws_batch() -> None:
    """By hand: an hour and a half of half an r6i.large of 12.6 cents, on spot 40 %."""
    run = a_killed_child()
    while_known = cost_asked(run)
    assert while_known.wasted == pytest.approx({"timeout": 1.5 * 0.5 * 0.4 * 0.126})
    run.open().now()
    run.batch.forgotten = True
    assert cost_asked(run).wasted == while_known.wasted
    run.s3.objects[RunLayout(run.manifest.run_id).ledger] = b"no ledger"
    assert cost_asked(run).wasted == {"killed": 0.0}


def test_attempts_lost_before_their_record_are_charged_by_the_times_of_batch() -> None:
    """By hand: one and two hours of half an r6i.large of 12.6 cents, on spot 40 %; one never started."""
    run = BigRun(2)
    run.cloud = replace(run.cloud, embedded=True)
    run.attempt(0, "done", 2, ended_at=NOW)
    lost = "Host EC2 (instance i-0) terminated."
    begin = int(NOW.timestamp() * 1000)
    hour, two = (
        {"startedAt": begin, "stoppedAt": begin + hours * 3_600_000, "statusReason": lost, "container": {}}
        for hours in (1, 2)
    )
    never = {"statusReason": "Task failed to start", "container": {}}
    run.batch.set_child("job-0", 0, status="SUCCEEDED", attempts=[hour, {"container": {}}])
    run.batch.set_child("job-0", 1, status="FAILED", attempts=[two, never])
    report = cost_asked(run)
    assert report.wasted == pytest.approx({"spot": 3 * 0.5 * 0.4 * 0.126})
    assert [one.wasted_usd for one in report.regions] == pytest.approx([0.0252, 0.0504])
    assert report.notes[-2:] == (
        "2 attempts ended before they left a record: charged by the times of AWS Batch",
        "1 attempts never started, says AWS Batch: not charged",
    )


def test_batch_is_asked_about_jobs_that_a_state_machine_sent() -> None:
    run = a_killed_child()
    machine = some_job(0, 2).model_copy(update={"service": "stepfunctions", "job_id": "arn:execution"})
    name = job_name(run.manifest.run_id, 0)
    run.batch.jobs["job-0"]["jobName"] = name
    record = machine.model_copy(update={"name": name, "job_queue": "glacierflow-spot"})
    run.store.put(RunLayout(run.manifest.run_id).job(0), record.model_dump_json().encode())
    assert list(cost_asked(run).wasted) == ["timeout"]


def test_who_ended_an_interrupted_attempt_is_batchs_to_say(bench: Bench) -> None:
    bench.attempt(0, "interrupted", 60, on=machine())
    bench.attempt(1, "interrupted", 60, on=machine())
    report = bench.report({0: AttemptState(status_reason="Job attempt duration exceeded timeout")})
    assert report.wasted == pytest.approx({"timeout": 0.015, "spot": 0.015})


def test_an_unknown_machine_is_assumed_and_said(tmp_path: Path) -> None:
    """By hand: r6i.large on spot is 0.4 x 0.126 an hour, of which a job of 7,500 MiB has half; 15,500 all."""
    bench = Bench(tmp_path, 2)
    arrays = (ArrayRange(first_slot=0, size=1), ArrayRange(first_slot=1, size=1, memory_mib=15_500))
    bench.root = bench.root.model_copy(update={"arrays": arrays})
    put_manifest(bench.store, bench.root)
    bench.attempt(0, "done", 60, on=None)
    bench.attempt(1, "done", 60, on=None)
    report = bench.report()
    assert [one.usd for one in report.attempts] == pytest.approx([0.5 * 0.4 * 0.126, 0.4 * 0.126])
    assert "2 attempts did not say what they ran on: r6i.large is assumed" in report.notes
    assert any("assumed: 40% of the on-demand price" in note for note in report.notes)


def test_prices_of_another_region_are_said_in_the_report(bench: Bench) -> None:
    bench.attempt(0, "done", 60, on=machine("eu-central-1a"))
    notes = bench.report(book=replace(BOOK, region="eu-central-1")).notes
    assert any(note.startswith("the prices are those of us-west-2, not of eu-central-1") for note in notes)
    assert f"1 attempts: median spot price over 2 zones, table of {PACKAGED.as_of} for us-west-2" in notes


def test_the_queue_decides_where_the_machine_does_not_say(bench: Bench) -> None:
    whole = ArrayRange(first_slot=0, size=3, on_demand=True)
    bench.root = bench.root.model_copy(update={"arrays": (whole,)})
    put_manifest(bench.store, bench.root)
    bench.attempt(0, "done", 60, on=machine(lifecycle="on-demand"))
    bench.attempt(1, "done", 60, on=machine(lifecycle="spot"))
    bench.attempt(2, "done", 60, on=Machine(zone="us-west-2a"))
    assert [one.lifecycle for one in bench.report().attempts] == ["on-demand", "spot", "on-demand"]


def test_fargate_is_charged_by_what_the_task_has(bench: Bench) -> None:
    fargate = Machine(launch_type="FARGATE", vcpus=2, memory_mib=8192)
    bench.attempt(0, "done", 30, on=fargate.model_copy(update={"lifecycle": "on-demand"}))
    rates = PACKAGED.rates
    by_hand = 0.5 * (2 * rates.fargate_vcpu_hour + 8 * rates.fargate_gb_hour)
    (attempt,) = bench.report().attempts
    assert attempt.usd == pytest.approx(by_hand)
    assert not attempt.assumed


def test_lambda_is_charged_by_memory_and_time(bench: Bench) -> None:
    machine = Machine(launch_type="LAMBDA", lifecycle="on-demand", vcpus=5.79, memory_mib=10_240)
    bench.attempt(0, "done", 3, on=machine)
    (attempt,) = bench.report().attempts
    assert attempt.usd == pytest.approx(180 * 10 * PACKAGED.rates.lambda_gb_second)
    assert (attempt.instance_type, attempt.assumed) == ("Lambda", False)


def test_units_in_one_slot_share_its_cost_by_their_products(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    packed = bench.root.model_copy(
        update={
            "slots": ((bench.root.slots[0][0], bench.root.slots[1][0]),),
            "arrays": (ArrayRange(first_slot=0, size=1),),
        }
    )
    put_manifest(bench.store, packed)
    started = make_started(packed, 0).model_copy(update={"machine": machine()})
    products = (product("a"), product("b", 1), product("c", 1), product("d", 1))
    receipt = Receipt(
        **started.model_dump(),
        ended_at=NOW + dt.timedelta(hours=1),
        outcome="done",
        exit_code=0,
        counts=Counts(),
        products=products,
    )
    bench.store.put(RunLayout(packed.run_id).receipt(0, 1, "done"), receipt.model_dump_json().encode())
    assert [one.usd for one in bench.report().regions] == pytest.approx([0.25 * 0.015, 0.75 * 0.015])


def test_a_type_without_a_price_is_named(bench: Bench) -> None:
    bench.attempt(0, "done", 60, on=machine(instance_type="x9z.large"))
    with pytest.raises(DataError, match=r"no price for x9z\.large"):
        bench.report()


def test_the_csv_adds_up_to_the_report(bench: Bench) -> None:
    bench.attempt(0, "interrupted", 30, on=machine())
    bench.attempt(0, "done", 60, on=machine(), attempt=2)
    bench.attempt(1, None, 0, on=None)
    report = bench.report()
    rows = list(csv.DictReader(io.StringIO(cost_csv(report))))
    assert sum(float(row["usd"]) for row in rows) == pytest.approx(report.usd)
    again = sum(float(row["hours"] or 0) * float(row["share"]) * float(row["usd_hour"]) for row in rows)
    assert again == pytest.approx(report.usd)
    assert [row["wasted_on"] for row in rows] == ["spot", "", "killed"]
    assert rows[2]["hours"] == ""
