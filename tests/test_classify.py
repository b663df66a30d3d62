"""Every string AWS documents, exit code, and trace in the store: the class it stands for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

import glacierflow
from glacierflow.runs.failures import classify, classify_attempt, signature
from glacierflow.runs.ledger import SlotEntry
from glacierflow.runs.states import FAILURE_CLASSES, AttemptState, Evidence, SlotState, Verdict

EXITED = "Essential container in task exited"


def judged(**fields: Any) -> Verdict:
    state, started = fields.pop("state", "FAILED"), fields.pop("started", 1)
    verdict = classify(Evidence(state=state, started=started, **fields))
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    ("status_reason", "container_reason", "exit_code", "expected"),
    [
        ("Host EC2 (instance i-0f1e2d3c4b5a69788) terminated.", None, None, "spot"),
        ("Host EC2 (instance i-0f1e2d3c4b5a69788) terminated.", None, 143, "spot"),
        ("Host EC2 (instance i-0f1e2d3c4b5a69788) terminated.", None, 75, "spot"),
        ("Your Spot Task was interrupted.", None, None, "spot"),
        (EXITED, "OutOfMemoryError: Container killed due to memory usage", 137, "oom"),
        ("OutOfMemoryError: Container killed due to memory usage", None, 137, "oom"),
        ("Job attempt duration exceeded timeout", None, 137, "timeout"),
        ("Job attempt duration exceeded timeout", None, 75, "timeout"),
        ("Task failed to start", None, None, "start"),
        ("Task failed to start", "DockerTimeoutError: Could not transition to started", None, "start"),
        ("Task failed to start", "CannotPullContainerError: received 503 Service Unavailable", None, "start"),
        (
            "Task failed to start",
            "CannotPullContainerError: dial tcp 10.0.3.17:443: i/o timeout",
            None,
            "start",
        ),
        ("Task failed to start", "CannotStartContainerError: [Errno 2] nothing", None, "start"),
        ("ResourceInitializationError: failed to configure ENI", None, None, "start"),
        (
            "Task failed to start",
            "CannotPullContainerError: pull image manifest has been retried 5 time(s): image Manifest "
            "does not contain descriptor matching platform 'linux/amd64'",
            None,
            "config",
        ),
        (
            "Task failed to start",
            "CannotPullContainerError: manifest for x/glacierflow:9 not found: manifest unknown",
            None,
            "config",
        ),
        ("Task failed to start", "CannotPullContainerError: pull access denied for x", None, "config"),
        ("Task failed to start", "CannotPullContainerError: no basic auth credentials", None, "config"),
        (
            "ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was provided for this task.",
            None,
            None,
            "config",
        ),
        (
            "Task failed to start",
            "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException: "
            "User is not authorized to perform: ecr:GetAuthorizationToken",
            None,
            "config",
        ),
        ("Container Overrides length must be at most 8192", None, None, "config"),
        (
            "Canceled by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
            None,
            None,
            "capacity",
        ),
        (
            "Canceled by JobStateTimeLimit action due to reason: MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
            None,
            None,
            "config",
        ),
        (
            "Canceled by JobStateTimeLimit action due to reason: "
            "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
            None,
            None,
            "config",
        ),
        ("Canceled by JobStateTimeLimit action due to reason: UNDETERMINED", None, None, "capacity"),
        ("Dependent Job failed", None, None, "cancelled"),
        (EXITED, None, 64, "config"),
        (EXITED, None, 65, "data"),
        (EXITED, None, 70, "bug"),
        (EXITED, None, 75, "service"),
        (EXITED, None, 127, "config"),
        (EXITED, None, 132, "config"),
        (EXITED, None, 137, "killed"),
        (EXITED, None, 139, "bug"),
        (EXITED, None, 143, "killed"),
        (EXITED, None, 1, "bug"),
        ("something AWS has not said before", None, None, "killed"),
    ],
)
def test_a_failed_job_has_the_class_of_batchs_words_or_of_its_exit_code(
    status_reason: str, container_reason: str | None, exit_code: int | None, expected: str
) -> None:
    verdict = judged(status_reason=status_reason, container_reason=container_reason, exit_code=exit_code)
    assert verdict.failure == expected
    assert verdict.sentence
    assert verdict.next_step
    assert not verdict.sentence.endswith(".")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (
            "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested",
            "capacity",
        ),
        ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - The job requires more vCPUs", "config"),
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - x", "config"),
        ("MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED", "config"),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS - x", "config"),
        ("MISCONFIGURATION:SOMETHING_NEW - x", "config"),
        ("ACTION_REQUIRED - CE(s) associated with the job queue are invalid.", "config"),
        ("UNDETERMINED - Batch job is blocked, root cause is undetermined.", "capacity"),
    ],
)
def test_a_waiting_job_is_judged_where_batch_says_it_is_stuck(reason: str, expected: str) -> None:
    assert judged(state="RUNNABLE", status_reason=reason, started=0).failure == expected


@pytest.mark.parametrize("state", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"])
def test_nothing_is_wrong_while_it_waits_or_runs(state: str) -> None:
    # a job back in the queue after a reclaim still carries the reason of its last attempt
    evidence = Evidence(state=state, status_reason="Host EC2 (instance i-1) terminated.", started=1)
    assert classify(evidence) is None


@pytest.mark.parametrize(
    ("fields", "expected", "words"),
    [
        ({"state": "NOT_SUBMITTED", "started": 0}, "missing", "never submitted"),
        ({"state": "SUCCEEDED", "started": 0}, "missing", "no attempt left a trace"),
        ({"state": "SUCCEEDED", "started": 1}, "missing", "no attempt wrote its receipt"),
        ({"state": "FORGOTTEN", "started": 0}, "missing", "does not know the job any more"),
        ({"state": "FORGOTTEN"}, "killed", "killed before it could write its receipt"),
        ({"state": "FORGOTTEN", "outcome": "interrupted"}, "spot", "taken back"),
        (
            {"state": "FORGOTTEN", "outcome": "unavailable", "error": "STAC is down"},
            "service",
            "STAC is down",
        ),
        ({"state": "FORGOTTEN", "outcome": "failed", "exit_code": 65, "error": "no TIFF"}, "data", "no TIFF"),
        ({"state": "FORGOTTEN", "outcome": "failed", "error": "odd"}, "bug", "odd"),
        ({"outcome": "interrupted", "exit_code": 75, "status_reason": EXITED}, "spot", "taken back"),
        ({"outcome": "unavailable", "exit_code": 75, "error": "S3 is down"}, "service", "S3 is down"),
        ({"outcome": "done", "exit_code": 0, "status_reason": EXITED}, "killed", "counts it as failed"),
        ({"started": 0}, "start", "before anything of it started, and Batch gives no reason"),
        ({"started": 0, "status_reason": "so it goes"}, "start", "so it goes"),
        ({"state": "SUCCEEDED", "outcome": "partial", "error": "1 of 3"}, "data", "1 of 3"),
    ],
)
def test_what_lies_in_the_store_decides_where_batch_says_nothing(
    fields: dict[str, Any], expected: str, words: str
) -> None:
    verdict = judged(**fields)
    assert verdict.failure == expected
    assert words in verdict.sentence


@pytest.mark.parametrize("outcome", ["done", "no_data"])
@pytest.mark.parametrize("state", ["SUCCEEDED", "FORGOTTEN"])
def test_a_slot_that_ended_well_has_no_class(state: str, outcome: str) -> None:
    assert classify(Evidence(state=state, started=2, outcome=outcome, exit_code=0)) is None


def test_somebodys_cancelling_is_told_from_every_other_end() -> None:
    verdict = judged(status_reason="wrong dates", exit_code=143, ended_by_request=True)
    assert (verdict.failure, verdict.sentence) == ("cancelled", "somebody ended it: wrong dates")
    limit = "Canceled by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
    assert judged(status_reason=limit, ended_by_request=True).failure == "capacity"
    assert (
        judged(status_reason="Host EC2 (instance i-1) terminated.", ended_by_request=True).failure == "spot"
    )


@pytest.mark.parametrize(
    "error",
    [
        "a bug in glacierflow: MemoryError: ",
        "a bug in glacierflow: _ArrayMemoryError: Unable to allocate 2.1 GiB",
        "a bug in glacierflow: RasterioIOError: std::bad_alloc",
    ],
)
def test_memory_that_python_itself_missed_is_out_of_memory_too(error: str) -> None:
    assert judged(status_reason=EXITED, exit_code=70, error=error).failure == "oom"


def test_the_log_tells_a_wrong_architecture_that_batch_shows_as_exit_code_1() -> None:
    line = "exec /usr/local/bin/python: exec format error"
    assert judged(status_reason=EXITED, exit_code=1).failure == "bug"
    assert judged(status_reason=EXITED, exit_code=1, log_tail=(line,)).failure == "config"


def test_a_registry_out_of_reach_time_and_again_is_a_missing_route() -> None:
    reason = "CannotPullContainerError: dial tcp 10.0.3.17:443: i/o timeout"
    attempts = (AttemptState(reason=reason, status_reason="Task failed to start"),) * 3
    verdict = judged(status_reason="Task failed to start", container_reason=reason, attempts=attempts)
    assert verdict.failure == "config"
    assert "none of 3 attempts could reach the registry" in verdict.sentence


def test_a_verdict_says_how_often_and_how_long() -> None:
    reclaim = AttemptState(status_reason="Host EC2 (instance i-1) terminated.")
    begin = dt.datetime(2024, 8, 1, 12, tzinfo=dt.UTC)
    late = AttemptState(started_at=begin, stopped_at=begin + dt.timedelta(hours=1))
    spot = judged(status_reason=reclaim.status_reason, attempts=(late, reclaim, reclaim))
    assert "taken back in 2 of its 3 attempts" in spot.sentence
    timeout = judged(status_reason="Job attempt duration exceeded timeout", attempts=(late,))
    assert "after 60 minutes" in timeout.sentence


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exit_code": 0, "status_reason": EXITED}, None),
        ({"exit_code": 65, "status_reason": EXITED}, "data"),
        ({"exit_code": 0, "status_reason": "Host EC2 (instance i-1) terminated."}, "spot"),
        ({"status_reason": "Task failed to start", "reason": "CannotPullContainerError: x"}, "start"),
        ({}, None),
    ],
)
def test_each_attempt_has_its_own_class(fields: dict[str, Any], expected: str | None) -> None:
    assert classify_attempt(AttemptState(**fields)) == expected


def test_alike_failures_have_one_signature_and_others_have_another() -> None:
    first = "band 8 of S2A_MSIL2A_20240715T150921_N0510_R025 is not a TIFF: s3://a/b/1.tif (at byte 12)"
    second = "band 8 of S2B_MSIL2A_20230101T150921_N0509_R125 is not a TIFF: s3://c/d/2.tif (at byte 4096)"
    assert signature("data", first) == signature("data", second)
    assert signature("data", first) != signature("bug", first)
    assert signature("data", first) != signature("data", "band 8 of X_1 is cut off")
    assert signature("spot", "Host EC2 (instance i-0f1e2d3c4b5a69788) terminated") == (
        "spot: Host EC2 (instance <instance>) terminated"
    )
    assert signature("killed", None) == "killed"


@pytest.mark.parametrize("cause", ["start", "timeout"])
def test_what_glacierflow_knows_itself_is_a_code_and_the_words_of_aws_come_first(cause: Any) -> None:
    assert judged(cause=cause, status_reason="the invocation never began").failure == cause
    assert judged(cause=cause, exit_code=75, outcome="interrupted").failure == cause
    assert (
        judged(cause=cause, status_reason="the machine ended: is not authorized to perform").failure
        == "config"
    )
    kept = SlotEntry.of(0, SlotState("FAILED", "job", cause=cause))
    assert (
        SlotEntry.model_validate_json(kept.model_dump_json(exclude_defaults=True)).state_of().cause == cause
    )


def test_no_sentence_of_aws_is_written_where_it_would_be_read_back() -> None:
    """Only the table that reads them has them, and the embedded cloud, which says what AWS says."""
    package = Path(glacierflow.__file__).parent
    for words in ("Task failed to start", "attempt duration exceeded timeout"):
        found = {path.relative_to(package) for path in package.rglob("*.py") if words in path.read_text()}
        assert {path.as_posix() for path in found if path.parts[0] != "local"} == {"runs/aws_messages.py"}


def test_the_vocabulary_is_whole() -> None:
    assert len(FAILURE_CLASSES) == 12


AGENT = "CannotInspectContainerError: Could not transition to inspecting; timed out after waiting 30s"
RUNC = "CannotStartContainerError: Error response from daemon: OCI runtime create failed: "


@pytest.mark.parametrize(
    ("status_reason", "container_reason", "outcome", "started", "expected", "said"),
    [
        # words that agents, Docker and Batch have been seen to use; what they mean depends on what was left
        (EXITED, AGENT, "done", 1, "killed", "its work is done"),
        (EXITED, AGENT, "no_data", 1, "killed", "its work is done"),
        (EXITED, AGENT, None, 1, "killed", "its machine lost sight of it"),
        (EXITED, AGENT, None, 0, "start", "could not be started"),
        ("ECS Agent disconnected", "CannotStopContainerError: x", None, 1, "killed", "lost sight of it"),
        ("Job attempt duration exceeded timeout", None, "done", 1, "killed", "its work is done"),
        (
            EXITED,
            "CannotPullContainerError: API error (404): repository serverless-batch not found: "
            "does not exist or no pull access",
            None,
            0,
            "config",
            "image could not be found",
        ),
        ("Task failed to start", f"{RUNC}container init was OOM-killed", None, 0, "oom", "out of memory"),
        ("Task failed to start", f"{RUNC}Running hook #0: signal: killed", None, 0, "start", "hook"),
        ("Task failed to start", f'{RUNC}exec: "python": executable file not found', None, 0, "config", ""),
        (
            "Capacity is unavailable at this time. Please try again later or in a different zone",
            None,
            None,
            0,
            "capacity",
            "no machine",
        ),
        ("Job Queue deleted or CE disabled: Compute environment is disabled", None, None, 0, "config", ""),
        ("Array Child Job has been cancelled as parent was terminated", None, None, 0, "cancelled", ""),
    ],
)
def test_what_was_left_decides_what_the_same_words_mean(
    status_reason: str,
    container_reason: str | None,
    outcome: str | None,
    started: int,
    expected: str,
    said: str,
) -> None:
    verdict = judged(
        status_reason=status_reason, container_reason=container_reason, outcome=outcome, started=started
    )
    assert verdict.failure == expected
    assert said in verdict.sentence
