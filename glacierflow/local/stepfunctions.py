"""AWS Step Functions on moto: executions really run, and their calls are answered by this embedded cloud."""

from __future__ import annotations

import copy
import os
from typing import Any

from moto.core.config import default_user_config
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_batch import (
    StateTaskServiceBatch,
)

from glacierflow.local import moto_private

_WORDS_OF_THE_USER = {"tags", "Tags", "parameters", "Parameters"}
"""Maps whose keys are nobody's to change."""


def install(port: int) -> None:
    """Let executions run, against this port, and let SubmitJob be spelled as Step Functions spells it."""
    os.environ["MOTO_PORT"] = str(port)
    # Any: moto's configuration is a typed dictionary that lacks this key
    config: Any = default_user_config
    config["stepfunctions"] = {"execute_state_machine": True}

    # the names of both parameters are moto's, which calls by them
    def request(_: Any, parameters: Any, *__: Any, **___: Any) -> None:  # noqa: ANN401
        _replace(parameters, _spelled(parameters, upper=False))

    def answer(_: Any, response: Any, *__: Any, **___: Any) -> None:  # noqa: ANN401
        if isinstance(response, dict):
            _replace(response, _spelled(response, upper=True))

    def effective(evaluate: Any) -> Any:  # noqa: ANN401
        def evaluated(self: Any, env: Any) -> dict[str, Any]:  # noqa: ANN401
            """A task without Parameters is given its input, which moto forgets."""
            if self.parargs:
                told: dict[str, Any] = evaluate(self, env)
                return told
            known = moto_private.supported_parameters(self)
            return {name: one for name, one in copy.deepcopy(env.states.get_input()).items() if name in known}

        return evaluated

    moto_private.replace_task_parameters(StateTaskServiceBatch, effective, request, answer)


def _replace(old: dict[str, Any], new: dict[str, Any]) -> None:
    old.clear()
    old.update(new)


def _spelled(value: Any, *, upper: bool) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {
            (key[:1].upper() if upper else key[:1].lower()) + key[1:]: one
            if key in _WORDS_OF_THE_USER
            else _spelled(one, upper=upper)
            for key, one in value.items()
        }
    return [_spelled(one, upper=upper) for one in value] if isinstance(value, list) else value
