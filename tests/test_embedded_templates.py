"""The JSON files in ``batch/``: AWS's own model accepts them, and they say what the design asks."""

from __future__ import annotations

import botocore.session
import pytest
from botocore.validate import ParamValidator

from glacierflow.local.bootstrap import JOB_DEFINITION, JOB_QUEUES, template

CALLS = {
    "compute-environment-spot": "CreateComputeEnvironment",
    "compute-environment-ondemand": "CreateComputeEnvironment",
    "job-queue-spot": "CreateJobQueue",
    "job-queue-ondemand": "CreateJobQueue",
    "job-definition": "RegisterJobDefinition",
}


@pytest.mark.parametrize(("name", "call"), CALLS.items())
def test_botocore_accepts_the_template(name: str, call: str) -> None:
    model = botocore.session.get_session().get_service_model("batch")
    shape = model.operation_model(call).input_shape
    assert shape is not None
    report = ParamValidator().validate(template(name), shape)
    assert not report.has_errors(), report.generate_report()


def test_the_definition_ends_with_exit_and_retries_75() -> None:
    definition = template("job-definition")
    assert definition["jobDefinitionName"] == JOB_DEFINITION
    rules = definition["retryStrategy"]["evaluateOnExit"]
    assert len(rules) == 5
    assert rules[-1] == {"onReason": "*", "action": "EXIT"}
    assert {"onExitCode": "75", "action": "RETRY"} in rules
    assert definition["retryStrategy"]["attempts"] == 4
    assert definition["propagateTags"] is True
    assert definition["containerProperties"]["command"] == ["python", "-m", "glacierflow.task"]


def test_each_queue_uses_its_own_environment() -> None:
    for name in JOB_QUEUES:
        queue = template(f"job-queue-{name.removeprefix('glacierflow-')}")
        assert queue["jobQueueName"] == name
        assert [one["computeEnvironment"] for one in queue["computeEnvironmentOrder"]] == [name]
