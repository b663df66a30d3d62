"""The state machine: valid by the States Language, and executed on the embedded cloud to its end."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from damaged import FAR, NEAR, damaged_archive, mend
from embedded import at_home, cloud_of, own_cloud, wait_for
from runs_samples import put_attempt, some_job, some_manifest
from states_language import faults
from stubbed import stubbed

from glacierflow.aws.names import find_places
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.functions.scheduler.handler import MOST_PAUSES, assess, handler, pascal_case
from glacierflow.functions.scheduler.planning import Office, open_office
from glacierflow.launch.batch import write_manifest
from glacierflow.live.states import view_of
from glacierflow.model.layout import RunLayout
from glacierflow.runs.family import read_family
from glacierflow.runs.plan import job_name
from glacierflow.runs.records import read_jobs, read_run_manifest, run_ids, write_job
from glacierflow.settings import load_settings
from glacierflow.stack.templates import load_template, template_names
from glacierflow.store import LocalStore, Store, open_store

STACKS = "lambda,schedule,stepfunctions"
BUCKET = "greenland-glacier-data"
TOPIC = "arn:aws:sns:us-west-2:123456789012:glacierflow-runs"


def definition() -> dict[str, Any]:
    machine = load_template("stepfunctions").content["Resources"]["StateMachine"]["Properties"]
    parsed: dict[str, Any] = json.loads(machine["DefinitionString"])
    return parsed


@pytest.mark.parametrize("template", sorted(template_names()))
def test_every_state_machine_of_the_templates_is_valid(template: str) -> None:
    resources = load_template(template).content["Resources"].values()
    machines = [one["Properties"] for one in resources if one["Type"] == "AWS::StepFunctions::StateMachine"]
    assert [faults(json.loads(machine["DefinitionString"])) for machine in machines] == [[]] * len(machines)
    assert bool(machines) == (template == "stepfunctions")


@pytest.mark.parametrize(
    ("written", "mistaken", "fault"),
    [
        ('"Next": "Via"', '"Next": "Vai"', "Vai is named, and is no state"),
        ('"Default": "Verify"', '"Default": "Verfy"', "Verfy is named, and is no state"),
        ('"StartAt": "Submit"', '"StartAt": "Send"', "Send is named, and is no state"),
        ('"$.error", "Next": "WasSent"', '"$.error", "Next": "WasSnt"', "WasSnt is named, and is no state"),
        ('"Next": "Pause"', '"Next": "Process"', "Process is named, and is no state"),
        ('"Next": "Pause"', '"Next": "Assess"', "nothing leads to Pause"),
        ('"ResultSelector"', '"ResultSelecter"', "'ResultSelecter' was unexpected"),
        ('"ItemsPath"', '"ItemPath"', "'ItemPath' was unexpected"),
        ('"BackoffRate"', '"BackofRate"', "BackofRate is no field"),
        ('"Catch": [{"ErrorEquals"', '"Catch": [{"ErrorEqual"', "ErrorEqual is no field"),
        ('"Variable"', '"Varible"', "Varible is no field"),
        ('"NumericGreaterThan"', '"NumericGreater"', "NumericGreater is no field"),
        ('"ProcessorConfig"', '"ProcessorConfiguration"', "ProcessorConfiguration is no field"),
        ('"ReaderConfig"', '"ReaderConf"', "ReaderConf is no field"),
        ('"End": true', '"Comment": "no end"', "exactly one of Next and End"),
        ('"Type": "Wait"', '"Type": "Wiat"', "Wiat"),
    ],
)
def test_a_dangling_next_and_a_misspelt_field_are_refused(written: str, mistaken: str, fault: str) -> None:
    text = json.dumps(definition())
    assert written in text
    found = faults(json.loads(text.replace(written, mistaken, 1)))
    assert any(fault in one for one in found), found


def test_requests_are_spelled_as_step_functions_wants_them_and_users_words_stay() -> None:
    request = {
        "jobName": "x",
        "containerOverrides": {"environment": [{"name": "A", "value": "b"}]},
        "tags": {"project": "glacierflow"},
        "arrayProperties": {"size": 2},
    }
    assert pascal_case(request) == {
        "JobName": "x",
        "ContainerOverrides": {"Environment": [{"Name": "A", "Value": "b"}]},
        "Tags": {"project": "glacierflow"},
        "ArrayProperties": {"Size": 2},
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An embedded cloud with the scheduler and the state machine."""
    with own_cloud(tmp_path_factory.mktemp("machine")) as folder:
        s3 = cloud_of(folder).client("s3")
        for key in ("scheduler.zip", "scheduler-layer.zip"):
            s3.put_object(Bucket=BUCKET, Key=f"scripts/glacierflow/{key}", Body=b"code runs from here")
        scheduled = ["--set", "ScheduleService=stepfunctions", "--set", f"NewScenesTopic={TOPIC}"]
        with at_home(folder):
            assert run(["stack", "deploy", "--local", "--with", STACKS, *scheduled, "--yes", "--quiet"]) == 0
        yield folder


@pytest.fixture
def cloud(home: Path) -> Iterator[Cloud]:
    with at_home(home):
        yield cloud_of(home)


@pytest.fixture
def store(cloud: Cloud) -> Store:
    return open_store(f"s3://{BUCKET}", cloud)


PLANNED = ["--satellite", "landsat", "--date1", "2024-07-01", "--date2", "2024-07-08"]
Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def told(cloud: Cloud) -> Iterator[Told]:
    """What the topic was told meanwhile."""
    sqs, sns = cloud.client("sqs"), cloud.client("sns")
    queue = sqs.create_queue(QueueName=f"told-{time.time_ns()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]

    def messages() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(one["Body"]) for one in found]

    yield messages
    sns.unsubscribe(SubscriptionArn=subscription)


def submit(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    arguments = [
        *("submit", "--service", "stepfunctions", "--satellite", "landsat"),
        *("--date1", "2024-07-01", "--date2", "2024-07-08", "--local", "--quiet", "--json"),
    ]
    assert run([*arguments, *more]) == 0
    submitted: dict[str, Any] = json.loads(capsys.readouterr().out)
    return submitted


def ended(cloud: Cloud, execution: str) -> dict[str, Any]:
    client = cloud.client("stepfunctions")

    def status() -> str:
        answer: str = client.describe_execution(executionArn=execution)["status"]
        return answer

    def facts() -> Any:
        return client.get_execution_history(executionArn=execution)["events"][-12:]

    wait_for(lambda: status() != "RUNNING", 120, facts)
    answer: dict[str, Any] = client.describe_execution(executionArn=execution)
    if answer["status"] != "SUCCEEDED":
        answer["last_events"] = facts()
    return answer


@pytest.fixture
def broken(home: Path) -> Iterator[dict[Path, bytes]]:
    with damaged_archive(home) as damaged:
        yield damaged


@pytest.mark.embedded
def test_an_array_with_a_failing_child_is_tried_again_verified_and_told(
    cloud: Cloud,
    store: Store,
    broken: dict[Path, bytes],
    told: Told,
    capsys: pytest.CaptureFixture[str],
) -> None:
    submitted = submit(capsys, "--regions", f"{FAR},{NEAR}")
    wait_for(lambda: len(read_family(store, submitted["run_id"]).members) > 1, 90)
    mend(broken)
    answer = ended(cloud, submitted["jobs"][0]["job_id"])
    assert answer["status"] == "SUCCEEDED", json.dumps(answer, indent=1, default=str)
    family = read_family(store, submitted["run_id"])
    first = family.root
    assert {unit.region for slot in family.members[1].manifest.slots for unit in slot} == {FAR}
    assert len(first.slots) == 2
    assert run(["batch", "verify", submitted["run_id"], "--local", "--quiet"]) == 0
    assert run(["batch", "status", submitted["run_id"], "--local", "--quiet"]) == 0
    (message,) = told()
    assert message["Subject"] == f"glacierflow: complete: {submitted['run_id']}"[:100]
    assert message["Message"].startswith(f"Run {submitted['run_id']} with 1 retries: 2 units, 2 complete.")


@pytest.mark.embedded
def test_a_run_goes_over_lambda_by_a_distributed_map_and_what_failed_there_to_batch(
    cloud: Cloud,
    store: Store,
    broken: dict[Path, bytes],
    told: Told,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for entry in list(store.list("1_download_merge_and_clip/")):
        # of another test; what is there is not read again
        cloud.client("s3").delete_object(Bucket=BUCKET, Key=entry.key)
    submitted = submit(capsys, "--regions", f"{FAR},{NEAR}", "--via", "lambda", "--force")
    run_id, (job, *_) = submitted["run_id"], submitted["jobs"]
    wait_for(lambda: len(read_family(store, run_id).members) > 1, 90)
    assert job["log_group"] == "/aws/lambda/glacierflow-lambda"
    assert run(["batch", "why", run_id, NEAR, "--local", "--quiet"]) == 0
    # while the machine goes on, what has ended on Lambda is told by its receipts, and nothing else is live
    view = view_of(read_run_manifest(store, run_id), read_jobs(store, run_id), store, cloud)
    assert sorted(state.state for state in view.slots.values()) == ["FAILED", "SUCCEEDED"]
    mend(broken)
    answer = ended(cloud, job["job_id"])
    assert answer["status"] == "SUCCEEDED", json.dumps(answer, indent=1, default=str)
    report = json.loads(answer["output"])["report"]
    assert report["run_id"] == run_id
    first, again = read_family(store, run_id).members[:2]
    far, near = (
        next(index for index, slot in enumerate(first.manifest.slots) if slot[0].region == region)
        for region in (FAR, NEAR)
    )
    assert set(first.attempts[near].outcomes.values()) == {"done"}
    assert "done" not in first.attempts[far].outcomes.values()
    assert {unit.region for slot in again.manifest.slots for unit in slot} == {FAR}
    assert report["complete"]
    assert [one["Message"].split()[1] for one in told()] == [run_id]
    assert run(["batch", "status", run_id, "--local", "--quiet"]) == 0


@pytest.mark.embedded
def test_an_execution_that_is_given_a_selection_plans_the_run_itself(
    cloud: Cloud, store: Store, told: Told
) -> None:
    machine = cloud.client("stepfunctions").list_state_machines()["stateMachines"][0]["stateMachineArn"]
    selection = {"regions": NEAR, "date1": "2024-07-01", "date2": "2024-07-08", "satellite": "landsat"}
    started = cloud.client("stepfunctions").start_execution(
        stateMachineArn=machine, input=json.dumps({"selection": selection, "via": "lambda"})
    )
    answer = ended(cloud, started["executionArn"])
    assert answer["status"] == "SUCCEEDED", json.dumps(answer, indent=1, default=str)
    report = json.loads(answer["output"])["report"]
    assert report["run_id"] in run_ids(store)
    assert [one["Message"].split()[1] for one in told()] == [report["run_id"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--via", "lambda"], "--via = lambda is about the state machine, and --service is batch"),
        (["--service", "lambda", "--via", "lambda"], "and --service is lambda"),
        (["--service", "stepfunctions", "--via", "pigeon"], "--via = pigeon is not accepted"),
    ],
)
def test_a_way_that_no_state_machine_goes_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_home(tmp_path):
        for command in (["submit", "--dry-run"], ["batch", "plan"]):
            assert run([*command, *PLANNED, "--regions", NEAR, *words]) == 64
            assert said in capsys.readouterr().err


def test_a_dry_run_tells_the_way_and_refuses_what_does_not_fit_the_function(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = ["--service", "stepfunctions", "--dry-run", "--json", "--s3-bucket", "made-up"]
    with at_home(tmp_path):
        asked = ["submit", *PLANNED, "--regions", NEAR, *machine]
        assert run(asked) == 0
        assert not any("lambda" in call for call in json.loads(capsys.readouterr().out)["calls"])
        assert run([*asked, "--via", "lambda"]) == 0
        calls = json.loads(capsys.readouterr().out)["calls"]
        assert "lambda:GetFunction glacierflow-lambda" in calls
        assert any(call.startswith("states:StartExecution") and "via: lambda" in call for call in calls)
        long = ["submit", "--satellite", "sentinel2", "--date1", "2016-01-01", "--date2", "2024-12-31"]
        assert run([*long, "--regions", NEAR, *machine]) == 0
        assert run([*long, "--regions", NEAR, *machine, "--via", "lambda"]) == 64
        assert f"{NEAR} is expected to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "ended_map", "states"),
    [
        ("RUNNING", False, {0: "SUCCEEDED", 1: "SUBMITTED"}),
        ("RUNNING", True, {0: "SUCCEEDED", 1: "FAILED"}),
        ("FAILED", False, {0: "SUCCEEDED", 1: "FAILED"}),
        (None, False, {0: "SUCCEEDED"}),
    ],
)
def test_slots_that_go_over_lambda_are_told_by_what_they_left_and_none_waits_after_the_map(
    status: str | None,
    ended_map: bool,
    states: dict[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AWS Batch is not asked: there is no client of it here."""
    manifest, store = some_manifest(2).model_copy(update={"service": "stepfunctions"}), LocalStore(tmp_path)
    put_attempt(store, manifest, 0, "no_data")
    if ended_map:
        store.put(RunLayout(manifest.run_id).mapped, b"{}")
    with stubbed(monkeypatch, "stepfunctions") as stub:
        if status is None:
            stub.add_client_error("describe_execution", "ExecutionDoesNotExist", http_status_code=400)
        else:
            arn = "arn:aws:states:us-west-2:123456789012:execution:glacierflow:one"
            now = dt.datetime.now(dt.UTC)
            answer = {"executionArn": arn, "stateMachineArn": arn, "status": status, "startDate": now}
            stub.add_response("describe_execution", answer)
        job = some_job(0, 2).model_copy(update={"service": "stepfunctions", "job_queue": "lambda"})
        view = view_of(manifest, [job], store, Cloud())
        assert {slot: state.state for slot, state in view.slots.items()} == states


class Refusing:
    """A cloud whose Batch has taken no job, while the state machine's execution goes on."""

    region = "us-west-2"
    embedded = False

    def client(self, service: str) -> Refusing:
        assert service in {"batch", "stepfunctions"}
        return self

    def get_paginator(self, call: str) -> Refusing:
        assert call == "list_jobs"
        return self

    def paginate(self, **_: object) -> list[dict[str, Any]]:
        return [{"jobSummaryList": []}]

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803
        return {"executionArn": executionArn, "status": "RUNNING"}


@pytest.fixture
def refused(tmp_path: Path) -> tuple[Office, dict[str, Any]]:
    """A run of two slots whose one array the state machine has come to; and the machine's work."""
    store, cloud = LocalStore(tmp_path), cast("Cloud", Refusing())
    manifest = some_manifest(2, str(tmp_path)).model_copy(update={"service": "stepfunctions"})
    write_manifest(manifest, store)
    write_job(store, manifest.run_id, some_job(0, 2).model_copy(update={"service": "stepfunctions"}))
    loaded = load_settings(environ={})
    work = {"run_id": manifest.run_id, "via": "batch", "round": 0, "rounds": 0}
    return Office(loaded, cloud, find_places(loaded, None), store), work


def states(office: Office, run_id: str) -> set[str]:
    jobs = read_jobs(office.store, run_id)
    view = view_of(read_run_manifest(office.store, run_id), jobs, office.store, office.cloud)
    return {state.state for state in view.slots.values()}


def test_an_array_that_batch_did_not_take_is_not_waited_for(refused: tuple[Office, dict[str, Any]]) -> None:
    office, work = refused
    waiting = assess(office, {"work": work | {"ended": [{"JobName": "of another run"}]}})
    assert (waiting["live"], waiting["pauses"]) == (2, 1)
    assert states(office, work["run_id"]) == {"SUBMITTED"}
    ended = [{"JobName": job_name(work["run_id"], 0), "Error": "Batch.ClientException", "Cause": "no queue"}]
    told = assess(office, {"work": waiting | {"ended": ended}})
    assert (told["live"], told["round"]) == (0, 1)
    assert "ended" not in told
    # the same for whoever looks, also later
    assert states(office, work["run_id"]) == {"FAILED"}
    assert assess(office, {"work": told})["live"] == 0


def test_the_machine_does_not_wait_until_its_events_run_out(refused: tuple[Office, dict[str, Any]]) -> None:
    office, work = refused
    assert assess(office, {"work": work | {"pauses": MOST_PAUSES - 1}})["live"] == 2
    assert assess(office, {"work": work | {"pauses": MOST_PAUSES}})["live"] == 0


def test_whatever_goes_wrong_in_the_machine_is_told() -> None:
    states = definition()["States"]
    worked = {name: state for name, state in states.items() if state["Type"] in {"Task", "Map"}}
    assert len(worked) >= 6
    for name, state in worked.items():
        (catch,) = state["Catch"]
        assert catch["ErrorEquals"] == ["States.ALL"], name
        assert catch["Next"] == ("Complete" if name == "Tell" else "Broken")
    assert states["Broken"]["Next"] == "Tell"


@pytest.mark.embedded
def test_the_machine_passes_on_what_batch_did_not_take_and_tells_what_broke_it(
    cloud: Cloud, store: Store, told: Told
) -> None:
    client = cloud.client("stepfunctions")
    deployed = client.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    machine = client.describe_state_machine(stateMachineArn=deployed)
    part = json.loads(machine["definition"]) | {"StartAt": "Arrays"}
    part["States"]["Arrays"] |= {"Next": "Done"}
    part["States"]["Arrays"]["ItemProcessor"]["States"]["Submit"].pop("Retry")
    arn = client.create_state_machine(name="part", definition=json.dumps(part), roleArn=machine["roleArn"])[
        "stateMachineArn"
    ]
    request = {"JobName": "gf-x-0", "JobQueue": "none-of-that-name", "JobDefinition": "glacierflow-7500"}
    work = json.dumps({"work": {"arrays": [request]}})
    started = client.start_execution(stateMachineArn=arn, name="part", input=work)
    answer = ended(cloud, started["executionArn"])
    assert answer["status"] == "SUCCEEDED", json.dumps(answer, indent=1, default=str)
    (one,) = json.loads(answer["output"])["work"]["ended"]
    assert one["JobName"] == "gf-x-0"
    assert one["Error"].startswith("Batch.")
    assert "none-of-that-name" in one["Cause"]
    # an input that nobody understands ends in a message, too
    started = client.start_execution(
        stateMachineArn=deployed, name="pigeon", input=json.dumps({"via": "pigeon"})
    )
    assert ended(cloud, started["executionArn"])["status"] == "FAILED"
    (message,) = told()
    assert message["Subject"] == "glacierflow: a state machine broke off"
    assert "glacierflow-stepfunctions:" in message["Message"]
    assert " broke off: " in message["Message"]


@pytest.mark.embedded
def test_a_run_that_is_cancelled_whole_stops_its_execution(
    cloud: Cloud, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted = submit(capsys, "--regions", NEAR, "--reprocess", "--force")
    execution = submitted["jobs"][0]["job_id"]
    assert run(["batch", "cancel", submitted["run_id"], "--local", "--quiet"]) == 0
    assert ended(cloud, execution)["status"] == "ABORTED"
    assert len(read_family(store, submitted["run_id"]).members) == 1, "nothing is tried again"


@pytest.fixture
def office(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Office:
    """This process as the scheduler's function."""
    monkeypatch.setenv("GLACIERFLOW_EMBEDDED", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(cloud.endpoint_url))
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("GLACIERFLOW_S3_BUCKET", BUCKET)
    return open_office()


@pytest.mark.embedded
def test_a_clock_submits_what_is_new_since_last_time(office: Office) -> None:
    event = {"do": "schedule", "satellite": "landsat", "regions": NEAR, "today": "2024-08-01"}
    first = handler(event, None)
    assert first["submitted"]
    assert "-20240702-20240801-" in first["run_id"], "the first time it looks a month back"
    again = handler(event | {"today": "2024-08-08"}, None)
    assert "-20240722-20240808-" in again["run_id"], "then from the last time on, with ten days of overlap"


@pytest.mark.embedded
def test_a_clocks_run_may_be_given_to_the_state_machine_which_verifies_and_tells(
    cloud: Cloud, store: Store, told: Told
) -> None:
    event = {
        "do": "schedule",
        "satellite": "landsat",
        "regions": f"{NEAR},135_SermilikSW",
        "today": "2024-07-09",
    }
    called = cloud.client("lambda").invoke(FunctionName="glacierflow-schedule", Payload=json.dumps(event))
    answer = json.loads(called["Payload"].read())
    assert answer.get("submitted"), answer
    (job,) = read_jobs(store, answer["run_id"])
    assert job.service == "stepfunctions"
    assert ended(cloud, job.job_id)["status"] == "SUCCEEDED"
    assert [one["Message"].split()[1] for one in told()] == [answer["run_id"]]
    policy = cloud.client("iam").get_role_policy(
        RoleName="glacierflow-schedule-function-us-west-2", PolicyName="scheduler"
    )["PolicyDocument"]["Statement"]
    machine = "arn:aws:states:us-west-2:123456789012:stateMachine:glacierflow-stepfunctions"
    assert {one["Resource"] for one in policy if one["Action"] == "states:StartExecution"} == {machine}


@pytest.mark.embedded
def test_an_announced_scene_makes_a_run_where_it_meets_a_region(office: Office) -> None:
    def message(item: dict[str, Any]) -> dict[str, Any]:
        return {"Sns": {"Message": json.dumps(item)}}

    when = {"datetime": "2024-07-15T15:29:11Z"}
    inside = {"id": "S2A_22VFP_20240715_0_L2A", "collection": "sentinel-2-l2a", "properties": when}
    outside = {"id": "S2A_33UUU_20240715_0_L2A", "collection": "sentinel-2-l2a", "properties": when}
    landsat = {
        "id": "LC08_L1TP_001018_20240715_02_T1",
        "collection": "landsat-c2l1",
        "properties": when,
        "bbox": [-49.0, 60.9, -47.0, 61.4],
    }
    answer = handler({"Records": [message(inside), message(outside), message(landsat)]}, None)
    assert answer["ignored"] == ["S2A_33UUU_20240715_0_L2A"]
    assert len(answer["runs"]) == 2


@pytest.mark.embedded
def test_a_tile_announced_while_its_neighbours_run_lives_is_left_to_the_clock(
    office: Office, store: Store
) -> None:
    def announce(tile: str) -> list[str]:
        when = {"datetime": "2024-07-15T15:29:11Z"}
        item = {"id": f"S2A_{tile}_20240715_0_L2A", "collection": "sentinel-2-l2a", "properties": when}
        runs: list[str] = handler({"Records": [{"Sns": {"Message": json.dumps(item)}}]}, None)["runs"]
        return runs

    both = ["22XER", "22XDR"]
    assert [announce(tile) for tile in both] == [announce(both[0])] * 2, "one run for both"
    clock = {"do": "schedule", "satellite": "sentinel2", "regions": "189_Ryder"}
    for today in ("2024-07-16", "2024-07-25"):
        answer = handler(clock | {"today": today}, None)
        assert answer["submitted"]
        ((unit,),) = read_run_manifest(store, answer["run_id"]).slots
        assert unit.region == "189_Ryder"
        assert unit.date1 <= dt.date(2024, 7, 15) <= unit.date2, "the day is looked at again"


@pytest.mark.embedded
def test_usgs_announces_a_product_by_its_id_and_place(
    office: Office, cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages as ``public-c2-notify-v2`` sends them; the footprint is in the item beside the product."""

    def message(product: str, level: str = "level-1") -> dict[str, Any]:
        place = f"s3://usgs-landsat/collection02/{level}/standard/oli-tirs/2024/001/018/{product}/"
        told = {"landsat_product_id": product, "s3_location": place}
        return {"Sns": {"Message": json.dumps(told)}}

    s3 = cloud.client("s3")
    if "usgs-landsat" not in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket="usgs-landsat", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    inside, outside = (f"LC09_L1TP_{where}_20240716_20240717_02_T1" for where in ("001018", "077023"))
    boxes = {inside: [-49.0, 60.9, -47.0, 61.4], outside: [-3.0, 52.0, 1.0, 54.0]}
    for product, box in boxes.items():
        place = f"collection02/level-1/standard/oli-tirs/2024/001/018/{product}/{product}_stac.json"
        content = json.dumps({"id": product, "collection": "landsat-c2l1", "bbox": box}).encode()
        s3.put_object(Bucket="usgs-landsat", Key=place, Body=content, RequestPayer="requester")
    surface = "LC09_L2SP_001018_20240716_20240717_02_T1"
    strange = {"Sns": {"Message": "the archive rests on Sunday"}}
    records = [message(inside), message(outside), message(surface, "level-2"), strange]
    with caplog.at_level(logging.INFO, "glacierflow"):
        answer = handler({"Records": records}, None)
    assert len(answer["runs"]) == 1
    manifest = read_run_manifest(open_store(f"s3://{BUCKET}", cloud), answer["runs"][0])
    assert NEAR in manifest.regions
    days = {(unit.date1, unit.date2) for slot in manifest.slots for unit in slot}
    assert days == {(dt.date(2024, 7, 16), dt.date(2024, 7, 16))}
    assert answer["ignored"] == [outside, surface, "the archive rests on Sunday"]
    assert "ignored, no scene is in the message: the archive rests on Sunday" in caplog.text
    assert f"ignored, no Level-1 product: {surface}" in caplog.text
    elsewhere = {"landsat_product_id": inside, "s3_location": "s3://somebody/else/"}
    with pytest.raises(UsageError, match="not in s3://usgs-landsat"):
        handler({"Records": [{"Sns": {"Message": json.dumps(elsewhere)}}]}, None)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"do": "dance"}, "do = dance is not known"),
        ({}, "do = None is not known"),
        ({"do": "schedule", "satellite": "moon"}, "satellite = moon is not known"),
        ({"do": "prepare", "input": {"via": "pigeon"}}, "via = pigeon is not known"),
        ({"do": "prepare", "input": {"selection": {"glaciers": "all"}}}, "the selection has glaciers"),
        ({"do": "prepare", "input": {"manifest": "s3://b/x"}}, "is none of a run"),
    ],
)
@pytest.mark.embedded
def test_what_the_scheduler_does_not_understand_it_says(
    office: Office, event: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        handler(event, None)
