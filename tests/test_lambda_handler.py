"""The Lambda handler: slots of a run, the predecessor's event, deadlines and refusals."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.session import get_session
from botocore.stub import Stubber
from embedded import wait_for
from moto import mock_aws

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.functions.handler import SlotFailed, handler
from glacierflow.launch.lambda_ import MOST_ROUNDS, record_arrays, send_on
from glacierflow.launch.launcher import manifest_uri
from glacierflow.live.states import view_of
from glacierflow.local import control
from glacierflow.local.sample import sample_bundle
from glacierflow.model.layout import RunLayout
from glacierflow.model.manifest import Manifest
from glacierflow.model.receipt import Receipt
from glacierflow.regions import load_catalogue
from glacierflow.runs.plan import build_manifest, plan_slots
from glacierflow.runs.records import list_attempts
from glacierflow.settings import load_settings
from glacierflow.step.context import Progress
from glacierflow.store import Store, open_store
from glacierflow.task import process_slot

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

REGION = "134_Arsuk"
EVENT = {
    "satellite": "landsat",
    "region": REGION,
    "date1": "2024-08-01",
    "date2": "2024-08-10",
    "s3_bucket": "made-up",
    "s3_base_path": "results",
    "job_name": "test",
}


class Context:
    """An invocation with so much time left."""

    def __init__(self, seconds: float = 300) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return round(self.seconds * 1000)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    regions = load_catalogue().select([REGION], None).regions
    days = dt.date(2024, 8, 1), dt.date(2024, 8, 10)
    return sample_bundle(tmp_path_factory.mktemp("sample"), regions, *days, ["landsat"])


@pytest.fixture
def cloud(cloud_endpoint: Endpoint, archive: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The embedded cloud with the archive; this process is a function in it."""
    control.up(Path(cloud_endpoint.home), archive=archive, bucket="made-up")
    function = {
        "GLACIERFLOW_EMBEDDED": "1",
        "AWS_ENDPOINT_URL": cloud_endpoint.url,
        "AWS_REGION": "us-west-2",
        "GLACIERFLOW_LANDSAT_STAC_URL": cloud_endpoint.stac_url,
        "GLACIERFLOW_IMAGERY_S3_ENDPOINT": cloud_endpoint.url,
    }
    for name, value in function.items():
        monkeypatch.setenv(name, value)
    return Cloud(endpoint_url=cloud_endpoint.url, embedded=True)


@pytest.fixture
def store(cloud: Cloud) -> Store:
    return open_store("s3://made-up", cloud)


def body_of(answer: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(answer["body"])
    return body


@pytest.mark.embedded
def test_the_predecessors_event_is_answered_as_it_was(store: Store) -> None:
    settings = b"[IMAGERY]\nresampling = nearest\n"
    store.put("scripts/greenland-glacier-flow/config.ini", settings)
    answer = handler(EVENT, Context())
    assert answer["statusCode"] == 200, answer
    body = body_of(answer)
    assert body["message"] == "landsat processing completed"
    said = {name: body[name] for name in ("satellite", "region", "date1", "date2", "s3_bucket", "job_name")}
    assert said == {name: EVENT[name] for name in said}
    assert body["s3_location"] == "s3://made-up/results/landsat/"
    assert body["processing_time_remaining"] == 300_000, "milliseconds, as Lambda counts them"
    assert body["uploaded_files"] == len(body["files_uploaded"]) > 0
    assert all(store.exists(key) for key in body["files_uploaded"])
    manifest = json.loads(store.get(RunLayout(body["run_id"]).manifest) or b"")
    assert manifest["service"] == "lambda"
    assert manifest["settings"]["resampling"] == "nearest"
    assert manifest["settings_source"]["uri"] == "s3://made-up/scripts/greenland-glacier-flow/config.ini"


@pytest.mark.embedded
def test_a_slot_of_a_run_is_processed_and_its_deadline_is_kept(store: Store) -> None:
    first = body_of(handler(EVENT | {"s3_base_path": "again"}, Context()))
    where = f"s3://made-up/{RunLayout(first['run_id']).manifest}"
    answer = handler({"manifest": where, "slot": 0}, Context())
    assert (answer["outcome"], answer["exit_code"]) == ("done", 0)
    assert (answer["written"], answer["skipped"]) == (0, first["uploaded_files"])
    late = handler({"manifest": where, "slot": 0}, Context(seconds=0))
    assert late["outcome"] == "interrupted"
    attempts = list_attempts(store, first["run_id"])[0]
    assert attempts.outcomes == {1: "done", 2: "done", 3: "interrupted"}


@pytest.mark.embedded
def test_an_event_that_meets_its_deadline_says_what_is_left(store: Store) -> None:
    answer = handler(
        EVENT | {"s3_base_path": "late", "regions": f"{REGION},135_SermilikSW"}, Context(seconds=0)
    )
    body = body_of(answer)
    assert answer["statusCode"] == 202
    assert body["left"] == [REGION, "135_SermilikSW"]
    assert "stopped before the deadline" in body["message"]
    assert body["uploaded_files"] == 0
    attempts = list_attempts(store, body["run_id"])
    assert {slot: one.outcomes for slot, one in attempts.items()} == {
        0: {1: "interrupted"},
        1: {1: "interrupted"},
    }


@pytest.mark.embedded
def test_the_function_runs_in_the_embedded_lambda(cloud: Cloud, store: Store) -> None:
    functions = cloud.client("lambda")
    cloud.client("iam").create_role(RoleName="for-a-function", AssumeRolePolicyDocument="{}")
    stac, endpoint = f"{cloud.endpoint_url}/stac", str(cloud.endpoint_url)
    functions.create_function(
        FunctionName="function-of-a-test",
        Role="arn:aws:iam::123456789012:role/for-a-function",
        PackageType="Image",
        Code={"ImageUri": "made-up"},
        Timeout=900,
        MemorySize=10240,
        Environment={
            "Variables": {"GLACIERFLOW_LANDSAT_STAC_URL": stac, "GLACIERFLOW_IMAGERY_S3_ENDPOINT": endpoint}
        },
    )
    event = json.dumps(EVENT | {"s3_base_path": "embedded", "date2": "2024-08-01"})
    answer = functions.invoke(FunctionName="function-of-a-test", Payload=event)
    payload = json.loads(answer["Payload"].read())
    assert payload["statusCode"] == 200, payload
    receipts = list(store.list(f"{RunLayout(body_of(payload)['run_id']).slot_prefix(0)}"))
    assert len(receipts) == 2


FUNCTION = "glacier-processing"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """This process is the function of that name, and Lambda answers what is given beforehand, no more."""
    client: Any = get_session().create_client(
        "lambda", region_name="us-west-2", aws_access_key_id="x", aws_secret_access_key="x"
    )
    made = Cloud.client
    monkeypatch.setattr(
        Cloud, "client", lambda cloud, service: client if service == "lambda" else made(cloud, service)
    )
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", FUNCTION)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def planned(store: Store, base: str, *, packed: bool = False) -> Manifest:
    """A run of one slot: ten days as one unit, or as two."""
    catalogue = load_catalogue()
    regions = catalogue.select([REGION], None).regions
    days = [(1, 5), (6, 10)] if packed else [(1, 10)]
    dates = [(dt.date(2024, 8, first), dt.date(2024, 8, last)) for first, last in days]
    units = tuple(plan_slots("landsat", regions, *of)[0][0] for of in dates)
    manifest = build_manifest(
        (units,),
        regions,
        load_settings(overrides={"STORAGE.s3_base_path": base}).settings.step_settings(),
        catalogue_sha256=catalogue.sha256,
        store="s3://made-up",
        service="lambda",
    )
    store.put(RunLayout(manifest.run_id).manifest, manifest.model_dump_json().encode())
    return manifest


def state_of(manifest: Manifest, store: Store) -> tuple[str, str | None]:
    jobs = record_arrays(manifest, store, "lambda", job_id="arn:function", place=FUNCTION, log_group=None)
    slot = view_of(manifest, jobs, store, Cloud()).slots[0]
    return slot.state, slot.status_reason


@pytest.mark.embedded
def test_what_the_deadline_left_is_sent_on_as_often_as_was_said_and_then_no_more(
    store: Store, asked: Stubber
) -> None:
    manifest = planned(store, "rounds")
    event: dict[str, Any] = {"manifest": manifest_uri(manifest), "slot": 0}
    rounds = [{"rounds": 2}, {"rounds": 1}, {}]
    for own, others in itertools.pairwise(rounds):
        request = {
            "FunctionName": FUNCTION,
            "InvocationType": "Event",
            "Payload": json.dumps(event | others),
        }
        asked.add_response("invoke", {"StatusCode": 202}, request)
        answer = handler(event | own, Context(seconds=0))
        assert (answer["outcome"], answer["sent_on"]) == ("interrupted", True)
        asked.assert_no_pending_responses()
        assert state_of(manifest, store) == ("SUBMITTED", None)
    last = handler(event, Context(seconds=0))
    assert (last["attempt"], last["outcome"], last["sent_on"]) == (3, "interrupted", False)
    attempts = list_attempts(store, manifest.run_id)[0]
    assert attempts.outcomes == dict.fromkeys((1, 2, 3), "interrupted")
    assert state_of(manifest, store) == ("FAILED", "Lambda's deadline cut the invocation")


@pytest.mark.embedded
def test_what_ends_in_time_starts_nothing(store: Store, asked: Stubber) -> None:
    manifest = planned(store, "in-time")
    answer = handler({"manifest": manifest_uri(manifest), "slot": 0, "rounds": 2}, Context())
    assert (answer["outcome"], answer["sent_on"]) == ("done", False)
    assert state_of(manifest, store) == ("SUCCEEDED", None)


@pytest.mark.embedded
def test_what_cannot_be_sent_on_raises_and_its_receipt_does_not_promise_it(
    store: Store, asked: Stubber
) -> None:
    manifest = planned(store, "refused")
    asked.add_client_error("invoke", "AccessDeniedException", http_status_code=403)
    with pytest.raises(SlotFailed, match="what is left could not be sent on"):
        handler({"manifest": manifest_uri(manifest), "slot": 0, "rounds": 1}, Context(seconds=0))
    receipt = store.get(RunLayout(manifest.run_id).receipt(0, 1, "interrupted"))
    assert Receipt.model_validate_json(receipt or b"").sent_on is False
    assert state_of(manifest, store)[0] == "FAILED"


@pytest.mark.embedded
def test_the_next_invocation_makes_what_the_first_one_left(cloud: Cloud, store: Store) -> None:
    """The first stops after one of two units; the second is a process that the embedded Lambda starts."""
    name = "function-that-goes-on"
    cloud.client("iam").create_role(RoleName="goes-on", AssumeRolePolicyDocument="{}")
    cloud.client("lambda").create_function(
        FunctionName=name,
        Role="arn:aws:iam::123456789012:role/goes-on",
        PackageType="Image",
        Code={"ImageUri": "made-up"},
        Timeout=900,
        MemorySize=10240,
    )
    manifest, stop = planned(store, "left", packed=True), threading.Event()

    def cut(progress: Progress) -> None:
        if progress.unit == manifest.slots[0][1]:
            stop.set()

    def going_on() -> bool:
        send_on(cloud, name, manifest, 0, 0)
        return True

    first = process_slot(manifest, 0, store, cloud, stop=stop, tell=cut, send_on=going_on)
    assert first.sent_on
    assert [end.outcome for end in first.unit_ends] == ["done", "interrupted"]
    receipts = RunLayout(manifest.run_id)
    wait_for(
        lambda: store.exists(receipts.receipt(0, 2, "done")),
        60,
        lambda: (
            [one.key for one in store.list(receipts.attempts_prefix)],
            cloud.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"],
        ),
    )
    second = Receipt.model_validate_json(store.get(receipts.receipt(0, 2, "done")) or b"")
    assert {there.key for there in second.already_there} == {made.key for made in first.products} != set()
    assert {made.unit for made in second.products} == {1}
    assert all(store.exists(there.key) for there in (*second.already_there, *second.products))
    assert list_attempts(store, manifest.run_id)[0].outcomes == {1: "interrupted", 2: "done"}
    assert state_of(manifest, store)[0] == "SUCCEEDED"


@pytest.mark.parametrize("rounds", [-1, MOST_ROUNDS + 1, "2", True])
def test_rounds_that_lambda_would_stop_are_refused(rounds: Any, made_up: None, store_of_none: str) -> None:
    with pytest.raises(UsageError, match=f"rounds = {rounds} is not"):
        handler({"manifest": store_of_none, "slot": 0, "rounds": rounds}, Context())


@pytest.fixture
def store_of_none(made_up: None) -> str:
    """Where the manifest of a run lies that nothing has begun."""
    return manifest_uri(planned(open_store("s3://made-up", Cloud()), "none"))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({}, "the event has nothing"),
        ({"key1": "value1"}, "expected manifest and slot, or satellite and region"),
        ({"manifest": "s3://made-up/m.json", "slot": "0"}, "slot = 0 is not a whole number"),
        ({"manifest": "s3://made-up/m.json", "slot": 0}, "there is no such object"),
    ],
)
def test_an_event_that_cannot_be_answered_raises(event: dict[str, Any], said: str, made_up: None) -> None:
    with pytest.raises(UsageError, match=said):
        handler(event, Context())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"region": "134_Arsukk"}, "did you mean 134_Arsuk"),
        ({"region": ""}, "names no region"),
        ({"s3_bucket": ""}, "names no s3_bucket"),
        ({"satellite": "sentinel3"}, "sentinel3"),
        ({"date1": "yesterday"}, "the event: [DATES] date1 = yesterday is refused"),
    ],
)
def test_an_old_event_that_is_wrong_is_answered_with_500(
    change: dict[str, Any], said: str, made_up: None
) -> None:
    answer = handler(EVENT | change, Context())
    assert answer["statusCode"] == 500
    body = body_of(answer)
    assert said in body["error"]
    assert body["returncode"] == 64
    assert {"processing_stdout", "processing_stderr"} <= body.keys()


def test_what_an_event_leaves_out_is_filled_as_the_predecessor_did(
    made_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: dict[str, Any] = {"outcome": "no_data", "exit_code": 0, "slot": 0, "products": ()}
    monkeypatch.setattr(
        "glacierflow.functions.event.process_slot", lambda *_, **__: Receipt.model_construct(**ended)
    )
    where = {"LocationConstraint": "us-west-2"}
    s3 = Cloud().client("s3")
    s3.create_bucket(Bucket="greenland-glacier-data", CreateBucketConfiguration=where)
    body = body_of(handler({"satellite": "sentinel2"}, Context()))
    filled = {
        "satellite": "sentinel2",
        "region": "140_CentralLindenow",
        "date1": "2024-10-01",
        "date2": "2024-10-05",
        "s3_bucket": "greenland-glacier-data",
        "s3_location": "s3://greenland-glacier-data/1_download_merge_and_clip/sentinel2/",
        "job_name": "sentinel2_140_CentralLindenow_2024-10-01",
    }
    assert {name: body[name] for name in filled} == filled
    key = "scripts/greenland-glacier-flow/config.ini"
    content = b"[DATES]\ndate1 = 2024-07-03\ndate2 = 2024-07-09\n[SETTINGS]\nsatellite = landsat\n"
    s3.put_object(Bucket="made-up", Key=key, Body=content)
    told = body_of(handler({"region": REGION, "s3_bucket": "made-up"}, Context()))
    assert (told["satellite"], told["date1"], told["date2"]) == ("landsat", "2024-07-03", "2024-07-09")


def test_a_slot_that_goes_wrong_raises_so_that_lambda_counts_it(
    made_up: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: dict[str, Any] = {"outcome": "failed", "exit_code": 65, "error": "no scene could be read"}
    receipt = Receipt.model_construct(**wrong, run_id="r")
    monkeypatch.setattr("glacierflow.functions.handler.process_slot", lambda *_, **__: receipt)
    monkeypatch.setattr(
        "glacierflow.functions.handler.read_manifest",
        lambda *_: type("M", (), {"store": "s3://made-up", "run_id": "r"}),
    )
    with pytest.raises(SlotFailed, match="failed, exit code 65: no scene could be read"):
        handler({"manifest": "s3://made-up/m.json", "slot": 0}, Context())


def test_winter_is_remarked_on(made_up: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: dict[str, Any] = {"outcome": "no_data", "exit_code": 0, "slot": 0, "products": ()}
    nothing = Receipt.model_construct(**ended)
    monkeypatch.setattr("glacierflow.functions.event.process_slot", lambda *_, **__: nothing)
    dark = {"date1": "2023-11-01", "date2": "2024-02-01"}
    assert "no month of May to September" in body_of(handler(EVENT | dark, Context()))["message"]
    assert "May" not in body_of(handler(EVENT | {"date1": "2023-11-01"}, Context()))["message"]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bucket in moto, without anything in it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with mock_aws():
        where = {"LocationConstraint": "us-west-2"}
        Cloud().client("s3").create_bucket(Bucket="made-up", CreateBucketConfiguration=where)
        yield
