"""Submitting a run: calls counted, failures repeated safely, and a submitter killed at any moment."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_aws import FakeAws, Killed
from runs_samples import NOW, some_manifest, submit_run

from glacierflow.aws.names import Places, find_targets
from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.errors import UnavailableError, UsageError
from glacierflow.launch import batch as submission_module
from glacierflow.launch.batch import JobLauncher
from glacierflow.live.retry import cancel_family
from glacierflow.live.same_run import find_same_run
from glacierflow.model.manifest import ArrayRange, Manifest
from glacierflow.model.records import Region
from glacierflow.runs import plan as plan_module
from glacierflow.runs import units as arrange_module
from glacierflow.runs.family import read_family
from glacierflow.runs.history import list_runs
from glacierflow.runs.records import read_jobs, read_run_manifest
from glacierflow.store import S3Store

CLOUD = Cloud(embedded=True)
PLACES = Places(
    bucket="made-up",
    spot_queue="glacierflow-spot",
    ondemand_queue="glacierflow-ondemand",
    log_group="/glacierflow/batch",
    job_definition="glacierflow",
    job_definitions={mib: f"glacierflow-{mib}" for mib in (7_500, 15_500, 31_500, 63_200)},
)
ARRAYS = (
    ArrayRange(first_slot=0, size=1, memory_mib=15_500, on_demand=True),
    ArrayRange(first_slot=1, size=2, memory_mib=7_500),
)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAws:
    monkeypatch.chdir(tmp_path)
    fake = FakeAws(monkeypatch)
    monkeypatch.setattr(submission_module, "_PATIENCE_S", 0.0)
    return fake


def mixed_manifest() -> Manifest:
    """One unit of a larger class on demand, two of the small class on spot."""
    return some_manifest(3).model_copy(update={"arrays": ARRAYS})


def an_hour_later(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"run_id": manifest.run_id.replace("T120005Z", "T130005Z")})


def submit(manifest: Manifest) -> Any:
    """What ``batch submit`` does, once the manifest is made."""
    store = S3Store("made-up", CLOUD)
    store.check_writable()
    targets = find_targets(CLOUD, PLACES, manifest.arrays)
    same = find_same_run(manifest, store, CLOUD, places=PLACES)
    if same is None:
        return submit_run(manifest, CLOUD, store, targets=targets)
    if same.is_whole:
        raise UsageError(f"the run {same.manifest.run_id} does the same and is still going on")
    return JobLauncher(CLOUD, targets, None, {}).launch(same.manifest, store, same.jobs)


def test_each_array_goes_to_its_queue_and_class_and_is_recorded(aws: FakeAws) -> None:
    manifest = mixed_manifest()
    records = submit(manifest)
    store = S3Store("made-up", CLOUD)
    assert read_jobs(store, manifest.run_id) == records
    assert read_run_manifest(store, manifest.run_id) == manifest
    assert [(one.job_queue, one.job_definition, one.memory_mib, one.on_demand) for one in records] == [
        ("glacierflow-ondemand", "glacierflow-15500:2", 15_500, True),
        ("glacierflow-spot", "glacierflow-7500:2", 7_500, False),
    ]
    assert {one.log_group for one in records} == {"/glacierflow/batch"}


def test_ten_years_of_192_regions_take_ten_calls(aws: FakeAws, capsys: pytest.CaptureFixture[str]) -> None:
    dates = ["--date1", "2016-01-01", "--date2", "2025-12-31", "--by", "year"]
    assert (
        run(["batch", "submit", "--all", "--satellite", "sentinel2", *dates, "--s3-bucket", "made-up"]) == 0
    )
    assert sum(job["arrayProperties"]["size"] for job in aws.jobs.values()) == 1_920
    counted = Counter(call.partition(":")[0] for call in aws.calls)
    assert counted["s3"] + counted["batch"] <= 10, aws.calls
    (run_id,) = {key.split("/")[1] for key in aws.objects}
    manifest = read_run_manifest(S3Store("made-up", CLOUD), run_id)
    assert len({(unit.region, unit.date1.year) for slot in manifest.slots for unit in slot}) == 1_920
    assert manifest.image_digest == "sha256:0123"
    # the largest region's full years come first
    assert manifest.slots[0][0].region == "090_petermann"
    assert run_id in capsys.readouterr().out


STACKS = {
    "glacierflow-lambda": {"Function": "glacierflow"},
    "glacierflow-stepfunctions": {"StateMachine": "arn:machine"},
    "glacierflow-ecs": {
        "Cluster": "glacierflow",
        "TaskSubnets": "subnet-1",
        "TaskSecurityGroup": "sg-1",
        "TaskPublicIp": "ENABLED",
        **{f"TaskDefinition{mib}": f"glacierflow-{mib}:1" for mib in (7_500, 15_500, 31_500, 63_200)},
    },
}
AS_IAM_SPELLS_IT = {"sfn": "states"}


def named_calls(out: str) -> list[str]:
    """Service and operation of every call that a plan names, as often as it names it."""
    calls = []
    for call in json.loads(out)["calls"]:
        count, times, rest = call.partition(" x ")
        name, number = (rest, int(count)) if times else (call, 1)
        calls += [name.split()[0]] * number
    return calls


@pytest.mark.parametrize("service", ["batch", "lambda", "ecs", "fargate", "stepfunctions"])
def test_a_dry_run_names_exactly_the_calls_that_are_made(
    aws: FakeAws, capsys: pytest.CaptureFixture[str], service: str
) -> None:
    aws.stacks = STACKS
    words = ["batch", "submit", "--start-end-index", "0:3", "--by", "month", "--s3-bucket", "made-up"]
    words += ["--date2", "2024-08-10", "--service", service]
    assert run([*words, "--dry-run", "--json"]) == 0
    assert aws.calls == []
    named = named_calls(capsys.readouterr().out)
    assert run(words) == 0
    made = [call.partition(":") for call in aws.calls]
    assert [f"{AS_IAM_SPELLS_IT.get(one, one)}:{operation}" for one, _, operation in made] == named


def test_a_function_named_by_hand_is_not_looked_for_in_a_stack(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("aws_config.ini").write_text("[LAMBDA]\nfunction_name = mine\n")
    words = ["submit", "--start-end-index", "0:1", "--s3-bucket", "made-up", "--service", "lambda"]
    assert run([*words, "--dry-run", "--json"]) == 0
    named = named_calls(capsys.readouterr().out)
    assert run(words) == 0
    assert aws.calls == named


def test_a_dry_run_with_a_canary_shows_the_canary_and_counts_the_rest(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["batch", "submit", "--start-end-index", "0:6", "--s3-bucket", "made-up", "--canary"]
    assert run([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "3 units in 3 slots" in said
    assert "these units are the canary; 3 more follow" in said
    assert run([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["units_after_canary"] == 3
    assert aws.calls == []
    assert run([*words, "--measured-by", "one", "--yes"]) == 64
    assert "--canary and --measured-by exclude each other" in capsys.readouterr().err


KILLED = [
    *("batch", "submit", "--start-end-index", "0:3", "--s3-bucket", "made-up"),
    *("--order", "largest", "--quiet"),
]


def class_of(region: Region, *_: Any, **__: Any) -> int:
    return 7_500 if region.index else 15_500


def type_submit(hour: int = 12) -> int:
    """The command, at some hour: one region needs the larger class, so that there are two jobs."""
    now = NOW.replace(hour=hour)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "build_manifest", partial(plan_module.build_manifest, now=now))
        patch.setattr(arrange_module, "memory_class", class_of)
        return run(KILLED)


def kill(aws: FakeAws, moment: str, number: int) -> None:
    setattr(aws, moment, number)
    with pytest.raises(Killed):
        type_submit()
    aws.kill_before = aws.kill_after = None


CALLS = 12
"""Of a submission of two jobs."""

killed_at_any_call = pytest.mark.parametrize(
    ("moment", "number"), list(itertools.product(("kill_before", "kill_after"), range(1, CALLS + 1)))
)


def test_a_submission_is_killed_at_every_one_of_its_calls(aws: FakeAws) -> None:
    assert type_submit() == 0
    assert len(aws.calls) == CALLS


@killed_at_any_call
def test_a_submitter_killed_at_any_call_is_put_right_by_submitting_again(
    aws: FakeAws, moment: str, number: int
) -> None:
    kill(aws, moment, number)
    was_whole = len(aws.jobs) == 2
    assert type_submit(13) == (64 if was_whole else 0)
    # one run, each of its arrays made once and recorded
    (run_id,) = {key.split("/")[1] for key in aws.objects}
    assert aws.live_names() == [f"gf-{run_id}-0", f"gf-{run_id}-1"]
    records = read_jobs(S3Store("made-up", CLOUD), run_id)
    assert [record.number for record in records] == [0, 1]
    assert {record.job_id for record in records} == set(aws.jobs)


@killed_at_any_call
def test_what_a_killed_submitter_left_is_listed_cancelled_and_submitted_anew(
    aws: FakeAws, moment: str, number: int
) -> None:
    kill(aws, moment, number)
    store = S3Store("made-up", CLOUD)
    left = [entry.run_id for entry in list_runs(store, limit=20)]
    assert left == sorted({key.split("/")[1] for key in aws.objects})
    assert bool(left) >= bool(aws.jobs), "a job no list shows"
    for run_id in left:
        cancel_family(read_family(store, run_id), store, CLOUD, PLACES)
    assert {job["status"] for job in aws.jobs.values()} <= {"FAILED"}
    ended = set(aws.jobs)
    assert type_submit(13) == 0
    sent = {name: job["jobName"] for name, job in aws.jobs.items() if name not in ended}
    # of a run that was cancelled all is sent anew, one that sent nothing is completed
    run_id = list_runs(store, limit=1)[0].run_id
    assert sorted(sent.values()) == [f"gf-{run_id}-0", f"gf-{run_id}-1"]
    assert {record.job_id for record in read_jobs(store, run_id)} == set(sent)


THROTTLED = {"__type": "TooManyRequestsException", "message": "slow down"}
BROKEN = {"__type": "ServerException", "message": "internal"}


def test_a_job_that_was_made_though_aws_answered_an_error_is_not_made_twice(aws: FakeAws) -> None:
    aws.answers["SubmitJob"] = [(500, BROKEN)]
    manifest = mixed_manifest()
    records = submit(manifest)
    assert aws.live_names() == [f"gf-{manifest.run_id}-0", f"gf-{manifest.run_id}-1"]
    assert {record.job_id for record in records} == set(aws.jobs)
    assert records[0].log_group == "/glacierflow/batch"


def test_a_throttled_submission_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission_module, "_PATIENCE_S", 0.0)
    aws = FakeAws(monkeypatch, throttles=True)
    refused = [(429, THROTTLED), (429, THROTTLED)]
    made = aws._submit

    def refuse(asked: dict[str, Any]) -> dict[str, Any]:
        return {"jobId": "none", "jobName": "none"} if aws.answers["SubmitJob"] else made(asked)

    aws.answers["SubmitJob"] = list(refused)
    monkeypatch.setattr(aws, "_submit", refuse)
    submit(mixed_manifest())
    assert aws.calls.count("batch:SubmitJob") == 4
    assert len(aws.jobs) == 2


def test_a_service_that_stays_down_ends_the_submission_and_the_next_one_completes_it(aws: FakeAws) -> None:
    aws.answers["SubmitJob"] = [(503, BROKEN)] * 6
    with pytest.raises(UnavailableError, match="could not submit job 0"):
        aws_submit_only_refusing(aws)
    assert aws.jobs == {}
    submit(mixed_manifest())
    assert len(aws.jobs) == 2


def aws_submit_only_refusing(aws: FakeAws) -> None:
    made = aws._submit
    aws._submit = lambda asked: {"jobId": "none", "jobName": "none"}  # type: ignore[method-assign]
    try:
        submit(mixed_manifest())
    finally:
        aws._submit = made  # type: ignore[method-assign]


def test_the_same_run_twice_is_refused_while_it_is_on_its_way(aws: FakeAws) -> None:
    submit(mixed_manifest())
    later = an_hour_later(mixed_manifest())
    with pytest.raises(UsageError, match="does the same and is still going on"):
        submit(later)
    for job in aws.jobs.values():
        job["status"] = "SUCCEEDED"
    submit(later)
    assert len(aws.jobs) == 4


def test_a_broken_off_run_that_was_cancelled_is_sent_anew(aws: FakeAws) -> None:
    kill(aws, "kill_after", CALLS - 2)  # the record of the first of two jobs
    (first,) = aws.jobs.values()
    first["status"] = "FAILED"
    assert type_submit(13) == 0
    run_id = list_runs(S3Store("made-up", CLOUD), limit=1)[0].run_id
    assert "T130005Z" in run_id
    assert aws.live_names()[1:] == [f"gf-{run_id}-0", f"gf-{run_id}-1"]


def test_a_job_batch_does_not_show_yet_is_on_its_way(aws: FakeAws) -> None:
    submit(mixed_manifest())
    aws.jobs.clear()
    with pytest.raises(UsageError, match="still going on"):
        submit(an_hour_later(mixed_manifest()))


def test_a_run_of_another_fingerprint_does_not_stand_in_the_way(aws: FakeAws) -> None:
    submit(mixed_manifest())
    other = mixed_manifest()
    other = other.model_copy(
        update={"run_id": other.run_id[:-6] + "abcdef", "fingerprint": "abcdef" + other.fingerprint[6:]}
    )
    submit(other)
    assert len(aws.jobs) == 4


def test_submissions_keep_below_the_rate_all_submitters_share(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    arrays = tuple(ArrayRange(first_slot=slot, size=1, memory_mib=7_500) for slot in range(60))
    submit(some_manifest(60).model_copy(update={"arrays": arrays}))
    assert sum(waits) >= 60 / 50


def test_the_cli_names_the_run_that_is_on_its_way_and_takes_force(
    aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["batch", "submit", "--start-end-index", "0:3", "--s3-bucket", "made-up"]
    assert run(words) == 0
    time.sleep(1.1)  # a run id has whole seconds
    assert run(words) == 64
    err = capsys.readouterr().err
    assert "does the same and is still going on" in err
    assert "--force" in err
    assert run([*words, "--force"]) == 0
    assert len(aws.jobs) == 2
    tags = next(iter(aws.jobs.values()))["tags"]
    assert set(tags) == {"project", "run", "satellite", "owner"}
