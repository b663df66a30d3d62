"""What is wrong with a state machine's definition, by cfn-lint's schema of the States Language and more.

The schema (rule E3601) refuses a field it does not know in a state, but lets anything pass in what states
hold (rules of a choice, retriers, catchers, item processors), and cfn-lint looks at no transition but
``StartAt``. What it leaves open is closed here, by https://states-language.net/spec.html; no package for
Python checks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]
_SCHEMA = files("cfnlint.data.schemas.other.step_functions") / "statemachine.json"
_MORE = {
    "Retry": {
        "ErrorEquals",
        "IntervalSeconds",
        "MaxAttempts",
        "BackoffRate",
        "MaxDelaySeconds",
        "JitterStrategy",
    },
    "Catch": {"ErrorEquals", "Next", "ResultPath", "Assign", "Output"},
}
_PROCESSOR = {"ProcessorConfig", "StartAt", "States", "QueryLanguage"}
_CONFIG = {"Mode", "ExecutionType"}
_READER = {"Resource", "ReaderConfig", "Parameters", "Arguments"}


def faults(definition: Json) -> list[str]:
    """A sentence for each fault; none where Step Functions would take the definition."""
    schema = json.loads(_SCHEMA.read_text())
    # an earlier draft passes over what stands beside a reference, and so over misspelt fields
    errors = Draft202012Validator(schema).iter_errors(definition)
    operators = schema["definitions"]["choice"]["definitions"]["Operator"]["properties"]
    rule_fields = {*operators, "Variable", "Assign", "Condition", "Output"}
    by_schema = (f"{error.json_path}: {error.message}" for error in errors)
    return [*by_schema, *_of_machine(definition, "$", rule_fields)]


def _of_machine(machine: Json, where: str, rule_fields: set[str]) -> Iterator[str]:
    states = machine.get("States", {})
    reached = {machine.get("StartAt")}
    for name, state in states.items():
        here = f"{where}.States.{name}"
        reached |= set(_targets(state))
        for kind, known in _MORE.items():
            for entry in state.get(kind, []):
                yield from _unknown(entry, known, f"{here}.{kind}")
        for rule in state.get("Choices", []):
            yield from _of_rule(rule, rule_fields, f"{here}.Choices")
        yield from _unknown(state.get("ItemReader", {}), _READER, f"{here}.ItemReader")
        if "ItemProcessor" in state:
            processor = state["ItemProcessor"]
            yield from _unknown(processor, _PROCESSOR, f"{here}.ItemProcessor")
            yield from _unknown(processor.get("ProcessorConfig", {}), _CONFIG, f"{here}.ProcessorConfig")
            yield from _of_machine(processor, f"{here}.ItemProcessor", rule_fields)
        for branch in state.get("Branches", []):
            yield from _of_machine(branch, f"{here}.Branches", rule_fields)
        ends = state["Type"] in {"Choice", "Succeed", "Fail"}
        if not ends and ("Next" in state) is bool(state.get("End")):
            yield f"{here}: exactly one of Next and End says what follows"
    yield from (
        f"{where}: {name} is named, and is no state" for name in sorted(map(str, reached - set(states)))
    )
    yield from (f"{where}: nothing leads to {name}" for name in sorted(set(states) - reached))


def _targets(state: Json) -> Iterator[str]:
    yield from (state[key] for key in ("Next", "Default") if key in state)
    for entry in (*state.get("Choices", []), *state.get("Catch", [])):
        yield entry.get("Next", "nothing")


def _of_rule(rule: Json, known: set[str], where: str) -> Iterator[str]:
    yield from _unknown(rule, known, where)
    for nested in (*rule.get("And", []), *rule.get("Or", []), *([rule["Not"]] if "Not" in rule else [])):
        yield from _of_rule(nested, known, where)


def _unknown(entry: Json, known: set[str], where: str) -> Iterator[str]:
    yield from (f"{where}: {name} is no field of it" for name in sorted(entry.keys() - known - {"Comment"}))
