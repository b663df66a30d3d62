"""Lambda, ECS and Fargate: the same manifest and receipts, with another last call, on the embedded cloud."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from batch_fake import BatchFake
from big_run import FakeCloud
from botocore.stub import Stubber
from damaged import FAR, NEAR, damaged_archive, mend
from embedded import at_home, cloud_of, own_cloud
from runs_samples import NOW, make_receipt, make_started, put_attempt, some_job, some_manifest
from stubbed import stubbed

from glacierflow.aws.batch import find_jobs
from glacierflow.aws.names import Places
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.host import MEMORY_CLASSES_MIB
from glacierflow.launch import ecs as tasks_module
from glacierflow.launch.ecs import TaskLauncher
from glacierflow.launch.launcher import check_lambda_fit
from glacierflow.live.retry import Cancelled, cancel_family
from glacierflow.live.same_run import SameRun, find_same_run
from glacierflow.live.states import states_by_attempts, stop_slots, view_of
from glacierflow.local import control
from glacierflow.model.attempts import AttemptEntry, entry_of_name, name_of_entry
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import ArrayRange
from glacierflow.runs.family import read_family
from glacierflow.runs.plan import job_name
from glacierflow.runs.records import Attempts, read_jobs, write_job
from glacierflow.runs.states import BatchView
from glacierflow.runs.status import join_status
from glacierflow.store import LocalStore, open_store


def launcher(cloud: Any = None, service: Any = "fargate") -> TaskLauncher:
    return TaskLauncher(
        cloud=cloud,
        cluster="glacierflow-ecs",
        definitions={memory: f"glacierflow-ecs-{memory}:1" for memory in MEMORY_CLASSES_MIB},
        subnets=("subnet-1",),
        security_group="sg-1",
        public_ip="ENABLED",
        log_group="/glacierflow/batch",
        tags={"owner": "me"},
        service=service,
    )


@pytest.mark.parametrize("service", ["fargate", "ecs"])
def test_every_run_task_call_is_one_that_ecs_would_take_and_says_what_the_manifest_says(service: str) -> None:
    client = boto3.client("ecs", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    arrays = (
        ArrayRange(first_slot=0, size=1, memory_mib=15_500, on_demand=True),
        ArrayRange(first_slot=1, size=2, memory_mib=7_500),
    )
    manifest = some_manifest(3).model_copy(update={"arrays": arrays})
    shape = client.meta.service_model.operation_model("RunTask").input_shape
    from botocore.validate import ParamValidator

    requests = launcher(service=service).requests(manifest)
    for request in requests:
        assert not ParamValidator().validate(request, shape).has_errors()
        assert len(request["clientToken"]) <= 64
        assert len(request["startedBy"]) <= 36
    tokens = {request["clientToken"] for request in requests}
    assert len(tokens) == 3
    providers = [request["capacityProviderStrategy"][0]["capacityProvider"] for request in requests]
    assert providers == ["FARGATE", "FARGATE_SPOT", "FARGATE_SPOT"]


MACHINE = {
    "service": "stepfunctions",
    "job_id": "arn:aws:states:us-west-2:123456789012:execution:glacierflow:one",
}
PLACES = Places(
    bucket="made-up",
    spot_queue="queue",
    ondemand_queue="queue",
    log_group="/glacierflow/batch",
    job_definition="glacierflow",
    job_definitions={},
)


class StubbedEcs(Cloud):
    """RunTask answers as it is told to."""

    def client(self, service: str) -> Any:  # noqa: ARG002 - there is only one
        return self.ecs

    ecs: Any


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StubbedEcs, Stubber]]:
    monkeypatch.setattr(tasks_module, "_PATIENCE_S", 0.0)
    cloud = StubbedEcs()
    client = boto3.client("ecs", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x")
    object.__setattr__(cloud, "ecs", client)
    with Stubber(client) as stubber:
        yield cloud, stubber
        stubber.assert_no_pending_responses()


def test_a_task_that_finds_no_capacity_is_asked_for_again(
    stub: tuple[StubbedEcs, Stubber], tmp_path: Path
) -> None:
    cloud, stubber = stub
    none = {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time"}]}
    stubber.add_response("run_task", none)
    stubber.add_response("run_task", {"tasks": [{"taskArn": "arn:task/1"}], "failures": []})
    (record,) = launcher(cloud).launch(some_manifest(1), LocalStore(tmp_path))
    assert record.tasks == ("arn:task/1",)
    for _ in range(6):
        stubber.add_response("run_task", none)
    with pytest.raises(UnavailableError, match="found no capacity"):
        launcher(cloud).launch(some_manifest(1), LocalStore(tmp_path))
    stubber.add_response("run_task", {"tasks": [], "failures": [{"reason": "ACCESS DENIED"}]})
    with pytest.raises(UsageError, match="ACCESS DENIED"):
        launcher(cloud).launch(some_manifest(1), LocalStore(tmp_path))


def test_what_was_started_is_recorded_where_the_rest_finds_no_capacity_and_is_not_started_again(
    stub: tuple[StubbedEcs, Stubber], tmp_path: Path
) -> None:
    cloud, stubber = stub
    sent: list[dict[str, Any]] = []
    cloud.ecs.meta.events.register(
        "provide-client-params.ecs.RunTask", lambda params, **_: sent.append(params)
    )
    none = {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time"}]}
    manifest, store = some_manifest(2), LocalStore(tmp_path)
    stubber.add_response("run_task", {"tasks": [{"taskArn": "arn:task/0"}], "failures": []})
    for _ in range(6):
        stubber.add_response("run_task", none)
    with pytest.raises(UnavailableError, match="the task of slot 1"):
        launcher(cloud).launch(manifest, store)
    (known,) = read_jobs(store, manifest.run_id)
    assert (known.first_slot, known.size, known.tasks) == (0, 1, ("arn:task/0",))
    assert not SameRun(manifest, (known,)).is_whole

    asked = [(one["capacityProviderStrategy"][0]["capacityProvider"], one["clientToken"]) for one in sent]
    assert [provider for provider, _ in asked] == ["FARGATE_SPOT"] * 6 + ["FARGATE"]
    assert len({token for _, token in asked[1:]}) == 2, "another capacity is another request"

    stubber.add_response("run_task", {"tasks": [{"taskArn": "arn:task/1"}], "failures": []})
    launcher(cloud).launch(manifest, store, [known])
    (whole,) = read_jobs(store, manifest.run_id)
    assert whole.tasks == ("arn:task/0", "arn:task/1")
    assert SameRun(manifest, (whole,)).is_whole
    assert launcher(cloud).launch(manifest, store, [whole]) == [whole]


class Waits:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.waited = 1000.0, 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waited += seconds


class Ecs:
    """RunTask of a region whose Fargate Spot comes and goes; it notes who asked for what, and when."""

    def __init__(self, clock: Waits, spot_from: float) -> None:
        self.clock, self.spot_from = clock, spot_from
        self.asked: list[tuple[int, str]] = []

    def run_task(self, **request: Any) -> dict[str, Any]:
        provider = request["capacityProviderStrategy"][0]["capacityProvider"]
        (_, index) = request["overrides"]["containerOverrides"][0]["environment"]
        self.asked.append((int(index["value"]), provider))
        if provider == "FARGATE_SPOT" and self.clock.now < self.spot_from:
            return {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time"}]}
        return {"tasks": [{"taskArn": f"arn:task/{index['value']}"}], "failures": []}


def test_where_there_is_no_spot_one_task_waits_for_it_and_it_is_asked_again_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Waits()
    monkeypatch.setattr(tasks_module, "time", clock)
    monkeypatch.setattr(tasks_module, "_PER_SECOND", 0.1)
    ecs = Ecs(clock, spot_from=1000 + 155 + 600)
    manifest = some_manifest(80)
    (record,) = launcher(SimpleNamespace(client=lambda _: ecs)).launch(manifest, LocalStore(tmp_path))
    assert record.tasks == tuple(f"arn:task/{slot}" for slot in range(80))
    assert ecs.asked[:6] == [(0, "FARGATE_SPOT")] * 5 + [(0, "FARGATE")]
    # a task each ten seconds: after five minutes the next one asks, waits five seconds, and goes on
    in_vain = [
        slot for slot, provider in ecs.asked if (slot, "FARGATE") in ecs.asked and provider != "FARGATE"
    ]
    assert in_vain == [0] * 5 + [31]
    on_spot = {slot for slot, provider in ecs.asked if provider == "FARGATE_SPOT"} - {0, 31}
    assert on_spot == set(range(61, 80)), "it is back, and all go to it"
    assert clock.waited == 155 + 79 * 10


def test_what_was_started_is_recorded_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill leaves no time to write anything: what is not recorded when a task is asked for is lost."""
    clock, manifest, store = Waits(), some_manifest(400), LocalStore(tmp_path)
    puts: list[str] = []
    lost: list[int] = []

    class Watched(Ecs):
        def run_task(self, **request: Any) -> dict[str, Any]:
            known = sum(job.size for job in read_jobs(store, manifest.run_id))
            lost.append(len({slot for slot, _ in self.asked}) - known)
            if len(self.asked) == 200:
                self.spot_from = clock.now + 1
            return super().run_task(**request)

    real = store.put

    def put(_: LocalStore, key: str, *more: Any) -> Any:
        puts.append(key)
        return real(key, *more)

    monkeypatch.setattr(LocalStore, "put", put)
    monkeypatch.setattr(tasks_module, "time", clock)
    ecs = Watched(clock, spot_from=0)
    launcher(SimpleNamespace(client=lambda _: ecs)).launch(manifest, store)
    assert max(lost) <= 5 * 15 + 1
    assert lost[200] > 1
    assert lost[201] == 1, "before a wait for capacity all is recorded but the one that waits"
    assert len(puts) <= 400 / 15 / 5 + 3


def test_what_does_not_fit_lambda_is_refused_with_the_service_that_takes_it() -> None:
    manifest = some_manifest(3)
    check_lambda_fit(manifest, memory_mb=10_240, timeout_s=900)
    with pytest.raises(UsageError, match=r"expected to need .* MB of 200, and 2 more") as caught:
        check_lambda_fit(manifest, memory_mb=200, timeout_s=900)
    assert "--service batch" in (caught.value.next_step or "")
    with pytest.raises(UsageError, match=r"expected to take .* s of 5"):
        check_lambda_fit(manifest, memory_mb=10_240, timeout_s=5)


def outcomes(*values: str | None) -> Attempts:
    return Attempts(dict(enumerate(values, 1)))


def test_states_are_read_from_what_attempts_left() -> None:
    job = some_job(0, 6).model_copy(update={"service": "lambda", "job_id": "arn:function"})
    manifest = some_manifest(6)
    attempts = {
        1: outcomes("done"),
        2: outcomes("failed"),
        3: outcomes(None),
        4: outcomes(None),
        5: outcomes("failed", "interrupted"),
    }
    old = make_started(manifest, 4).model_copy(update={"started_at": NOW - dt.timedelta(minutes=16)})
    starts = {(3, 1): AttemptEntry.of(make_started(manifest, 3)), (4, 1): AttemptEntry.of(old)}
    states = states_by_attempts(job, attempts, starts, NOW)
    assert {slot: state.state for slot, state in states.items()} == {
        0: "SUBMITTED",
        1: "SUCCEEDED",
        2: "FAILED",
        3: "RUNNING",
        4: "FAILED",
        5: "FAILED",
    }
    assert (states[4].cause, states[5].cause) == ("timeout", "timeout")
    late = states_by_attempts(job, {}, {}, NOW + dt.timedelta(hours=7))
    assert "never began" in (late[0].status_reason or "")


def test_what_an_invocation_sent_on_is_waited_for_as_long_as_lambda_keeps_it(tmp_path: Path) -> None:
    job = some_job(0, 1).model_copy(update={"service": "lambda", "job_id": "arn:function"})
    manifest, attempts = some_manifest(1), {0: outcomes("interrupted")}
    cut = make_receipt(manifest, 0, outcome="interrupted").model_copy(update={"ended_at": NOW})
    for sent_on, hours, cancelled, state in (
        (True, 0, False, "SUBMITTED"),
        (True, 6, False, "SUBMITTED"),
        (True, 7, False, "FAILED"),
        (True, 0, True, "FAILED"),
        (False, 0, False, "FAILED"),
    ):
        entry = AttemptEntry.of(cut.model_copy(update={"sent_on": sent_on}))
        # as a look reads it
        name = name_of_entry(RunLayout(manifest.run_id), entry)
        assert entry_of_name(str(name)) == entry
        now = NOW + dt.timedelta(hours=hours)
        (found,) = states_by_attempts(job, attempts, {(0, 1): entry}, now, cancelled=cancelled).values()
        assert found.state == state
        assert found.ended_by_request is cancelled
        assert ("never began" in (found.status_reason or "")) is (hours == 7)
    row = join_status(
        manifest, BatchView({0: found}), {0: outcomes("interrupted", "interrupted")}, {}, jobs=[job]
    ).rows[0]
    assert (row.attempts, row.reclaims) == (2, 0), "a deadline takes no machine away"


def test_a_task_that_ecs_has_forgotten_is_not_alive(stub: tuple[StubbedEcs, Stubber], tmp_path: Path) -> None:
    cloud, stubber = stub
    manifest, store = some_manifest(2), LocalStore(tmp_path)
    started = make_started(manifest, 1)
    store.put(RunLayout(manifest.run_id).started(1, 1), started.model_dump_json().encode())
    for age, states in ((1, {0: "SUBMITTED", 1: "RUNNING"}), (70, {})):
        then = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=age)
        changes = {"service": "fargate", "tasks": ("arn:0", "arn:1"), "submitted_at": then}
        job = some_job(0, 2).model_copy(update=changes)
        stubber.add_response("describe_tasks", {"tasks": [], "failures": [{"reason": "MISSING"}]})
        view = view_of(manifest, [job], store, cloud)
        assert {slot: state.state for slot, state in view.slots.items()} == states


def test_jobs_of_a_state_machine_that_batch_has_forgotten_did_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slot 0 has left a trace, so its job was sent; of slot 1 nothing is known but the execution's end."""
    manifest, store = some_manifest(2), LocalStore(tmp_path)
    started = make_started(manifest, 0)
    store.put(RunLayout(manifest.run_id).started(0, 1), started.model_dump_json().encode())
    monkeypatch.setattr("glacierflow.live.states.find_job", lambda *_, **__: None)
    machine = SimpleNamespace(describe_execution=lambda **_: {"status": "FAILED", "cause": "told"})
    monkeypatch.setattr(Cloud, "client", lambda _self, service: machine)
    job = some_job(0, 2).model_copy(update={"service": "stepfunctions"})
    view = view_of(manifest, [job], store, Cloud())
    assert {slot: state.state for slot, state in view.slots.items()} == {1: "FAILED"}


@pytest.mark.parametrize(("status", "live"), [("RUNNING", True), ("SUCCEEDED", False)])
@pytest.mark.parametrize("sent", [False, True])
def test_a_run_whose_state_machine_goes_on_is_not_submitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sent: bool, status: str, live: bool
) -> None:
    """Neither before it has sent a job nor between two rounds of tries, when all jobs have ended."""
    manifest = some_manifest(2).model_copy(update={"service": "stepfunctions"})
    store = LocalStore(tmp_path)
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    then = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=10)
    write_job(store, manifest.run_id, some_job(0, 2, submitted_at=then).model_copy(update=MACHINE))
    batch = BatchFake()
    batch.add_queue("queue")
    if sent:
        name = job_name(manifest.run_id, 0)
        batch.add_array("job-1", ["SUCCEEDED", "FAILED"], jobName=name, jobQueue="queue")
    machine = SimpleNamespace(describe_execution=lambda **_: {"status": status})
    clients = {"stepfunctions": machine, "batch": batch}
    monkeypatch.setattr(Cloud, "client", lambda _self, service: clients[service])
    monkeypatch.setattr("glacierflow.live.same_run.runs_named", lambda *_: [manifest.run_id])
    same = find_same_run(manifest, store, Cloud(), places=PLACES)
    assert (same is not None and same.is_whole) == live
    if not sent:
        (state, _) = view_of(manifest, read_jobs(store, manifest.run_id), store, Cloud()).slots.values()
        assert state.state == ("SUBMITTED" if live else "FAILED")


def test_a_run_on_lambda_is_not_looked_for_in_aws_batch(tmp_path: Path) -> None:
    """Whoever may use only Lambda has no permission to ask AWS Batch; no client of it is made."""
    manifest = some_manifest(2).model_copy(update={"service": "lambda"})
    assert find_jobs(manifest, LocalStore(tmp_path), FakeCloud(), job_queue="queue") == []


def test_of_a_run_on_lambda_only_what_has_not_begun_is_cancelled_and_no_region_alone(tmp_path: Path) -> None:
    manifest, store = some_manifest(3).model_copy(update={"service": "lambda"}), LocalStore(tmp_path)
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    now = dt.datetime.now(dt.UTC)
    job = some_job(0, 3, submitted_at=now).model_copy(update={"service": "lambda", "job_id": "arn:function"})
    write_job(store, manifest.run_id, job)
    put_attempt(store, manifest, 0, "no_data")
    started = make_started(manifest, 1).model_copy(update={"started_at": now})
    store.put(RunLayout(manifest.run_id).started(1, 1), started.model_dump_json().encode())
    family, mark = read_family(store, manifest.run_id), RunLayout(manifest.run_id).cancelled
    for region in ("001_made_up", "002_made_up"):
        with pytest.raises(UsageError, match="cannot be ended by itself"):
            cancel_family(family, store, FakeCloud(), PLACES, regions=[region])
    assert not store.exists(mark)
    (cancelled,) = cancel_family(family, store, FakeCloud(), PLACES)
    assert cancelled == Cancelled(manifest.run_id, (2,), {"no_data": 1}, 0, goes_on=(1,))
    assert store.exists(mark)


def test_of_a_run_over_lambda_by_a_machine_the_execution_is_stopped_and_what_runs_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS Batch, which has none of its jobs, is not asked."""
    manifest = some_manifest(3).model_copy(update={"service": "stepfunctions"})
    store, run_layout = LocalStore(tmp_path), RunLayout(manifest.run_id)
    store.put(run_layout.manifest, manifest.model_dump_json().encode())
    now = dt.datetime.now(dt.UTC)
    job = some_job(0, 3, submitted_at=now).model_copy(update=MACHINE | {"job_queue": "lambda"})
    write_job(store, manifest.run_id, job)
    put_attempt(store, manifest, 0, "no_data")
    started = make_started(manifest, 1).model_copy(update={"started_at": now})
    store.put(run_layout.started(1, 1), started.model_dump_json().encode())
    stopped: list[str] = []
    machine = SimpleNamespace(
        describe_execution=lambda **_: {"status": "RUNNING"},
        stop_execution=lambda executionArn, cause: stopped.append(f"{executionArn} {cause}"),  # noqa: N803
    )
    clients = {"stepfunctions": machine}
    monkeypatch.setattr(Cloud, "client", lambda _self, service: clients[service])
    family = read_family(store, manifest.run_id)
    with pytest.raises(UsageError, match="cannot be ended by itself"):
        cancel_family(family, store, Cloud(), PLACES, regions=["001_made_up"])
    assert not stopped
    (cancelled,) = cancel_family(family, store, Cloud(), PLACES)
    assert cancelled == Cancelled(manifest.run_id, (2,), {"no_data": 1}, 0, goes_on=(1,))
    assert len(stopped) == 1


def test_an_execution_that_step_functions_has_forgotten_is_judged_by_receipts_and_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, store = some_manifest(2), LocalStore(tmp_path)
    monkeypatch.setattr("glacierflow.live.states.find_job", lambda *_, **__: None)
    job = some_job(0, 2).model_copy(update=MACHINE)
    with stubbed(monkeypatch, "stepfunctions") as stubber:
        for _ in range(2):
            stubber.add_client_error("describe_execution", "ExecutionDoesNotExist", http_status_code=400)
        assert view_of(manifest, [job], store, Cloud()).slots == {}
        stop_slots(manifest, [job], set(), store, Cloud(), whole=True, reason="cancelled")
        stubber.assert_no_pending_responses()
        stubber.add_client_error("describe_execution", "AccessDeniedException", http_status_code=400)
        with pytest.raises(UsageError, match="not allowed to describe the execution"):
            view_of(manifest, [job], store, Cloud())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An embedded cloud with all stacks, in a folder of its own."""
    deploy = ["stack", "deploy", "--local", "--with", "lambda,ecs", "--yes", "--quiet"]
    with own_cloud(tmp_path_factory.mktemp("elsewhere"), deploy) as folder:
        yield folder


@pytest.fixture
def home(shared: Path) -> Iterator[Path]:
    with at_home(shared):
        yield shared


@pytest.mark.embedded
def test_no_sample_is_made_for_a_run_that_does_not_fit_lambda(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("glacierflow.local.sample.sample_bundle", lambda *_: pytest.fail("a sample was made"))
    selection = ["--satellite", "sentinel2", "--regions", "134_Arsuk", "--date1", "2016-01-01"]
    words = ["submit", "--service", "lambda", *selection, "--date2", "2024-12-31", "--local", "--quiet"]
    assert run(words) == 64
    assert "134_Arsuk is expected to take" in capsys.readouterr().err


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("service", "spot", "provider"),
    [("lambda", "1", None), ("fargate", "1", "FARGATE_SPOT"), ("ecs", "0", "FARGATE")],
)
def test_a_run_on_each_service_ends_with_products_and_says_so(
    service: str,
    spot: str,
    provider: str | None,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GLACIERFLOW_USE_SPOT_INSTANCES", spot)
    where = ["--local", "--quiet"]
    selection = ["--satellite", "landsat", "--regions", "134_Arsuk,135_SermilikSW"]
    dates = ["--date1", "2024-07-01", "--date2", "2024-07-08"]
    arguments = ["submit", "--service", service, *selection, *dates, "--reprocess", "--force", *where]
    assert run([*arguments, "--wait", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in status["slots"]] == ["SUCCEEDED", "SUCCEEDED"]
    assert all(row["products"] for row in status["slots"])
    if provider is not None:
        (job,) = read_jobs(open_store("s3://greenland-glacier-data", cloud_of(home)), status["run_id"])
        tasks = (
            cloud_of(home).client("ecs").describe_tasks(cluster=job.job_id, tasks=list(job.tasks))["tasks"]
        )
        assert {task["capacityProviderName"] for task in tasks} == {provider}
        assert job.on_demand is (spot == "0")
    assert run(["batch", "verify", status["run_id"], *where]) == 0
    assert run(["batch", "status", status["run_id"], *where]) == 0
    capsys.readouterr()
    assert run(["batch", "logs", status["run_id"], "--region", "135_SermilikSW", "--local"]) == 0
    logged = capsys.readouterr()
    (slot,) = [row["slot"] for row in status["slots"] if row["regions"] == ["135_SermilikSW"]]
    assert f"run {status['run_id']} slot {slot} attempt 1" in logged.out
    assert f"slot {slot}, 135_SermilikSW" in logged.err
    (told,) = [
        line
        for line in (home / "home" / "logs" / "aws_job_submission.log").read_text().splitlines()
        if status["run_id"] in line
    ]
    assert f"to {service} of the embedded cloud, 2 slots; records in s3://" in told


@pytest.mark.embedded
@pytest.mark.parametrize("service", ["lambda", "fargate", "ecs"])
def test_what_failed_on_each_service_is_told_and_tried_again(
    service: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--local", "--quiet"]
    cloud = cloud_of(home)
    store = open_store("s3://greenland-glacier-data", cloud)
    for entry in list(store.list("1_download_merge_and_clip/")):
        # of another service; what is there is not read again
        cloud.client("s3").delete_object(Bucket="greenland-glacier-data", Key=entry.key)
    selection = ["--satellite", "landsat", "--regions", f"{FAR},{NEAR}"]
    dates = ["--date1", "2024-07-01", "--date2", "2024-07-08"]
    arguments = ["submit", "--service", service, *selection, *dates, "--reprocess", "--force", *where]
    with damaged_archive(home) as damaged:
        assert run([*arguments, "--wait", "--json"]) == 1
        status = json.loads(capsys.readouterr().out)
        states = {row["regions"][0]: row["state"] for row in status["slots"]}
        assert states == {FAR: "FAILED", NEAR: "SUCCEEDED"}
        # nothing is left to end, and what had ended is told apart
        assert run(["batch", "cancel", status["run_id"], *where]) == 0
        assert "cancelled 0; had ended before: 1 done, 1 failed" in capsys.readouterr().out
        assert run(["batch", "verify", status["run_id"], *where]) == 1
        mend(damaged)
    assert run(["batch", "retry", status["run_id"], "--wait", *where]) == 0
    assert run(["batch", "verify", status["run_id"], *where]) == 0
    (retried,) = read_family(store, status["run_id"]).members[1:]
    assert {unit.region for slot in retried.manifest.slots for unit in slot} == {FAR}


@pytest.mark.embedded
def test_a_service_whose_stack_is_missing_says_how_it_is_deployed(
    at_cloud: control.Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["submit", "--regions", "134_Arsuk", "--satellite", "landsat", "--local", "--quiet"]
    for service, way in (("lambda", "lambda deploy"), ("ecs", "stack deploy --with ecs")):
        assert run([*arguments, "--service", service]) == 64
        assert f"run `glacierflow {way}`" in capsys.readouterr().err
    assert run([*arguments, "--service", "kubernetes"]) == 64
    assert "accepted: batch, lambda, ecs, fargate, stepfunctions" in capsys.readouterr().err
