"""What survives the embedded cloud's server: down and up, and a server that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded import BatchBench, alive, wait_for

from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.local import control
from glacierflow.local.archive.stac_api import Archives
from glacierflow.stack.deploy import apply, propose
from glacierflow.stack.templates import load_template

pytestmark = pytest.mark.embedded

BUCKET = "greenland-glacier-data"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "cloud"
    yield directory
    control.down(directory)


def test_objects_jobs_and_logs_survive_down_and_up(home: Path) -> None:
    before = control.up(home, vcpus=1)
    bench = BatchBench(before.url)
    bench.s3.put_object(Bucket=BUCKET, Key="kept", Body=b"ice", Metadata={"a": "b"})
    bench.s3.put_object(Bucket=BUCKET, Key="gone", Body=b"ice")
    bench.s3.delete_object(Bucket=BUCKET, Key="gone")
    bench.s3.put_bucket_request_payment(Bucket=BUCKET, RequestPaymentConfiguration={"Payer": "Requester"})
    done = bench.wait(bench.shell("echo said; exit 4", tags={"run": "x"}))
    whole = {"resourceRequirements": [{"type": "VCPU", "value": "1"}]}
    polite = "trap 'echo told; exit 75' TERM; sleep 60 & wait"
    array = bench.shell(polite, overrides=whole, arrayProperties={"size": 2}, retryStrategy={"attempts": 3})
    bench.wait(f"{array}:0", "RUNNING")
    assert control.down(home)
    assert control.status(home) is None
    after = control.up(home)
    assert (after.port, after.pid != before.pid) == (before.port, True)

    payer = {"RequestPayer": "requester"}
    kept = bench.s3.get_object(Bucket=BUCKET, Key="kept", **payer)
    assert (kept["Body"].read(), kept["Metadata"]) == (b"ice", {"a": "b"})
    assert [one["Key"] for one in bench.s3.list_objects_v2(Bucket=BUCKET, **payer)["Contents"]] == ["kept"]
    again = bench.describe(done["jobId"])
    assert again == done
    assert bench.lines(again) == ["said"]
    parent = bench.describe(array)
    assert (parent["status"], parent["arrayProperties"]["statusSummary"]["FAILED"]) == ("FAILED", 2)
    running, waiting = (bench.describe(f"{array}:{index}") for index in range(2))
    assert running["statusReason"] == "The embedded cloud was stopped while the job was RUNNING"
    assert running["container"]["exitCode"] == 75
    assert len(running["attempts"]) == 1
    assert bench.lines(running) == ["told"]
    assert waiting["statusReason"] == "The embedded cloud was stopped while the job was RUNNABLE"
    assert waiting["attempts"] == []
    definitions = bench.batch.describe_job_definitions(jobDefinitionName="glacierflow-7500")["jobDefinitions"]
    assert [one["revision"] for one in definitions] == [1]
    assert len(bench.batch.describe_compute_environments()["computeEnvironments"]) == 2
    assert bench.wait(bench.submit(["true"]))["status"] == "SUCCEEDED"


def test_a_killed_server_loses_little_and_its_children_end(home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "scene.tif").write_bytes(b"pixels")
    (archive / "scene.json").write_text(json.dumps(item("scene")))
    endpoint = control.up(home, archive=archive)
    assert endpoint.archive == str(archive)
    bench = BatchBench(endpoint.url)
    bench.s3.put_object(Bucket=BUCKET, Key="kept", Body=b"ice")
    job_id = bench.shell("echo $$; exec sleep 300")
    job = bench.wait(job_id, "RUNNING")
    wait_for(lambda: bool(bench.lines(job)))
    child = int(bench.lines(job)[0])
    # a snapshot follows a change within about a second
    saved = home / "state" / "batch.json"
    wait_for(lambda: saved.exists() and f'"{job_id}"' in saved.read_text() and "RUNNING" in saved.read_text())
    os.kill(endpoint.pid, signal.SIGKILL)
    wait_for(lambda: not alive(endpoint.pid))
    assert control.status(home) is None
    assert alive(child)
    assert control.up(home).archive == str(archive)
    wait_for(lambda: not alive(child))
    job = bench.describe(job_id)
    assert job["status"] == "FAILED"
    assert job["statusReason"] == "The embedded cloud was stopped while the job was RUNNING"
    assert job["attempts"][0]["statusReason"] == job["statusReason"]
    assert bench.s3.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"ice"
    mounted = bench.s3.get_object(Bucket="usgs-landsat", Key="scene.tif", RequestPayer="requester")
    assert mounted["Body"].read() == b"pixels"


def test_the_stack_survives_and_can_be_changed_and_deleted_afterwards(home: Path) -> None:
    control.up(home)
    control.down(home)
    cloud = Cloud(endpoint_url=control.up(home).url, embedded=True)
    formation = cloud.client("cloudformation")
    (stack,) = formation.describe_stacks(StackName="glacierflow")["Stacks"]
    told = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    role = cloud.client("iam").get_role(RoleName="glacierflow-job-us-west-2")["Role"]
    assert role["Arn"] == told["JobRole"]
    assert cloud.client("ec2").describe_security_groups(GroupIds=[told["SecurityGroup"]])["SecurityGroups"]
    assert formation.describe_stack_events(StackName="glacierflow")["StackEvents"]
    proposal = propose(cloud, "glacierflow", load_template("template"), {"LogRetentionDays": "30"})
    assert proposal is not None
    assert [one.logical_id for one in proposal.changes] == ["LogGroup"]
    assert [step.status for step in apply(cloud, proposal)][-1] == "UPDATE_COMPLETE"
    groups = cloud.client("logs").describe_log_groups(logGroupNamePrefix=told["LogGroup"])["logGroups"]
    assert groups[0]["retentionInDays"] == 30
    formation.delete_stack(StackName="glacierflow")
    control.down(home)
    cloud = Cloud(endpoint_url=control.up(home).url, embedded=True)
    assert not cloud.client("batch").describe_job_queues()["jobQueues"], "deleted is deleted"
    assert cloud.client("s3").head_bucket(Bucket=BUCKET)


def item(name: str) -> dict[str, object]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "landsat-c2l1",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2020-07-01T00:00:00Z"},
        "links": [],
        "assets": {
            "pan": {
                "href": f"{name}.tif",
                "alternate": {"s3": {"href": f"s3://usgs-landsat/{name}.tif"}},
            }
        },
    }


def test_an_archive_that_is_gone_does_not_keep_the_server_from_starting(tmp_path: Path) -> None:
    record = tmp_path / "archives.json"
    record.write_text(json.dumps([str(tmp_path / "gone")]))
    archives = Archives("http://127.0.0.1:5", record)
    archives.restore()
    assert archives.directories == []


def test_up_finds_what_runs_and_reset_forgets(home: Path) -> None:
    first = control.up(home)
    assert control.up(home, bucket="another-bucket") == first == control.status(home)
    bench = BatchBench(first.url)
    assert {one["Name"] for one in bench.s3.list_buckets()["Buckets"]} == {BUCKET, "another-bucket"}
    with pytest.raises(UsageError, match="already runs on port"):
        control.up(home, port=first.port + 1)
    control.reset(home)
    assert control.status(home) is None
    assert not (home / "state").exists()
    assert not control.down(home)


def test_a_port_in_use_is_a_usage_error(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use") as refused:
            control.up(home, port=port)
    assert refused.value.next_step


def test_a_server_that_dies_at_its_start_says_why(home: Path) -> None:
    home.mkdir()
    (home / "state").mkdir()
    (home / "state" / "batch.json").write_text("not json")
    with pytest.raises(UnavailableError, match="JSONDecodeError"):
        control.up(home)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"clock": 0}, "--clock 0", id="clock"),
        pytest.param({"spot_reclaim": 1.5}, "--spot-reclaim 1.5", id="spot"),
        pytest.param({"vcpus": -1}, "--vcpus -1", id="vcpus"),
        pytest.param({"port": 70000}, "--port 70000", id="port"),
    ],
)
def test_values_out_of_range(home: Path, options: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        control.up(home, **options)  # type: ignore[arg-type]
    assert control.status(home) is None


def test_without_the_extra_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'glacierflow\[local\]'"):
        control.up(home)


def test_control_imports_nothing_heavy() -> None:
    code = "import sys, glacierflow.local.control; print([m for m in ('moto', 'boto3') if m in sys.modules])"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
