"""Prices: looked up with their source, fetched from answers in AWS's shape, kept and used afterwards."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from glacierflow.cli.app import run
from glacierflow.cloud import Cloud
from glacierflow.cost.price_sources import fetch_spot_history, load_prices, prices_file, refresh_prices
from glacierflow.cost.prices import PriceBook, SpotPoint, SpotRange, gib_of, jobs_on, vcpus_of
from glacierflow.errors import CredentialsError, DataError, UnavailableError

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def product(instance_type: str, usd: str, *, unit: str = "Hrs", region: str = "us-west-2") -> str:
    """One entry of a PriceList, cut to what matters, in the shape of aws_v1."""
    sku = f"SKU{instance_type}"
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "attributes": {"instanceType": instance_type, "regionCode": region},
                "sku": sku,
            },
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": {
                    f"{sku}.JRTCKXETXF": {
                        "priceDimensions": {
                            f"{sku}.JRTCKXETXF.6YS6EN2CT7": {
                                "unit": unit,
                                "endRange": "Inf",
                                "description": f"${usd} per On Demand Linux {instance_type} Instance Hour",
                                "rateCode": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
                                "beginRange": "0",
                                "pricePerUnit": {"USD": usd},
                            }
                        },
                        "sku": sku,
                        "effectiveDate": "2026-10-01T00:00:00Z",
                        "offerTermCode": "JRTCKXETXF",
                        "termAttributes": {},
                    }
                }
            },
            "version": "20261001000000",
            "publicationDate": "2026-10-01T00:00:00Z",
        }
    )


def spot(instance_type: str, zone: str, days_ago: float, usd: str) -> dict[str, Any]:
    return {
        "InstanceType": instance_type,
        "AvailabilityZone": zone,
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": usd,
        "Timestamp": NOW - days_ago * DAY,
    }


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stubber]:
    stubs = {}
    for service, region in (("pricing", "us-east-1"), ("ec2", "us-west-2")):
        client = boto3.client(service, region_name=region, aws_access_key_id="x", aws_secret_access_key="x")  # type: ignore[call-overload]
        stubs[service] = Stubber(client)
        stubs[service].activate()
    asked: list[tuple[str, str]] = []

    def client_of(cloud: Cloud, service: str) -> Any:
        asked.append((service, cloud.region))
        assert service != "pricing" or cloud.region == "us-east-1"
        return stubs[service].client

    monkeypatch.setattr(Cloud, "client", client_of)
    return stubs


def answers(api: dict[str, Stubber], products: list[list[str]], prices: list[dict[str, Any]]) -> None:
    for number, page in enumerate(products):
        last = number == len(products) - 1
        api["pricing"].add_response(
            "get_products",
            {"FormatVersion": "aws_v1", "PriceList": page, **({} if last else {"NextToken": "more"})},
            {"ServiceCode": "AmazonEC2", "Filters": ANY, "FormatVersion": "aws_v1"}
            | ({"NextToken": "more"} if number else {}),
        )
    api["ec2"].add_response("describe_spot_price_history", {"SpotPriceHistory": prices, "NextToken": ""})


def test_the_packaged_table_says_when_and_whence_and_that_spot_is_assumed() -> None:
    book = load_prices(None)
    assert book.table.region == "us-west-2"
    assert "not fetched" in book.table.source
    assert book.price_of("r5.large", "on-demand").usd == pytest.approx(0.126)
    assert book.price_of("r5.4xlarge", "on-demand").usd == pytest.approx(1.008)
    assumed = book.price_of("r5.large", "spot", zone="us-west-2a")
    assert assumed.usd == pytest.approx(0.126 * 0.45)
    assert assumed.source == f"assumed: 45% of the on-demand price, table of {book.table.as_of}"


def test_a_type_without_a_price_is_named() -> None:
    with pytest.raises(DataError, match=r"no price for p5\.48xlarge in the table of"):
        load_prices(None).price_of("p5.48xlarge", "on-demand")


def test_sizes_memory_and_jobs_by_name() -> None:
    assert [vcpus_of(f"r6i.{size}") for size in ("large", "xlarge", "2xlarge", "24xlarge")] == [2, 4, 8, 96]
    assert [gib_of(f"{family}.xlarge") for family in ("c6i", "m6i", "r6i")] == [8, 16, 32]
    # 16 GiB less 5 % hold two jobs of 7,500 MiB; 8 GiB hold one; 4 GiB none
    assert [jobs_on(f"{family}.large", 7_500, 1) for family in ("r6i", "m6i", "c6i")] == [2, 1, 0]
    assert jobs_on("r6i.4xlarge", 63_200, 8) == 1
    with pytest.raises(DataError, match="nonsense"):
        vcpus_of("nonsense")
    with pytest.raises(DataError, match=r"t3\.large"):
        gib_of("t3.large")


def test_a_refresh_reads_every_page_and_is_used_afterwards(api: dict[str, Stubber], tmp_path: Path) -> None:
    free, per_piece = product("r6i.2xlarge", "0.0000000000"), product("m5.large", "9", unit="Quantity")
    pages = [
        [product("r6i.large", "0.1300000000"), product("t3.micro", "0.0104000000")],
        [product("r6i.xlarge", "0.2600000000"), free, per_piece],
    ]
    # in zone a, of the 30 days: 10 at 4 cents, 6 at 5, 14 at 6
    history = [
        spot("r6i.large", "us-west-2a", 40, "0.040"),
        spot("r6i.large", "us-west-2a", 20, "0.050"),
        spot("r6i.large", "us-west-2a", 14, "0.060"),
        spot("r6i.large", "us-west-2b", 40, "0.030"),
        spot("r6i.large", "us-west-2c", 40, "0.070"),
    ]
    answers(api, pages, history)
    table = refresh_prices(tmp_path, Cloud(), now=NOW)
    assert table.on_demand == {"r6i.large": 0.13, "r6i.xlarge": 0.26}
    assert table.spot["r6i.large"]["us-west-2a"] == SpotRange(p50=0.05, p90=0.06)
    assert table.as_of == NOW.date()
    book = load_prices(tmp_path)
    assert book.table == table
    assert book.price_of("r6i.large", "spot", zone="us-west-2b").usd == 0.03
    assert book.price_of("r6i.large", "spot").usd == 0.05
    assert book.price_of("r6i.large", "spot").source == "median spot price over 3 zones, table of 2026-11-01"
    assert book.spot_range("r6i.large") == SpotRange(p50=0.05, p90=0.07)
    # what was not fetched is as packaged
    assert book.price_of("m5.large", "on-demand").usd == pytest.approx(0.096)


def test_the_packaged_prices_used_for_another_region_are_said_to_be() -> None:
    book = load_prices(None, "eu-central-1")
    (said,) = book.caveats
    assert "the prices are those of us-west-2, not of eu-central-1" in said
    assert "`glacierflow prices refresh --aws-region eu-central-1`" in said
    price = book.price_of("r6i.large", "on-demand")
    assert price.usd == pytest.approx(0.126)
    assert price.source == f"on-demand price, table of {book.table.as_of} for us-west-2"
    assert load_prices(None).caveats == load_prices(None, "us-west-2").caveats == ()


def test_each_region_keeps_its_own_prices(api: dict[str, Stubber], tmp_path: Path) -> None:
    answers(api, [[product("r6i.large", "0.13")]], [])
    refresh_prices(tmp_path, Cloud(), now=NOW)
    there = [
        product("r6i.large", "0.152", region="eu-central-1"),
        product("r6i.4xlarge", "1.216", region="eu-central-1"),
        product("r7g.xlarge", "0.2576", region="eu-central-1"),
        product("r7g.metal", "4.1216", region="eu-central-1"),
    ]
    answers(api, [there], [spot("r6i.large", "eu-central-1a", 40, "0.06")])
    asked: dict[str, Any] = {}
    for stub in api.values():
        stub.client.meta.events.register(
            "provide-client-params", lambda params, model, **_: asked.update({model.name: params})
        )
    refresh_prices(tmp_path, Cloud(region="eu-central-1"), now=NOW)
    filters = {one["Field"]: one["Value"] for one in asked["GetProducts"]["Filters"]}
    assert filters["regionCode"] == "eu-central-1"
    # a type that the region does not have is not asked for
    (types,) = asked["DescribeSpotPriceHistory"]["Filters"]
    assert types == {"Name": "instance-type", "Values": ["r6i.4xlarge", "r6i.large", "r7g.xlarge"]}
    far, near = load_prices(tmp_path, "eu-central-1"), load_prices(tmp_path, "us-west-2")
    assert near.price_of("r6i.large", "on-demand").usd == 0.13
    assert near.caveats == ()
    assert far.price_of("r6i.large", "on-demand").usd == 0.152
    assert far.price_of("r6i.2xlarge", "on-demand").usd == pytest.approx(8 * 0.076)
    assert far.price_of("r6i.large", "spot", zone="eu-central-1a").usd == 0.06
    assert far.table.per_vcpu_hour == pytest.approx({"r6i": 0.076, "r7g": 0.0644})
    (said,) = far.caveats
    assert said.startswith("only instances are priced as in eu-central-1; Fargate, Lambda")
    assert said.endswith("as in us-west-2")
    # no price of us-west-2 stands in for what the region does not have
    with pytest.raises(DataError, match=r"no price for m5\.large"):
        far.price_of("m5.large", "on-demand")


def test_true_prices_of_the_moment_win(api: dict[str, Stubber]) -> None:
    answers(api, [], [spot("r5.large", "us-west-2a", 3, "0.05"), spot("r5.large", "us-west-2a", 1, "0.06")])
    points = fetch_spot_history(Cloud(), ["r5.large"], NOW - 3 * DAY, NOW)
    book = load_prices(None).with_history(points)

    def price(days_ago: float, zone: str | None = "us-west-2a") -> float:
        return book.price_of("r5.large", "spot", zone=zone, when=NOW - days_ago * DAY).usd

    assert [price(2.9), price(1.1), price(1), price(0)] == [0.05, 0.05, 0.06, 0.06]
    assumed = pytest.approx(0.126 * 0.45)
    assert price(4) == assumed
    assert price(1, "us-west-2b") == assumed
    assert price(1, None) == assumed
    assert book.price_of("r5.large", "on-demand", when=NOW).usd == pytest.approx(0.126)


def test_no_price_at_all_and_no_credentials_are_said_and_leave_the_old_table(
    api: dict[str, Stubber], tmp_path: Path
) -> None:
    answers(api, [[]], [])
    with pytest.raises(UnavailableError, match="gives no price for us-west-2"):
        refresh_prices(tmp_path, Cloud(), now=NOW)
    api["pricing"].add_client_error("get_products", "ExpiredTokenException", http_status_code=403)
    with pytest.raises(CredentialsError):
        refresh_prices(tmp_path, Cloud(), now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    prices_file(tmp_path, "us-west-2").write_text("{")
    with pytest.raises(DataError, match=r"prices-us-west-2\.json is not a price table"):
        load_prices(tmp_path)


def test_show_and_refresh_as_typed(
    api: dict[str, Stubber],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["prices", "show"]) == 0
    out = capsys.readouterr().out
    assert "not fetched from the price API" in out
    assert "r6i    $0.06300 a vCPU hour on demand" in out
    answers(api, [[product("r6i.large", "0.13")]], [spot("r6i.large", "us-west-2a", 40, "0.05")])
    assert run(["prices", "refresh", "--quiet"]) == 0
    capsys.readouterr()
    assert run(["prices", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["on_demand"] == {"r6i.large": 0.13}
    assert run(["prices", "show", "--json", "--aws-region", "eu-central-1"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["on_demand"] == {}
    assert "the prices are those of us-west-2, not of eu-central-1" in told.err


def test_the_embedded_cloud_has_no_prices_to_fetch(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prices", "refresh", "--local"]) == 64
    assert "No such option: --local" in capsys.readouterr().err


def test_a_book_needs_no_history() -> None:
    table = load_prices(None).table
    point = SpotPoint("r5.large", "us-west-2a", NOW, 0.05)
    assert PriceBook(table).with_history([point]).price_of("r5.large", "spot", when=NOW).usd != 0.05
