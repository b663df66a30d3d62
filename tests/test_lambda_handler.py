"""The Lambda handler: slots of a run, the predecessor's event, deadlines and refusals."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.functions.handler import SlotFailed, handler
from glacierflow.local import control
from glacierflow.local.sample import sample_bundle
from glacierflow.model.layout import RunLayout
from glacierflow.model.receipt import Receipt
from glacierflow.regions import load_catalogue
from glacierflow.runs.records import list_attempts
from glacierflow.store import Store, open_store

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
    assert 0 < body["processing_time_remaining"] <= 300
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


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({}, "the event has nothing"),
        ({"satellite": "landsat"}, "expected manifest and slot, or satellite and region"),
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
