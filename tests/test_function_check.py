"""A function's sizes against what the settings say."""

from __future__ import annotations

from typing import Any

import pytest

from glacierflow.cloud import Cloud
from glacierflow.functions.check import examine_function
from glacierflow.launch.lambda_ import FunctionFacts
from glacierflow.settings import load_settings
from glacierflow.stack.templates import load_template

SIZES = {"memory_mb": 5120, "timeout_s": 600, "ephemeral_mb": 3072}


@pytest.mark.parametrize(
    ("differs", "verdict"),
    [
        ({}, "ok"),
        ({"memory_mb": 5121}, "problem"),
        ({"timeout_s": 601}, "problem"),
        ({"ephemeral_mb": 512}, "problem"),
    ],
)
def test_memory_disk_and_time_are_those_of_the_settings(differs: dict[str, Any], verdict: str) -> None:
    wanted = {"memory_size": "5120", "timeout": "600", "ephemeral_storage": "3072"}
    loaded = load_settings(overrides={f"LAMBDA.{key}": one for key, one in wanted.items()}, environ={})
    facts = FunctionFacts(name="f", arn="arn:f", role="arn:r", image=None, **{**SIZES, **differs})
    found = next(examine_function(facts, Cloud(), loaded, "bucket"))
    assert (found.name, found.verdict) == ("configuration", verdict)
    if differs:
        assert str(next(iter(differs.values()))) in found.text
        assert "[LAMBDA] says 5120 MB of memory, 3072 MB of /tmp, 600 s" in found.text


def test_a_function_deployed_without_settings_of_its_own_has_the_sizes_of_the_settings_defaults() -> None:
    parameters = load_template("lambda").parameters
    defaults = load_settings(environ={}).settings.lambda_
    assert [
        int(parameters[name]["Default"])
        for name in ("FunctionMemoryMB", "EphemeralStorageMiB", "FunctionTimeoutSeconds")
    ] == [defaults.memory_size, defaults.ephemeral_storage, defaults.timeout]
