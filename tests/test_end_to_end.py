"""The main job, as a user types it, on the embedded cloud with real Batch children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedded
import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from samples import real_arguments, real_region
from test_read import real_scenes, truth

from glacierflow.cloud import Cloud
from glacierflow.model.layout import RunLayout
from glacierflow.model.receipt import Receipt
from glacierflow.store import Store, open_store

pytestmark = [pytest.mark.embedded, pytest.mark.rehearsal]

# Debian's awscli is version 2, with `logs tail`; version 1, which pip installs, lacks it
AWSCLI = next((path for path in ("/usr/bin/aws", "/usr/local/bin/aws") if Path(path).is_file()), None)


class User(embedded.User):
    """A person who also has Amazon's own command line."""

    def json(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.types(*arguments, "--json", expect=expect))
        return answer

    def submits(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Submit to the embedded cloud and wait; the final status."""
        return self.json("batch", "submit", "--local", "--wait", *arguments, expect=expect)

    def fetched(self, folder: str, run_id: str) -> Path:
        self.types("batch", "watch", run_id, "--local", "--fetch", folder)
        return self.folder / folder

    def aws(self, *arguments: str) -> str:
        endpoint = json.loads(self.types("local", "status", "--json"))["url"]
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "embedded")
        assert AWSCLI is not None
        command = [AWSCLI, "--endpoint-url", endpoint, "--region", "us-west-2", *arguments]
        done = subprocess.run(
            command, env=self.environment | keys, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    user = User(tmp_path_factory.mktemp("user"))
    yield user
    user.types("local", "down")


BERLIN = (
    "--satellite",
    "sentinel2",
    "--regions",
    "902_Berlin",
    "--date1",
    "2016-05-01",
    "--date2",
    "2016-06-30",
)
YAHTSE = (
    "--satellite",
    "landsat",
    "--regions",
    "901_Yahtse",
    "--date1",
    "2016-07-01",
    "--date2",
    "2016-08-31",
)


@pytest.mark.parametrize(
    ("satellite", "region", "arguments"),
    [("sentinel2", "902_Berlin", BERLIN), ("landsat", "901_Yahtse", YAHTSE)],
)
def test_real_pixels_through_batch_and_without_it(
    user: User, satellite: str, region: str, arguments: tuple[str, ...]
) -> None:
    status = user.submits(*real_arguments(), *arguments)
    assert status["states"] == {"SUCCEEDED": 1}
    assert status["products"] == 2
    run_id = status["run_id"]
    batch = user.fetched(f"batch-{satellite}", run_id)
    user.types(
        "run", "--local", *real_arguments(), *arguments, "--base-dir", str(user.folder / f"here-{satellite}")
    )
    here = user.folder / f"here-{satellite}"
    paths = sorted(batch.rglob("*_ortho.tif" if satellite == "landsat" else "clipped/**/*.tif"))
    assert len(paths) == 2
    for path, scene in zip(paths, real_scenes(satellite), strict=True):
        assert cog_validate(path)[0]
        with rasterio.open(path) as product, rasterio.open(here / path.relative_to(batch)) as same:
            pixels = product.read(1)
            np.testing.assert_array_equal(pixels, same.read(1))
        difference = np.abs(pixels.astype(int) - truth(scene.href, real_region(region), satellite))
        assert (difference <= 1).mean() >= 0.999
        assert difference.max() <= 3
    (receipt_path,) = (batch / f"runs/{run_id}").rglob("attempts/0/1.done.json")
    receipt = Receipt.model_validate_json(receipt_path.read_text())
    assert receipt.batch.job_queue == "glacierflow-spot"
    assert receipt.counts.written == 2
    assert len(list((batch / f"runs/{run_id}").rglob("*.png"))) == 2


@pytest.mark.skipif(
    AWSCLI is None and "CI" not in os.environ,
    reason="AWSCLI IS MISSING: what it sees of the embedded cloud is not tested (apt-get install awscli)",
)
def test_an_array_job_on_the_sample_archive_and_what_awscli_sees(user: User) -> None:
    status = user.submits(
        "--satellite",
        "sentinel2",
        "--start-end-index",
        "133:136",
        "--date1",
        "2024-07-01",
        "--date2",
        "2024-07-14",
    )
    assert status["states"] == {"SUCCEEDED": 3}
    assert [row["outcome"] for row in status["slots"]] == ["done"] * 3
    assert len({row["regions"][0] for row in status["slots"]}) == 3
    run_id = status["run_id"]
    parent = status["slots"][0]["job_id"].partition(":")[0]
    described = json.loads(user.aws("batch", "describe-jobs", "--jobs", parent, f"{parent}:1"))["jobs"]
    assert described[0]["status"] == "SUCCEEDED"
    assert described[0]["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 3
    assert described[1]["container"]["exitCode"] == 0
    listing = user.aws("s3", "ls", "--recursive", f"s3://greenland-glacier-data/runs/{run_id}/")
    assert listing.count(".done.json") == 3
    logs = user.aws("logs", "tail", "/glacierflow/batch", "--since", "1h")
    assert f"run {run_id} slot 2 attempt 1" in logs
    assert user.json("batch", "status", run_id, "--local")["states"] == {"SUCCEEDED": 3}


@pytest.mark.skipif(
    AWSCLI is None and "CI" not in os.environ,
    reason="AWSCLI IS MISSING: what it sees of the embedded cloud is not tested (apt-get install awscli)",
)
def test_the_index_of_a_child_counts_from_the_first_region_asked_for(user: User) -> None:
    """Child 2 of 4:9 is region 6 of the catalogue, as people count in the console."""
    dates = ("--date1", "2024-07-01", "--date2", "2024-07-02")
    status = user.submits("--satellite", "landsat", "--start-end-index", "4:9", *dates)
    assert status["states"] == {"SUCCEEDED": 5}
    parent = status["slots"][0]["job_id"].partition(":")[0]
    (child,) = json.loads(user.aws("batch", "describe-jobs", "--jobs", f"{parent}:2"))["jobs"]
    assert child["arrayProperties"]["index"] == 2
    log = user.aws(
        *("logs", "get-log-events", "--log-group-name", "/glacierflow/batch", "--start-from-head"),
        *("--log-stream-name", child["container"]["logStreamName"]),
    )
    assert "region 6 007_bernstorf_mid" in log
    plan = user.types("batch", "plan", "--satellite", "landsat", "--start-end-index", "4:9", *dates)
    assert "slot 2     index 6     007_bernstorf_mid" in plan


def _child_pid(dates: str, index: int) -> int:
    """The process of one child of the run over these dates, found as soon as it runs."""
    deadline = time.monotonic() + 60
    wanted = (f"-{dates}-", f"AWS_BATCH_JOB_ARRAY_INDEX={index}")
    while time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    environ = (entry / "environ").read_text(errors="replace").split("\0")
                    command = (entry / "cmdline").read_text(errors="replace")
                except OSError:
                    continue
                manifest = next((line for line in environ if line.startswith("GLACIERFLOW_MANIFEST=")), "")
                if wanted[0] in manifest and wanted[1] in environ and "glacierflow.task" in command:
                    return int(entry.name)
        time.sleep(0.02)
    msg = f"child {index} of the run over {dates} was not seen running"
    raise AssertionError(msg)


def _let_start(store: Store, run_id: str, index: int, pid: int) -> None:
    """Let a halted child run in small steps until it has written that it started; then it is halted again.

    A child is done in a second or two, so that nobody could be sure to meet it in the middle otherwise.
    """
    deadline = time.monotonic() + 60
    while not store.exists(RunLayout(run_id).started(index, 1)):
        assert time.monotonic() < deadline, f"child {index} did not start"
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)
        os.kill(pid, signal.SIGSTOP)


def test_killed_terminated_and_bad_children_end_as_aws_would_end_them(user: User, tmp_path: Path) -> None:
    """Three regions: child 0 is killed, child 1 is told to stop, child 2 has only broken images.

    A year that no other test here uses, so that no product is there before.
    """
    chosen = ["134_Arsuk", "135_SermilikSW", "138_SermiitsiaqInTasermiut"]
    arguments = ("--satellite", "sentinel2", "--date1", "2023-07-01", "--date2", "2023-07-21")
    archive = tmp_path / "archive"
    user.types("local", "sample", str(archive), "--regions", ",".join(chosen), *arguments[2:])
    damaged = [path for path in archive.rglob("B08.tif") if "23VNH" in str(path)]
    assert damaged, f"no image of {chosen[2]} alone in the archive"
    for path in damaged:
        path.write_text("<html>Service unavailable</html>")
    user.types("local", "up")
    cloud = Cloud(endpoint_url=json.loads(user.types("local", "status", "--json"))["url"], embedded=True)
    store = open_store("s3://greenland-glacier-data", cloud)
    submit = ("batch", "submit", "--local", "--json", "--archive", str(archive))
    submission = user.start(*submit, "--regions", ",".join(chosen), *arguments)
    pids = []
    for index in (0, 1):
        # while the submission is still on its way: a child may be done before it has said so
        pids.append(_child_pid("20230701-20230721", index))
        os.kill(pids[index], signal.SIGSTOP)
    said, _ = submission.communicate(timeout=60)
    run_id = json.loads(said)["run_id"]
    for index in (0, 1):
        _let_start(store, run_id, index, pids[index])
    os.kill(pids[0], signal.SIGKILL)
    os.kill(pids[1], signal.SIGTERM)
    os.kill(pids[1], signal.SIGCONT)
    status = user.json("batch", "watch", run_id, "--local", expect=1)
    killed, stopped, bad = status["slots"]
    assert (killed["state"], killed["outcome"]) == ("FAILED", None)
    assert "left no receipt" in killed["reason"]
    assert (stopped["state"], stopped["outcome"], stopped["attempts"]) == ("SUCCEEDED", "done", 2)
    assert (bad["state"], bad["outcome"]) == ("FAILED", "failed")
    assert "could not be read" in bad["reason"]
    out = tmp_path / "out"
    user.types("batch", "watch", run_id, "--local", "--fetch", str(out), expect=1)
    attempts = out / f"runs/{run_id}/attempts"
    first = Receipt.model_validate_json((attempts / "1/1.interrupted.json").read_text())
    second = Receipt.model_validate_json((attempts / "1/2.done.json").read_text())
    assert first.exit_code == 75
    assert second.counts.skipped == first.counts.written
    assert Receipt.model_validate_json((attempts / "2/1.failed.json").read_text()).exit_code == 65
    assert not list((attempts / "0").glob("1.[!s]*"))

    again = user.submits("--archive", str(archive), "--regions", ",".join(chosen[:2]), *arguments)
    assert [row["outcome"] for row in again["slots"]] == ["done", "done"]
    final = user.fetched("again", again["run_id"]) / f"runs/{again['run_id']}/attempts"
    redone = Receipt.model_validate_json((final / "1/1.done.json").read_text())
    assert redone.counts.written == 0
    assert redone.counts.skipped == second.counts.kept


def test_ctrl_c_saves_what_is_finished_and_the_same_command_goes_on(user: User) -> None:
    arguments = ("run", "--local", *real_arguments(), *BERLIN, "--base-dir", str(user.folder / "interrupted"))
    process = user.start(*arguments)
    assert process.stderr is not None
    for line in process.stderr:
        if "1/2" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "run the same command again to continue" in said
    # the second acquisition may have been in hand already, and then it was finished
    receipts = [
        path for path in (user.folder / "interrupted").rglob("0/1.*.json") if "started" not in path.name
    ]
    (receipt,) = receipts
    assert Receipt.model_validate_json(receipt.read_text()).counts.written >= 1
    assert "there already" in user.types(*arguments)


def test_stopped_and_started_again_the_cloud_remembers(user: User) -> None:
    before = user.json("batch", "status", "latest", "--local")
    user.types("local", "down")
    after = user.json("batch", "status", before["run_id"], "--local")
    assert after["states"] == before["states"]
    assert after["products"] == before["products"]
