"""``glacierflow lambda`` as typed, on the embedded cloud: deployed, tested, called, continued on Batch."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from embedded import at_home, cloud_of, own_cloud

from glacierflow.cli import context
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError
from glacierflow.functions import package
from glacierflow.launch import lambda_
from glacierflow.launch.lambda_ import Answer
from glacierflow.regions import load_catalogue
from glacierflow.runs.records import read_jobs
from glacierflow.store import S3Store

IMAGE = "123456789012.dkr.ecr.us-west-2.amazonaws.com/glacierflow@sha256:"
NAME = "glacierflow-lambda"
HURRIED = "hurried"
TESTS = str(Path(__file__).parent)
ASKED = ["--satellite", "landsat", "--date1", "2024-08-01", "--date2", "2024-08-04", "--local", "--quiet"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A person's folder, with the function deployed to an embedded cloud of its own."""
    deploy = ["lambda", "deploy", "--local", "--yes", "--quiet", "--image-uri", IMAGE + "a" * 64]
    with own_cloud(tmp_path_factory.mktemp("lambda"), deploy) as folder:
        yield folder


@pytest.fixture
def home(shared: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    capsys.readouterr()
    with at_home(shared):
        yield shared


@pytest.mark.embedded
def test_deploying_again_points_the_function_at_the_other_image(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = IMAGE + "b" * 64
    assert run(["lambda", "deploy", "--local", "--yes", "--quiet", "--image-uri", other]) == 0
    assert f"image    {other}" in capsys.readouterr().out
    told = cloud_of(home).client("lambda").get_function(FunctionName=NAME)
    assert told["Code"]["ImageUri"] == other
    # somebody pointed it elsewhere, which the stack does not know
    lambda_.point_at(cloud_of(home), NAME, IMAGE + "c" * 64)
    assert run(["lambda", "deploy", "--local", "--yes", "--quiet", "--image-uri", other]) == 0
    assert lambda_.function_facts(cloud_of(home), NAME).image == other


@pytest.mark.embedded
def test_the_reservation_of_the_function_is_taken_away_and_given_again(home: Path) -> None:
    client = cloud_of(home).client("lambda")

    def reserved(number: str) -> int | None:
        parameter = f"ReservedConcurrency={number}"
        assert run(["stack", "deploy", "--local", "--with", "lambda", "--set", parameter, "-y", "-q"]) == 0
        told: dict[str, int] = client.get_function_concurrency(FunctionName=NAME)
        return told.get("ReservedConcurrentExecutions")

    assert reserved("0") is None
    assert reserved("50") == 50


@pytest.mark.embedded
def test_test_finds_a_good_function_good_and_names_what_differs(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lambda", "test", "--local", "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == [
        *("configuration", "image", "version", "bucket", "the predecessor's event")
    ]
    assert run(["lambda", "test", "--local", "--quiet", "--s3-bucket", "greenland-glacier-data"]) == 0
    cloud_of(home).client("lambda").update_function_configuration(FunctionName=NAME, MemorySize=5120)
    try:
        capsys.readouterr()
        assert run(["lambda", "test", "--local", "--quiet"]) == 1
        assert "PROBLEM  configuration: 5120 MB" in capsys.readouterr().out
    finally:
        cloud_of(home).client("lambda").update_function_configuration(FunctionName=NAME, MemorySize=10240)


@pytest.mark.embedded
def test_invoke_answers_as_the_predecessor_did_and_logs_tell_the_rest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lambda", "invoke", "--region", "134_Arsuk", "--out", "result.json", *ASKED]) == 0
    answer = json.loads((home / "result.json").read_text())
    assert json.loads(capsys.readouterr().out) == answer
    assert answer["statusCode"] == 200
    body = json.loads(answer["body"])
    assert (body["region"], body["s3_bucket"]) == ("134_Arsuk", "greenland-glacier-data")
    assert body["uploaded_files"] == 1
    assert run(["logs", "function", "--local", "--grep", "REPORT"]) == 0
    logged = capsys.readouterr()
    assert "Memory Size: 10240 MB" in logged.out
    assert f"/aws/lambda/{NAME} " in logged.err
    # our own event: the same slot again, which finds its product in place
    event = {"manifest": f"s3://greenland-glacier-data/runs/{body['run_id']}/manifest.json", "slot": 0}
    (home / "event.json").write_text(json.dumps(event))
    assert run(["lambda", "invoke", "--event", "event.json", "--local", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 1


class Door:
    """The way to a STAC API. Some invocations are short of time: whom they ask is held until they end."""

    def __init__(self, url: str) -> None:
        self.open = threading.Event()
        self.short, self.passing = 1, 0
        """Invocations with little time, and requests of theirs that get through, the first ones."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                if self.path == "/seconds":
                    outer.short -= 1
                    seconds = "3" if outer.short >= 0 else "900"
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(seconds.encode())
                    return
                outer.passing -= 1
                if outer.short >= 0 > outer.passing:
                    outer.open.wait()
                with contextlib.suppress(ConnectionError):  # who asked has ended
                    self.send_response(302)
                    self.send_header("Location", url + self.path)
                    self.end_headers()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def door(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The function that is called asks it, for time and for scenes."""
    cloud = cloud_of(home)
    door, client = Door(f"{cloud.endpoint_url}/stac"), cloud.client("lambda")
    variables = {"GLACIERFLOW_LANDSAT_STAC_URL": door.url, "DOOR": door.url, "PYTHONPATH": TESTS}
    client.create_function(
        FunctionName=HURRIED,
        Role=lambda_.function_facts(cloud, NAME).role,
        PackageType="Image",
        Code={"ImageUri": IMAGE + "a" * 64},
        ImageConfig={"Command": ["function_handlers.hurried"]},
        Timeout=900,
        MemorySize=10240,
        Environment={"Variables": variables},
    )
    monkeypatch.setenv("GLACIERFLOW_FUNCTION_NAME", HURRIED)
    yield door
    door.open.set()
    door.server.shutdown()
    door.server.server_close()
    client.delete_function(FunctionName=HURRIED)


@pytest.mark.embedded
def test_what_the_deadline_left_goes_on_with_the_command_that_is_named(
    home: Path, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [region.name for region in load_catalogue().select(None, "132:135").regions]
    door.passing = 1
    assert run(["lambda", "invoke", "--regions", ",".join(names), *ASKED]) == 1
    door.open.set()
    told = capsys.readouterr()
    answer = json.loads(told.out)
    body = json.loads(answer["body"])
    assert answer["statusCode"] == 202
    assert set(names[1:]) <= set(body["left"])
    assert f"left: {', '.join(body['left'])}" in told.err
    assert f"next: glacierflow batch retry {body['run_id']} --local" in told.err
    assert run(["batch", "retry", body["run_id"], "--local", "--wait", "--quiet", "--json"]) == 0
    capsys.readouterr()
    assert run(["batch", "verify", body["run_id"], "--local", "--quiet"]) == 0


@pytest.mark.embedded
def test_what_the_deadline_cut_goes_on_over_lambda_by_whoever_submitted(
    home: Path, door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Short of time in the run, and in its retry; what is tried again by itself then has all of it."""
    door.short = 2
    real = context._embedded
    monkeypatch.setattr(context, "_embedded", lambda *words: replace(real(*words), stac_url=door.url))
    over, selection = ["--service", "lambda"], ["--regions", "137_SermeqSondreSermilik", "--force"]
    assert run(["submit", *over, *selection, *ASKED, "--wait", "--json"]) == 1
    (cut,) = json.loads(capsys.readouterr().out)["slots"]
    assert cut["failure"] == "timeout"
    last = ["latest", "--local"]
    assert run(["batch", "retry", *last, *over, "--dry-run"]) == 0
    assert "as before" in capsys.readouterr().out
    assert run(["batch", "retry", *last, *over, "--auto-retry", "--json"]) == 0
    told = capsys.readouterr()
    status = json.loads(told.out)
    assert len(status["retries"]) == 2
    assert f"retrying automatically: 1 timeout as {status['retries'][1]}" in told.err
    endpoint = cloud_of(home)
    for retry in status["retries"]:
        (job,) = read_jobs(S3Store("greenland-glacier-data", endpoint), retry)
        assert (job.service, job.job_definition) == ("lambda", HURRIED)
    assert run(["batch", "verify", *last, "--quiet"]) == 0


@pytest.mark.embedded
def test_package_writes_both_zips_and_puts_them_where_the_schedule_looks(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(package, "_download", lambda *_: None)
    assert run(["lambda", "package", "--zip", "dist", "--push", "--local"]) == 0
    told = capsys.readouterr()
    keys = [line.removeprefix("s3://greenland-glacier-data/") for line in told.out.splitlines()]
    assert keys[0] == "scripts/glacierflow/scheduler.zip"
    assert keys[2] == "scripts/glacierflow/scheduler-layer.zip"
    assert f"--set CodeKey={keys[1]} --set LayerKey={keys[3]} --local" in told.err
    client = cloud_of(home).client("s3")
    for key in keys[:2]:
        stored = client.get_object(Bucket="greenland-glacier-data", Key=key)["Body"].read()
        assert stored == (home / "dist" / "scheduler.zip").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no region or event is given"),
        (["--event", "nowhere.json"], "--event = nowhere.json cannot be read"),
        (["--event", "list.json"], "must be a JSON object"),
        (["--event", "bad.json"], "is not JSON"),
        (["--event", "good.json", "--satellite", "landsat"], "--event and --satellite exclude each other"),
        (["--region", "134_Arsukk"], "did you mean 134_Arsuk"),
        (["--region", "134_Arsuk", "--out", "nowhere/result.json"], "there is no directory nowhere"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_before_anything_is_asked(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(_cloud: Cloud, service: str) -> Any:
        pytest.fail(f"a client for {service} was made")

    monkeypatch.setattr(Cloud, "client", refuse)
    monkeypatch.chdir(tmp_path)
    for name, content in (("list", "[]"), ("bad", "{"), ("good", "{}")):
        (tmp_path / f"{name}.json").write_text(content)
    assert run(["lambda", "invoke", *words]) == 64
    assert said in capsys.readouterr().err


def test_an_event_is_read_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[Any] = []

    def answer(_cloud: Cloud, name: str, event: Any) -> Answer:
        asked.append((name, event))
        return Answer({"errorMessage": "the event has nothing", "errorType": "UsageError"}, raised=True)

    monkeypatch.setattr("glacierflow.launch.lambda_.call", answer)
    monkeypatch.setattr("glacierflow.launch.lambda_.function_name", lambda *_: NAME)
    monkeypatch.setattr("glacierflow.aws.names._outputs", lambda *_: ({}, None))
    monkeypatch.setattr("sys.stdin", io.StringIO('{"x": 1}'))
    assert run(["lambda", "invoke", "--event", "-"]) == 1
    assert asked == [(NAME, {"x": 1})]
    told = capsys.readouterr()
    assert "the function went wrong: the event has nothing\n  next: glacierflow logs function" in told.err


def test_a_call_is_never_repeated_and_waits_as_long_as_lambda_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A retry after a broken connection would process the same regions twice at once."""
    made: list[Cloud] = []

    class Client:
        def invoke(self, **_: Any) -> dict[str, Any]:
            return {"Payload": io.BytesIO(b'{"statusCode": 200, "body": "{}"}')}

    def client(cloud: Cloud, _service: str) -> Client:
        made.append(cloud)
        return Client()

    monkeypatch.setattr(Cloud, "client", client)
    assert lambda_.call(Cloud(), NAME, {}).error is None
    ((retries, timeout),) = [(one.retries, one.read_timeout_s) for one in made]
    assert retries == 0
    assert timeout > 900
    monkeypatch.undo()
    configured = Cloud(embedded=True, retries=0, read_timeout_s=930).client("lambda").meta.config
    assert configured.read_timeout == 930
    assert configured.retries["total_max_attempts"] == 1


def test_following_prints_only_what_comes_from_now_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from logs_fake import LogsFake

    logs = LogsFake()
    group = f"/aws/lambda/{NAME}"
    logs.write(group, "one", "old")
    streams = ["one"]

    def sleep(_seconds: float) -> None:
        if len(streams) == 2:
            raise KeyboardInterrupt
        streams.append("two")
        logs.write(group, "one", "new")
        logs.write(group, "two", "other")

    class Line:
        @staticmethod
        def client(_cloud: Cloud, _service: str) -> LogsFake:
            return logs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Cloud, "client", Line.client)
    monkeypatch.setattr("glacierflow.aws.names._outputs", lambda *_: ({}, None))
    monkeypatch.setattr("glacierflow.launch.lambda_.function_name", lambda *_: NAME)
    monkeypatch.setattr("glacierflow.aws.logs.newest_streams", lambda *_: list(streams))
    monkeypatch.setattr(time, "sleep", sleep)
    assert run(["logs", "function", "--follow", "--lines", "1", "--quiet"]) == 130
    assert capsys.readouterr().out.split() == ["old", "new", "other"]


def test_a_function_that_does_not_take_its_image_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import WaiterError

    class Client:
        def update_function_code(self, **_: Any) -> None: ...

        def get_waiter(self, _name: str) -> Client:
            return self

        def wait(self, **_: Any) -> None:
            raise WaiterError("function_updated_v2", "Failed", {})

    monkeypatch.setattr(Cloud, "client", lambda *_: Client())
    with pytest.raises(UnavailableError, match="did not take the image"):
        lambda_.point_at(Cloud(), NAME, "image")
