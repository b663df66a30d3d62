"""Passing or lasting: what each remote answer means, and how long it is asked for."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import exceptions as raised
from range_faults import FaultyServer
from refusals import refusal
from roles import Role
from urllib3.exceptions import ProtocolError

from glacierflow import net
from glacierflow.cloud import Cloud
from glacierflow.errors import CredentialsError, UnavailableError
from glacierflow.faults import Fault, Remedy, fault_of_aws, fault_of_status
from glacierflow.imagery.ranges import Ranges
from glacierflow.model.records import StepSettings
from glacierflow.net import Patience, persist

BODY = bytes(range(200))
AGAIN, FRESH, SCENE, NEVER = Remedy.AGAIN, Remedy.FRESH, Remedy.SCENE, Remedy.NEVER


def xml(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()


@pytest.mark.parametrize(
    ("status", "said", "remedy", "is_odd"),
    [
        *((status, b"", AGAIN, False) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        (403, b'{"message":"Forbidden"}', AGAIN, False),
        (403, b"<html>Request blocked</html>", AGAIN, False),
        (403, xml("AccessDenied"), NEVER, True),
        (403, xml("InvalidAccessKeyId"), NEVER, True),
        (403, xml("SignatureDoesNotMatch"), NEVER, True),
        (403, xml("RequestTimeTooSkewed"), AGAIN, False),
        (403, xml("ExpiredToken"), FRESH, False),
        (400, xml("ExpiredToken"), FRESH, False),
        (400, xml("TokenRefreshRequired"), FRESH, False),
        (400, xml("RequestTimeout"), AGAIN, False),
        (400, xml("SlowDown"), AGAIN, False),
        (400, b"Please try your request again later.", AGAIN, False),
        (400, b"bad geometry", SCENE, True),
        (401, b"", NEVER, True),
        (404, xml("NoSuchKey"), SCENE, True),
        (410, b"", SCENE, True),
    ],
)
def test_what_an_answer_means(status: int, said: bytes, remedy: Remedy, is_odd: bool) -> None:
    fault = fault_of_status(status, said)
    assert (fault.remedy, fault.is_odd) == (remedy, is_odd)


@pytest.mark.parametrize(
    ("error", "remedy", "was_tried"),
    [
        (refusal("GetObject", "AccessDenied", 403), NEVER, False),
        (refusal("GetObject", "NoSuchBucket", 404), NEVER, False),
        (refusal("GetObject", "ExpiredToken", 400), FRESH, False),
        (refusal("GetObject", "RequestTimeTooSkewed", 403), AGAIN, True),
        (refusal("GetObject", "SlowDown", 503), AGAIN, True),
        (refusal("GetObject", "Whatever", 500), AGAIN, True),
        (raised.CredentialRetrievalError(provider="container-role", error_msg="500"), AGAIN, False),
        (raised.MetadataRetrievalError(error_msg="500"), AGAIN, False),
        (raised.NoCredentialsError(), NEVER, False),
        (raised.PartialCredentialsError(provider="env", cred_var="secret"), NEVER, False),
        (raised.UnauthorizedSSOTokenError(), NEVER, False),
        (raised.EndpointConnectionError(endpoint_url="http://x"), AGAIN, True),
        (raised.ResponseStreamingError(error="reset"), AGAIN, False),
        (raised.FlexibleChecksumError(error_msg="differs"), SCENE, False),
        (ProtocolError("Connection broken", ConnectionResetError(104, "reset")), AGAIN, False),
        (ConnectionResetError(104, "reset"), AGAIN, False),
        (ValueError("Unsupported host"), NEVER, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_botocore_raises_means(error: Exception, remedy: Remedy, was_tried: bool) -> None:
    fault = fault_of_aws(error)
    assert (fault.remedy, fault.was_tried) == (remedy, was_tried)


def persisted(*faults: Fault, attempts: int = 5, ends: float = float("inf"), renews: bool = True) -> int:
    """How often was asked until it succeeded."""
    left, asked = list(faults), []

    def work() -> int:
        asked.append(1)
        if left:
            raise left.pop(0)
        return len(asked)

    return persist(work, Patience(attempts, ends), "made up", lambda: renews)


def test_passing_faults_are_asked_again_and_lasting_ones_once_more_where_they_are_odd(
    waits: list[float],
) -> None:
    assert persisted(Fault(AGAIN, "a"), Fault(FRESH, "b"), Fault(AGAIN, "c")) == 4
    assert persisted(Fault(NEVER, "a", is_odd=True)) == 2
    for last in (
        [Fault(NEVER, "a")],
        [Fault(SCENE, "a", is_odd=True)] * 2,
        [Fault(AGAIN, "a", was_tried=True)],
        [Fault(AGAIN, "a")] * 5,
        [Fault(Remedy.LESS, "a")],
    ):
        with pytest.raises(Fault) as failed:
            persisted(*last)
        assert failed.value.tries == len(last)
    with pytest.raises(Fault):
        persisted(Fault(FRESH, "a"), renews=False)
    assert len(waits) == 3 + 1 + 1 + 4


def test_what_a_server_asks_to_wait_is_waited_and_a_deadline_is_kept(waits: list[float]) -> None:
    assert persisted(Fault(AGAIN, "a", wait_s=12.5)) == 2
    assert waits == [12.5]
    with pytest.raises(Fault):
        persisted(Fault(AGAIN, "a", wait_s=12.5), ends=net.CLOCK.now() + 10)


def test_the_tries_of_a_request_outlast_an_outage_of_ten_seconds(waits: list[float]) -> None:
    """Even if chance makes every wait as short as it can be."""
    net.CLOCK = net.Clock(sleep=waits.append, chance=lambda: 0.0)
    with pytest.raises(Fault):
        persisted(*[Fault(AGAIN, "a")] * 99, attempts=StepSettings().request_attempts)
    assert sum(waits) > 10


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> Iterator[Role]:
    role = Role(monkeypatch)
    yield role
    role.close()


@pytest.fixture
def bucket() -> Iterator[FaultyServer]:
    server = FaultyServer({"b/a.tif": BODY})
    yield server
    server.close()


def read(bucket: FaultyServer) -> bytes:
    ranges = Ranges(Cloud(), StepSettings(imagery_s3_endpoint=bucket.url))
    return bytes(ranges.fetch("s3://b/a.tif", 0, 100, requester_pays=True)[0])


def tokens(bucket: FaultyServer) -> list[Any]:
    return [headers["X-Amz-Security-Token"] for headers in bucket.headers]


def test_credentials_that_end_soon_are_renewed_before_they_are_used(role: Role, bucket: FaultyServer) -> None:
    role.lives = [dt.timedelta(minutes=5)]
    assert read(bucket) == read(bucket) == BODY[:100]
    assert (tokens(bucket), role.fetches) == (["Token2", "Token2"], 2)


@pytest.mark.usefixtures("waits")
def test_a_token_that_is_refused_is_fetched_anew(role: Role, bucket: FaultyServer) -> None:
    bucket.plan = lambda number, _first: "expired" if number < 3 else None
    assert read(bucket) == BODY[:100]
    assert tokens(bucket) == ["Token1", "Token2", "Token3", "Token4"]
    assert role.fetches == 4


@pytest.mark.usefixtures("waits")
def test_a_role_whose_tokens_stay_refused_is_worth_another_attempt(role: Role, bucket: FaultyServer) -> None:
    bucket.plan = lambda _number, _first: "expired"
    with pytest.raises(UnavailableError, match=r"ExpiredToken \(7 tries\)"):
        read(bucket)
    assert role.fetches == 7


@pytest.mark.usefixtures("waits")
def test_a_role_that_is_away_is_unavailable_wherever_it_is_needed(role: Role, bucket: FaultyServer) -> None:
    role.fails = 10_000
    for needs in (
        lambda: read(bucket),
        lambda: Cloud().client("s3"),
        lambda: Cloud().require_imagery_credentials(None),
    ):
        with pytest.raises(UnavailableError, match="container-role"):
            needs()
    role.fails = 0
    assert read(bucket) == BODY[:100]


def test_an_address_of_credentials_that_cannot_be_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.org/role")
    with pytest.raises(CredentialsError, match=re.escape("cannot be used")):
        Cloud().client("s3")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"<html><body>SECRET</body></html>", "it answers with a page of HTML"),
        (
            b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Key>SECRET</Key></Error>",
            "XML with the code NoSuchKey",
        ),
        (b"<Error><Code>SECRET of somebody</Code></Error>", "it answers with XML"),
        (b"root:x:0:0:SECRET", "it answers with text"),
        (b'{"AccessKeyId": "SECRET"}', "it answers with JSON"),
        (b"\0\1SECRET", "it answers with other bytes"),
        (b"", "it answers with nothing"),
        (b'{"description": "limit is\\u001b[31m too high", "key": "SECRET"}', r"limit is\x1b[31m too high"),
    ],
)
def test_an_error_page_is_never_repeated(said: bytes, told: str) -> None:
    detail = fault_of_status(400, said).detail
    assert told in detail
    assert "SECRET" not in detail
    assert len(fault_of_status(400, b'{"message": "' + 5000 * b"a" + b'"}').detail) == 200
