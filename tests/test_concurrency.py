"""What may be reserved for the function, by answers that Lambda gives for accounts of several sizes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from stubbed import stubbed
from test_template import ACCOUNT

from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError
from glacierflow.stack import existing
from glacierflow.stack.deploy import StackState
from glacierflow.stack.existing import Fit, fit_reservation
from glacierflow.stack.resolve import Resolver
from glacierflow.stack.templates import load_template

BASE = "glacierflow"


def fit(
    monkeypatch: pytest.MonkeyPatch,
    unreserved: int | None,
    given: dict[str, str] | None = None,
    last: dict[str, str] | None = None,
    reserved: int | None = None,
) -> Fit:
    """With an account that has so many left; None refuses the question."""
    state = None
    if last is not None:
        now = dt.datetime.now(dt.UTC)
        state = StackState(f"{BASE}-lambda", "id", "CREATE_COMPLETE", None, {}, last, now)
    monkeypatch.setattr(existing, "describe", lambda _, name: state if name == f"{BASE}-lambda" else None)
    with stubbed(monkeypatch, "lambda") as stub:
        if unreserved is None:
            stub.add_client_error("get_account_settings", "AccessDeniedException", "not allowed", 403)
        else:
            limit = {"ConcurrentExecutions": 10_000, "UnreservedConcurrentExecutions": unreserved}
            stub.add_response("get_account_settings", {"AccountLimit": limit})
        if last is not None and unreserved is not None:
            asked = {"FunctionName": last.get("FunctionName", "glacierflow-lambda")}
            if reserved is None:
                missing = "ResourceNotFoundException"
                stub.add_client_error(
                    "get_function_concurrency", missing, http_status_code=404, expected_params=asked
                )
            else:
                answer = {"ReservedConcurrentExecutions": reserved}
                stub.add_response("get_function_concurrency", answer, asked)
        return fit_reservation(Cloud(), BASE, given or {})


def test_an_account_of_the_usual_size_holds_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(monkeypatch, 1000) == Fit({})
    assert fit(monkeypatch, 150) == Fit({})


@pytest.mark.parametrize(("unreserved", "fits"), [(149, "49"), (101, "1"), (100, "0"), (50, "0"), (10, "0")])
def test_what_nobody_asked_for_is_as_much_as_fits_and_told(
    monkeypatch: pytest.MonkeyPatch, unreserved: int, fits: str
) -> None:
    told = fit(monkeypatch, unreserved)
    assert told.parameters == {"ReservedConcurrency": fits}
    assert told.note is not None
    assert told.note.startswith(
        f"the account can reserve {fits} of its invocations at once in us-west-2, not 50"
    )


def test_what_was_asked_for_by_hand_is_refused_with_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"can reserve 20 of its invocations at once .* not 30") as caught:
        fit(monkeypatch, 120, {"ReservedConcurrency": "30"})
    assert caught.value.next_step == "give --set ReservedConcurrency=20"
    with pytest.raises(UsageError) as caught:
        fit(monkeypatch, 10, {"ReservedConcurrency": "1"})
    assert caught.value.next_step == "give --set ReservedConcurrency=0, which reserves none"
    assert fit(monkeypatch, 120, {"ReservedConcurrency": "20"}) == Fit({})


def test_what_the_function_has_reserved_already_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    last = {"ReservedConcurrency": "80", "FunctionName": "mine"}
    assert fit(monkeypatch, 100, last=last, reserved=80) == Fit({})
    with pytest.raises(UsageError, match="can reserve 80 "):
        fit(monkeypatch, 100, {"ReservedConcurrency": "81"}, last=last, reserved=80)
    # a stack that was rolled back has its parameters, and no function
    assert fit(monkeypatch, 110, last=last).parameters == {"ReservedConcurrency": "10"}


def test_who_may_not_ask_goes_on_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = fit(monkeypatch, None)
    assert not told.parameters
    assert told.note is not None
    assert told.note.startswith(
        "could not check whether 50 invocations at once can be reserved: you are not allowed"
    )


def test_zero_is_not_asked_about_and_leaves_the_function_without_a_reservation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(existing, "describe", lambda *_: None)
    with stubbed(monkeypatch, "lambda"):
        assert fit_reservation(Cloud(), BASE, {"ReservedConcurrency": "0"}) == Fit({})

    def function(**given: str) -> dict[str, Any]:
        told = Resolver(load_template("lambda"), ACCOUNT, {"Bucket": "b"} | given)
        return told.resources("AWS::Lambda::Function")["Function"]

    assert "ReservedConcurrentExecutions" not in function(ReservedConcurrency="0")
    assert str(function()["ReservedConcurrentExecutions"]) == "50"
    assert str(function(ReservedConcurrency="7")["ReservedConcurrentExecutions"]) == "7"
