"""Batch in the embedded cloud: what a child gets, how jobs end, and what AWS refuses."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from container.engine import docker
from embedded import BatchBench, alive, wait_for

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint

pytestmark = pytest.mark.embedded

NO_RETRY = {"attempts": 1}


@pytest.fixture(scope="module")
def processes(cloud_endpoint: Endpoint) -> BatchBench:
    """For what only processes do, or what does not depend on what children run as."""
    return BatchBench(cloud_endpoint.url)


@pytest.fixture(scope="module")
def containers(container_cloud: Endpoint, image: str) -> BatchBench:
    """For what only containers do."""
    return BatchBench(container_cloud.url, image)


@pytest.fixture(scope="module", params=["processes", "containers"])
def bench(request: pytest.FixtureRequest) -> BatchBench:
    """Both ways to run children: they behave alike."""
    chosen: BatchBench = request.getfixturevalue(request.param)
    return chosen


def environment_of(bench: BatchBench, job_id: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in bench.lines(bench.wait(job_id)) if "=" in line)


def test_a_plain_job_sees_its_place_and_a_clean_environment(bench: BatchBench) -> None:
    job_id = bench.submit(["env"], overrides={"environment": [{"name": "MINE", "value": "1"}]})
    seen = environment_of(bench, job_id)
    assert seen["AWS_BATCH_JOB_ID"] == job_id
    assert seen["AWS_BATCH_JOB_ATTEMPT"] == "1"
    assert seen["AWS_BATCH_JQ_NAME"] == seen["AWS_BATCH_CE_NAME"] == "glacierflow-ondemand"
    assert "AWS_BATCH_JOB_ARRAY_INDEX" not in seen
    assert seen["AWS_ENDPOINT_URL"] == bench.url
    assert seen["AWS_ACCESS_KEY_ID"] == seen["AWS_SECRET_ACCESS_KEY"] == "embedded"
    assert seen["AWS_DEFAULT_REGION"] == seen["AWS_REGION"] == "us-west-2"
    assert seen["PYTHONUNBUFFERED"] == seen["GLACIERFLOW_EMBEDDED"] == seen["MINE"] == "1"
    assert not [name for name in seen if name.startswith("PYTEST")]
    job = bench.describe(job_id)
    assert job["status"] == "SUCCEEDED"
    assert job["statusReason"] == "Essential container in task exited"
    assert job["container"]["exitCode"] == 0
    assert job["createdAt"] <= job["startedAt"] <= job["stoppedAt"]


def test_array_children_have_an_index_each_and_roll_up(bench: BatchBench) -> None:
    parent = bench.shell("test $AWS_BATCH_JOB_ARRAY_INDEX != 2", arrayProperties={"size": 4})
    job = bench.wait(parent)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Array Child Job failed")
    summary = job["arrayProperties"]["statusSummary"]
    assert (job["arrayProperties"]["size"], summary["SUCCEEDED"], summary["FAILED"]) == (4, 3, 1)
    children = bench.batch.describe_jobs(jobs=[f"{parent}:{index}" for index in range(4)])["jobs"]
    assert [child["status"] for child in children] == ["SUCCEEDED", "SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert [child["arrayProperties"]["index"] for child in children] == [0, 1, 2, 3]
    assert children[2]["attempts"][0]["container"]["exitCode"] == 1


def test_a_parent_is_pending_while_children_run(bench: BatchBench) -> None:
    parent = bench.shell("sleep 30", arrayProperties={"size": 2})
    bench.wait(f"{parent}:1", "RUNNING")
    assert bench.describe(parent)["status"] == "PENDING"
    bench.batch.terminate_job(jobId=parent, reason="enough seen")
    job = bench.wait(parent)
    assert job["status"] == "FAILED"
    child = bench.describe(f"{parent}:0")
    assert (child["status"], child["statusReason"], child["isTerminated"]) == ("FAILED", "enough seen", True)


def test_python_is_the_one_that_runs_this_test(processes: BatchBench) -> None:
    job = processes.wait(processes.submit(["python", "-c", "import sys; print(sys.executable)"]))
    assert processes.lines(job) == [sys.executable]


def test_glacierflow_is_this_very_glacierflow(processes: BatchBench) -> None:
    job = processes.wait(processes.submit(["glacierflow", "--version"]))
    assert job["status"] == "SUCCEEDED", processes.lines(job)
    assert processes.lines(job)[0].startswith("glacierflow ")


def test_parameters_fill_the_command(bench: BatchBench) -> None:
    job = bench.wait(bench.submit(["echo", "Ref::word"], parameters={"word": "ice"}))
    assert bench.lines(job) == ["ice"]


def test_logs_can_be_read_while_the_job_runs(bench: BatchBench) -> None:
    job_id = bench.shell("echo first; sleep 30; echo second")
    job = bench.wait(job_id, "RUNNING")
    wait_for(lambda: bench.lines(job) == ["first"])
    # as `aws logs tail` asks
    found = bench.logs.filter_log_events(
        logGroupName="/test/jobs", startTime=job["startedAt"] - 1000, interleaved=True
    )["events"]
    assert ("first", job["container"]["logStreamName"]) in {
        (event["message"], event["logStreamName"]) for event in found
    }
    bench.batch.terminate_job(jobId=job_id, reason="seen")
    bench.wait(job_id)


def test_attempts_have_their_own_number_code_and_stream(bench: BatchBench) -> None:
    job = bench.wait(bench.shell("echo $AWS_BATCH_JOB_ATTEMPT; exit 9", retryStrategy={"attempts": 3}))
    assert job["status"] == "FAILED"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [9, 9, 9]
    streams = [attempt["container"]["logStreamName"] for attempt in job["attempts"]]
    assert len(set(streams)) == 3
    assert all(attempt["startedAt"] <= attempt["stoppedAt"] for attempt in job["attempts"])
    said = [
        bench.logs.get_log_events(logGroupName="/test/jobs", logStreamName=stream)["events"][0]["message"]
        for stream in streams
    ]
    assert said == ["1", "2", "3"]


RULES = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onExitCode": "75", "action": "RETRY"},
    {"onExitCode": "7*", "onReason": "nothing like it", "action": "EXIT"},
    {"onExitCode": "6*", "action": "exit"},
]


@pytest.mark.parametrize(
    ("code", "attempts"),
    [
        pytest.param(75, 3, id="retry-rule"),
        pytest.param(65, 1, id="exit-rule-by-prefix"),
        pytest.param(78, 3, id="one-of-two-conditions-is-no-match"),
        pytest.param(1, 3, id="no-match-means-retry"),
    ],
)
def test_the_first_matching_rule_decides(bench: BatchBench, code: int, attempts: int) -> None:
    job = bench.wait(bench.shell(f"exit {code}", retryStrategy={"attempts": 3, "evaluateOnExit": RULES}))
    assert len(job["attempts"]) == attempts


def test_the_submission_replaces_the_definitions_retries(bench: BatchBench) -> None:
    definition = bench.define(retryStrategy={"attempts": 5})
    job = bench.wait(bench.shell("exit 1", jobDefinition=definition, retryStrategy={"attempts": 2}))
    assert len(job["attempts"]) == 2


def test_our_own_definition_retries_75_and_not_65(bench: BatchBench) -> None:
    flaky = bench.wait(
        bench.shell('test "$AWS_BATCH_JOB_ATTEMPT" = 3 || exit 75', jobDefinition="glacierflow-7500")
    )
    assert (flaky["status"], len(flaky["attempts"])) == ("SUCCEEDED", 3)
    bad = bench.wait(bench.shell("exit 65", jobDefinition="glacierflow-7500"))
    assert (bad["status"], len(bad["attempts"])) == ("FAILED", 1)


def test_a_killed_child_ends_with_137(bench: BatchBench) -> None:
    job_id = bench.shell("echo $$; exec sleep 30", retryStrategy=NO_RETRY)
    job = bench.wait(job_id, "RUNNING")
    wait_for(lambda: bool(bench.lines(job)))
    if bench.image == "none":
        os.kill(int(bench.lines(job)[0]), signal.SIGKILL)
    else:
        docker("kill", container_of(job_id))
    job = bench.wait(job_id)
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 137)


def test_what_a_child_leaves_running_ends_with_it(processes: BatchBench) -> None:
    job = processes.wait(processes.shell("sleep 300 & echo $!"))
    left = int(processes.lines(job)[0])
    wait_for(lambda: not alive(left))


def test_a_missing_executable_never_starts(bench: BatchBench) -> None:
    job = bench.wait(bench.submit(["no-such-program"], retryStrategy=NO_RETRY))
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert job["container"]["reason"].startswith("CannotStartContainerError")
    assert "exitCode" not in job["container"]
    assert "exitCode" not in job["attempts"][0]["container"]
    assert "logStreamName" not in job["attempts"][0]["container"]


def test_timeout_sends_sigterm_and_does_not_retry(bench: BatchBench) -> None:
    script = "trap 'echo told; exit 3' TERM; sleep 60 & wait"
    job = bench.wait(
        bench.shell(script, timeout={"attemptDurationSeconds": 60}, retryStrategy={"attempts": 3})
    )
    assert (job["status"], job["statusReason"]) == ("FAILED", "Job attempt duration exceeded timeout")
    assert len(job["attempts"]) == 1
    assert job["container"]["exitCode"] == 3
    assert bench.lines(job) == ["told"]
    assert 900 <= job["stoppedAt"] - job["startedAt"] < 10_000


def test_timeout_kills_who_does_not_listen(bench: BatchBench) -> None:
    job = bench.wait(
        bench.shell("trap '' TERM; while :; do sleep 0.1; done", timeout={"attemptDurationSeconds": 60})
    )
    assert job["container"]["exitCode"] == 137
    assert job["statusReason"] == "Job attempt duration exceeded timeout"
    # one real second for the timeout, half a second for the 30 s of grace
    assert job["stoppedAt"] - job["startedAt"] >= 1450


def test_memory_of_the_whole_tree_is_capped(processes: BatchBench) -> None:
    hog = "python -c 'x = bytearray(120 << 20); import time; time.sleep(20)' & "
    limit = {"resourceRequirements": [{"type": "MEMORY", "value": "200"}]}
    started = time.monotonic()
    job = processes.wait(processes.shell(f"{hog}{hog}wait", overrides=limit, retryStrategy=NO_RETRY))
    assert time.monotonic() - started < 15
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 137)
    assert job["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"
    assert job["attempts"][0]["container"]["reason"] == job["container"]["reason"]


def test_out_of_memory_is_137_with_its_reason(bench: BatchBench) -> None:
    hog = ["python", "-c", "x = bytearray(300 << 20); import time; time.sleep(20)"]
    limit = {"resourceRequirements": [{"type": "MEMORY", "value": "100"}]}
    job = bench.wait(bench.submit(hog, overrides=limit, retryStrategy=NO_RETRY))
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 137)
    assert job["statusReason"] == "Essential container in task exited"
    assert job["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_memory_below_the_cap_is_left_alone(bench: BatchBench) -> None:
    hog = ["python", "-c", "x = bytearray(120 << 20); import time; time.sleep(0.6)"]
    limit = {"resourceRequirements": [{"type": "MEMORY", "value": "300"}]}
    assert bench.wait(bench.submit(hog, overrides=limit))["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"arrayProperties": {"size": 1}}, "Array size", id="array-of-one"),
        pytest.param({"arrayProperties": {"size": 10_001}}, "Array size", id="array-too-big"),
        pytest.param({"retryStrategy": {"attempts": 11}}, "Attempts", id="attempts-11"),
        pytest.param({"retryStrategy": {"attempts": 0}}, "Attempts", id="attempts-0"),
        pytest.param({"retryStrategy": {"evaluateOnExit": RULES}}, "Attempts must be", id="no-attempts"),
        pytest.param(
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [*RULES, *RULES]}},
            "5 conditions",
            id="rules-8",
        ),
        pytest.param(
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onReason": "*x", "action": "EXIT"}]}},
            "restricted characters",
            id="leading-star",
        ),
        pytest.param(
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onReason": "a(b)", "action": "EXIT"}]}},
            "restricted characters",
            id="bracket",
        ),
        pytest.param(
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "7a", "action": "EXIT"}]}},
            "restricted characters",
            id="letter-in-code",
        ),
        pytest.param(
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "7", "action": "STOP"}]}},
            "action",
            id="unknown-action",
        ),
        pytest.param({"timeout": {"attemptDurationSeconds": 59}}, "at least 60", id="timeout-59"),
        pytest.param({"jobName": "-x"}, "Job name", id="name"),
        pytest.param({"jobQueue": "nowhere"}, "queue nowhere", id="queue"),
        pytest.param({"jobDefinition": "nothing"}, "definition nothing", id="definition"),
        pytest.param({"dependsOn": [{"jobId": "no-such-job"}]}, "no-such-job", id="dependency"),
        pytest.param({"dependsOn": [{"type": "SEQUENTIAL"}]}, "SEQUENTIAL", id="sequential-plain-job"),
        pytest.param({"dependsOn": [{"jobId": "x"}] * 21}, "at most 20", id="dependencies-21"),
        pytest.param(
            {"overrides": {"environment": [{"name": "AWS_BATCH_JOB_ARRAY_INDEX", "value": "1"}]}},
            "AWS_BATCH",
            id="reserved-name",
        ),
        pytest.param(
            {"overrides": {"environment": [{"name": "BIG", "value": "x" * 31_000}]}}, "30 KiB", id="payload"
        ),
    ],
)
def test_what_aws_refuses_is_refused(processes: BatchBench, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ClientError) as refused:
        processes.submit(["true"], **change)
    assert refused.value.response["Error"]["Code"] == "ClientException"
    assert told in refused.value.response["Error"]["Message"]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_definition_with_a_bad_rule_is_refused(processes: BatchBench) -> None:
    with pytest.raises(ClientError, match="restricted characters"):
        processes.define(
            retryStrategy={
                "attempts": 2,
                "evaluateOnExit": [{"onReason": "*", "action": "EXIT"}, {"onReason": "*x", "action": "EXIT"}],
            }
        )


def test_overrides_beyond_8192_characters_fail_later(bench: BatchBench) -> None:
    job_id = bench.submit(["true"], overrides={"environment": [{"name": "BIG", "value": "x" * 9000}]})
    job = bench.wait(job_id)
    assert job["status"] == "FAILED"
    assert "8192" in job["container"]["reason"]


def test_tags_and_resources_are_described(processes: BatchBench) -> None:
    job = processes.wait(processes.submit(["true"], tags={"run": "a"}, propagateTags=True))
    assert job["tags"] == {"run": "a"}
    assert job["propagateTags"] is True
    assert {"type": "MEMORY", "value": "500"} in job["container"]["resourceRequirements"]
    assert processes.batch.list_tags_for_resource(resourceArn=job["jobArn"])["tags"] == {"run": "a"}
    assert json.dumps(job["attempts"])


def container_of(job_id: str) -> str:
    """The running container of a job."""
    return docker("ps", "--quiet", "--filter", f"label=glacierflow.job={job_id}").strip()


def test_a_container_is_held_to_its_processors(containers: BatchBench) -> None:
    # version 2 of control groups, else version 1
    quota = "cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us"
    job = containers.wait(containers.shell(quota))
    numbers = {int(word) for line in containers.lines(job) for word in line.split()}
    assert numbers == {25_000, 100_000}


def test_a_containers_user_and_root_are_the_definitions(containers: BatchBench) -> None:
    definition = containers.define({"user": "4321:4321", "readonlyRootFilesystem": True})
    probe = "id -u; touch /opt/x 2>/dev/null || echo refused; touch /tmp/x && echo tmp"
    job = containers.wait(containers.shell(probe, jobDefinition=definition))
    assert containers.lines(job) == ["4321", "refused", "tmp"]
    own = containers.wait(containers.shell("id -u"))
    assert containers.lines(own) == ["1000"]


def test_a_missing_image_cannot_be_pulled(containers: BatchBench) -> None:
    # a registry that nobody runs
    definition = containers.define({"image": "127.0.0.1:1/glacierflow:none"})
    job = containers.wait(containers.shell("true", jobDefinition=definition, retryStrategy=NO_RETRY))
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert job["container"]["reason"].startswith("CannotPullContainerError: ")
    assert "exitCode" not in job["container"]


def test_nothing_of_a_container_is_left(containers: BatchBench) -> None:
    job_id = containers.shell("true")
    containers.wait(job_id)
    assert docker("ps", "--all", "--quiet", "--filter", f"label=glacierflow.job={job_id}") == ""
