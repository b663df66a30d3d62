"""Spot prices of the last days: asked for once a day, or assumed and said to be, whatever is in the way."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.cost import image_counts
from glacierflow.cost.image_counts import assumed_counts
from glacierflow.cost.price_sources import ask_spot_history, load_prices, read_spot_history, spot_history_file
from glacierflow.cost.prices import PriceBook, SpotHistory, SpotRange
from glacierflow.local.control import Endpoint

NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
TYPES = {"r6i.xlarge", "r5.xlarge"}
PLAN = [
    "batch",
    "plan",
    "--price",
    "--regions",
    "134_Arsuk",
    "--date1",
    "2024-07-01",
    "--date2",
    "2024-07-31",
]


def price(instance_type: str, zone: str, usd: str, hours_ago: float = 2_000) -> dict[str, Any]:
    return {
        "InstanceType": instance_type,
        "AvailabilityZone": zone,
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": usd,
        "Timestamp": dt.datetime.now(dt.UTC) - hours_ago * HOUR,
    }


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stubber:
    """An EC2 that has no answer but those it is given; whoever asks once more fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    stub = Stubber(boto3.client("ec2", region_name="us-west-2"))
    stub.activate()
    monkeypatch.setattr(Cloud, "client", lambda _cloud, service: {"ec2": stub.client}[service])
    monkeypatch.setattr(image_counts, "count_scenes", lambda units, *_: assumed_counts(units))
    return stub


def answers(ec2: Stubber, *prices: dict[str, Any]) -> None:
    ec2.add_response("describe_spot_price_history", {"SpotPriceHistory": list(prices), "NextToken": ""})


def asked(stub: Stubber) -> list[dict[str, Any]]:
    """Parameters of every call from now on."""
    calls: list[dict[str, Any]] = []
    stub.client.meta.events.register(
        "provide-client-params.ec2.DescribeSpotPriceHistory", lambda params, **_: calls.append(dict(params))
    )
    return calls


def test_a_day_is_asked_once_and_a_new_type_or_a_new_day_again(ec2: Stubber, tmp_path: Path) -> None:
    calls = asked(ec2)
    answers(ec2, price("r6i.xlarge", "us-west-2a", "0.10"), price("r6i.xlarge", "us-west-2b", "0.12"))
    first = ask_spot_history(tmp_path, Cloud(), TYPES, now=NOW)
    assert first.why_not is None
    assert first.history is not None
    assert first.history.ranges["r6i.xlarge"]["us-west-2b"] == SpotRange(p50=0.12, p90=0.12)
    assert first.history.types == ("r5.xlarge", "r6i.xlarge")
    assert calls[0]["EndTime"] - calls[0]["StartTime"] == 30 * 24 * HOUR
    assert calls[0]["Filters"] == [{"Name": "instance-type", "Values": ["r5.xlarge", "r6i.xlarge"]}]
    # a type without a market there was asked for, too
    assert ask_spot_history(tmp_path, Cloud(), {"r5.xlarge"}, now=NOW + 23 * HOUR) == first
    answers(ec2, price("r6g.xlarge", "us-west-2a", "0.08"), price("r6i.xlarge", "us-west-2a", "0.11"))
    more = ask_spot_history(tmp_path, Cloud(), {"r6g.xlarge"}, now=NOW + 2 * HOUR).history
    assert more is not None
    assert set(more.ranges) == {"r6g.xlarge", "r6i.xlarge"}
    answers(ec2, price("r6i.xlarge", "us-west-2a", "0.20"))
    later = ask_spot_history(tmp_path, Cloud(), TYPES, now=NOW + 27 * HOUR).history
    assert later is not None
    assert later.ranges["r6i.xlarge"]["us-west-2a"].p50 == 0.20
    assert len(calls) == 3


def test_regions_and_clocks_do_not_share_an_answer(ec2: Stubber, tmp_path: Path) -> None:
    answers(ec2, price("r6i.xlarge", "us-west-2a", "0.10"))
    ask_spot_history(tmp_path, Cloud(), TYPES, now=NOW)
    assert read_spot_history(tmp_path, "us-west-2", now=NOW + HOUR) is not None
    assert read_spot_history(tmp_path, "us-west-2", now=NOW - HOUR) is None, "an answer of tomorrow"
    assert read_spot_history(tmp_path, "eu-central-1", now=NOW) is None
    spot_history_file(tmp_path, "us-west-2").rename(spot_history_file(tmp_path, "eu-central-1"))
    assert read_spot_history(tmp_path, "eu-central-1", now=NOW) is None


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_copy_that_cannot_be_read_is_asked_for_again(ec2: Stubber, tmp_path: Path, content: str) -> None:
    spot_history_file(tmp_path, "us-west-2").write_text(content)
    answers(ec2, price("r6i.xlarge", "us-west-2a", "0.10"))
    assert ask_spot_history(tmp_path, Cloud(), TYPES, now=NOW).history is not None


def test_an_answer_that_cannot_be_kept_is_used(ec2: Stubber, tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("no folder")
    answers(ec2, price("r6i.xlarge", "us-west-2a", "0.10"))
    assert ask_spot_history(home, Cloud(), TYPES, now=NOW).history is not None


def test_who_may_not_ask_or_cannot_is_told_why(
    ec2: Stubber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def why(cloud: Cloud | None = None) -> str:
        history, said = ask_spot_history(tmp_path, cloud or Cloud(), TYPES, now=NOW)
        assert history is None
        return str(said)

    operation = "describe_spot_price_history"
    ec2.add_client_error(operation, "UnauthorizedOperation", "not authorized", http_status_code=403)
    assert why().startswith("you are not allowed to read the spot price history")
    ec2.add_client_error(operation, "ExpiredToken", http_status_code=400)
    assert why().startswith("AWS refuses your credentials (ExpiredToken)")
    ec2.add_client_error(operation, "RequestLimitExceeded", http_status_code=503)
    assert "EC2 could not read the spot price history" in why()
    answers(ec2)
    assert why() == "EC2 tells no spot price of these instance types in us-west-2"
    assert why(Cloud(embedded=True)) == "the embedded cloud has no prices"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "another cloud than AWS" in why()
    monkeypatch.delenv("AWS_ENDPOINT_URL")

    def unplugged(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://ec2.us-west-2.amazonaws.com")

    ec2.client.meta.events.register("before-parameter-build.ec2", unplugged)
    assert "EC2 could not be reached" in why()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(Cloud, "client", lambda *_: pytest.fail("AWS was asked without credentials"))
    assert why() == "there are no AWS credentials to read the spot price history"
    assert not spot_history_file(tmp_path, "us-west-2").exists()


def test_a_copy_of_yesterday_is_not_used_by_who_may_not_ask(ec2: Stubber, tmp_path: Path) -> None:
    answers(ec2, price("r6i.xlarge", "us-west-2a", "0.10"))
    ask_spot_history(tmp_path, Cloud(), TYPES, now=NOW)
    ec2.add_client_error("describe_spot_price_history", "UnauthorizedOperation", http_status_code=403)
    history, why = ask_spot_history(tmp_path, Cloud(), TYPES, now=NOW + 25 * HOUR)
    assert history is None
    assert "not allowed" in str(why)


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    history, why = ask_spot_history(tmp_path, Cloud(profile="nobody"), TYPES, now=NOW)
    assert (history, why) == (None, "aws_profile = nobody is not in your AWS configuration")


def test_estimate_limit_and_report_have_one_price() -> None:
    ranges = {"r6i.xlarge": {"us-west-2a": SpotRange(p50=0.10, p90=0.15)}}
    spot = SpotHistory(region="us-west-2", asked_at=NOW, types=("r6i.xlarge",), ranges=ranges)
    book = PriceBook(load_prices(None).table, spot=spot)
    for cautious in (False, True):
        known = book.price_of("r6i.xlarge", "spot", zone="us-west-2a", cautious=cautious)
        assert (known.usd, known.source) == (
            0.10,
            "median spot price in us-west-2a, spot history of 2026-11-30",
        )
    assert book.spot_range("r6i.xlarge") == SpotRange(p50=0.10, p90=0.15)
    # assumed: an r5.xlarge is 25.2 cents on demand
    assert book.price_of("r5.xlarge", "spot").usd == pytest.approx(0.252 * 0.45)
    assert book.price_of("r5.xlarge", "spot", cautious=True).usd == pytest.approx(0.252 * 0.70)
    assert book.spot_range("r5.xlarge").p90 == pytest.approx(0.252 * 0.70)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Of what was shown the estimate."""
    shown = capsys.readouterr().out.splitlines()
    return shown[next(number for number, text in enumerate(shown) if text.startswith("spot prices: ")) :]


def test_a_plan_asks_by_itself_and_its_limit_is_the_90th_percentile_of_what_it_hears(
    ec2: Stubber, capsys: pytest.CaptureFixture[str]
) -> None:
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    # 25 of 30 days at a cent for four children, then five days at a dollar
    answers(ec2, price("r6i.xlarge", "us-west-2a", "0.01"), price("r6i.xlarge", "us-west-2a", "1.00", 5 * 24))
    assert run(PLAN) == 0
    estimate = lines(capsys)
    assert estimate[0] == f"spot prices: spot history of {today}"
    assert not any("spot is assumed" in text for text in estimate)
    # from here on EC2 is not asked again, its stub has no other answer
    assert run([*PLAN, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["estimate"]
    assert (found["price_basis"], found["price_basis_why"]) == (f"spot history of {today}", None)
    median, high, on_demand = (line["compute_usd"] for line in found["lines"][:3])
    assert high == pytest.approx(100 * median)
    assert high > on_demand
    around = found["lines"][1]["around_usd"] + found["requests_usd"] + found["logs_usd"]
    assert run([*PLAN, "--max-usd", str(around + high * 0.99)]) == 64
    assert run([*PLAN, "--max-usd", str(around + high * 1.01)]) == 0


def test_without_the_permission_the_first_line_says_assumed_and_why(
    ec2: Stubber, capsys: pytest.CaptureFixture[str]
) -> None:
    ec2.add_client_error("describe_spot_price_history", "UnauthorizedOperation", "no", http_status_code=403)
    assert run(PLAN) == 0
    estimate = lines(capsys)
    assert estimate[0].startswith("spot prices: assumed (you are not allowed to read the spot price history")
    assert any("assumed at 45% (median) and 70% (90th percentile)" in text for text in estimate)


def test_a_dry_run_without_a_price_asks_nobody(ec2: Stubber) -> None:
    calls = asked(ec2)
    assert run([word for word in PLAN if word != "--price"]) == 0
    assert calls == []


def test_a_market_that_lacks_the_instances_is_said(ec2: Stubber, capsys: pytest.CaptureFixture[str]) -> None:
    answers(ec2, price("r6g.xlarge", "us-west-2a", "0.05"))
    assert run(PLAN) == 0
    why = "has no instances for children of 7,500 MiB)"
    assert lines(capsys)[0].startswith("spot prices: assumed (the spot history of ")
    assert run([*PLAN, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["estimate"]
    assert found["price_basis"] == "assumed"
    assert f"{found['price_basis_why']})".endswith(why)


@pytest.mark.embedded
def test_what_the_embedded_cloud_calls_a_price_is_not_used(
    at_cloud: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moto tells one price of everything, of 2006; a rehearsal is priced as a run without credentials."""
    client = Cloud(endpoint_url=at_cloud.url, embedded=True).client("ec2")
    told = client.describe_spot_price_history(InstanceTypes=["r6i.xlarge"])["SpotPriceHistory"]
    assert {one["SpotPrice"] for one in told} == {"0.00001"}
    monkeypatch.setattr(image_counts, "count_scenes", lambda units, *_: assumed_counts(units))
    assert run([*PLAN, "--local"]) == 0
    assert lines(capsys)[0] == "spot prices: assumed (the embedded cloud has no prices)"
    monkeypatch.setenv("AWS_ENDPOINT_URL", at_cloud.url)
    assert run(PLAN) == 0
    assert lines(capsys)[0].startswith("spot prices: assumed (AWS_ENDPOINT_URL names another cloud")
