"""Prices asked of AWS: list prices and the spot history of the last days, kept for a day."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from glacierflow.aws.errors import plain_errors
from glacierflow.cloud import Cloud
from glacierflow.cost.prices import PriceBook, PriceTable, SpotHistory, SpotPoint, SpotRange, vcpus_of
from glacierflow.errors import DataError, GlacierflowError, StoreError, UnavailableError
from glacierflow.host import resource_path

_PRICING_REGION = "us-east-1"
"""Where the price API is; it knows the prices of all regions."""
_ANY_TYPES = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge")

SPOT_DAYS = 30
"""Days of spot history that are looked at; AWS keeps 90."""
_KEPT = dt.timedelta(days=1)
"""For so long an answer is used again; spot prices move over days, not hours."""
_RETRIES, _TIMEOUT_S = 2, 20
"""Nobody waits for prices when there is no network: then they are assumed, and that is said."""


def prices_file(home: Path, region: str) -> Path:
    """Where the fetched prices of an AWS region are kept, below the user's state folder."""
    return home / f"prices-{region}.json"


def load_prices(home: Path | None, region: str | None = None) -> PriceBook:
    """The table that was fetched for an AWS region, else the packaged one, which may be another region's.

    With the spot prices that were asked for within the last day; nobody is asked here.

    Args:
        home: the user's state folder; None looks nowhere else than in the package.
        region: whose prices are meant; None means those of the packaged table.

    Raises:
        DataError: the fetched table cannot be read.
    """
    packaged = PriceTable.model_validate_json(resource_path("ancillary/prices.json").read_text())
    if home is None:
        return PriceBook(packaged, region=region)
    path = prices_file(home, region or packaged.region)
    spot = read_spot_history(home, region or packaged.region)
    if not path.is_file():
        return PriceBook(packaged, region=region, spot=spot)
    try:
        table = PriceTable.model_validate_json(path.read_text(encoding="utf-8"))
        return PriceBook(table, region=region, spot=spot)
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            f"{path} is not a price table", next_step="delete it, and run `glacierflow prices refresh`"
        ) from error


def ask_prices(home: Path, cloud: Cloud, book: PriceBook, instance_types: Iterable[str]) -> PriceBook:
    """The same prices with the spot prices of some types, asked of AWS at most once a day.

    Args:
        home: the user's state folder.
        cloud: whose region and credentials.
        book: prices of that region.
        instance_types: types in question.
    """
    asked = ask_spot_history(home, cloud, instance_types)
    return replace(book, spot=asked.history, unasked=asked.why_not)


def refresh_prices(home: Path, cloud: Cloud, *, now: dt.datetime | None = None) -> PriceTable:
    """Fetch on-demand prices and spot history of the cloud's region for the table's families, and keep them.

    Prices other than those of instances stay as packaged, and the table says of which region they are. So do
    instances of that region that AWS gave no price for; of another region there is then none.

    Raises:
        CredentialsError, UsageError: there are no credentials, or they may not ask.
        UnavailableError: AWS cannot be reached, or gives no price.
        StoreError: the table cannot be written.
    """
    moment = now or dt.datetime.now(dt.UTC)
    packaged = load_prices(None).table
    families = sorted(packaged.per_vcpu_hour)
    on_demand = _fetch_on_demand(cloud, families)
    if not on_demand:
        raise UnavailableError(
            f"the price API gives no price for {cloud.region}", next_step="check aws_region"
        )
    own = cloud.region == packaged.region
    types = sorted(one for one in on_demand if one.partition(".")[2] in _ANY_TYPES)
    start = moment - dt.timedelta(days=SPOT_DAYS)
    spot = ranges_of(fetch_spot_history(cloud, types, start, moment), start, moment)
    table = packaged.model_copy(
        update={
            "as_of": moment.date(),
            "source": f"AWS Price List and {SPOT_DAYS} days of spot price history; rates other than "
            f"instances: {packaged.source}, {packaged.as_of}, {packaged.region}",
            "region": cloud.region,
            "rates_region": None if own else packaged.region,
            "per_vcpu_hour": packaged.per_vcpu_hour if own else _per_vcpu_hour(on_demand),
            "on_demand": on_demand,
            "spot": spot,
        }
    )
    write_aside(prices_file(home, cloud.region), table.model_dump_json(indent=1))
    return table


def _fetch_on_demand(cloud: Cloud, families: Sequence[str]) -> dict[str, float]:
    """Linux, shared tenancy, no licence, dollars an hour by type."""
    wanted = {
        "regionCode": cloud.region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    found: dict[str, float] = {}
    with plain_errors("read the price list", service="the price API"):
        pages = (
            replace(cloud, region=_PRICING_REGION)
            .client("pricing")
            .get_paginator("get_products")
            .paginate(ServiceCode="AmazonEC2", Filters=filters, FormatVersion="aws_v1")
        )
        for page in pages:
            for text in page["PriceList"]:
                product = json.loads(text)
                instance_type = product["product"]["attributes"].get("instanceType", "")
                if instance_type.partition(".")[0] in families:
                    for usd in _dollars(product):
                        found[instance_type] = usd
    return found


def _per_vcpu_hour(on_demand: dict[str, float]) -> dict[str, float]:
    """By family, of its cheapest size that says how many vCPUs it has: all cost the same for each."""
    found: dict[str, float] = {}
    for instance_type, usd in sorted(on_demand.items(), key=lambda one: one[1]):
        family, _, size = instance_type.partition(".")
        if size in _ANY_TYPES:
            found.setdefault(family, usd / vcpus_of(instance_type))
    return found


def _dollars(product: dict[str, Any]) -> Iterator[float]:
    """The hourly price of a product of the price list, where it has one above nothing."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            usd = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"] == "Hrs" and usd > 0:
                yield usd


class Asked(NamedTuple):
    """The history, or why there is none."""

    history: SpotHistory | None
    why_not: str | None


def spot_history_file(home: Path, region: str) -> Path:
    """Where the answer of a day is kept, below the user's state folder."""
    return home / f"spot-{region}.json"


def read_spot_history(home: Path, region: str, *, now: dt.datetime | None = None) -> SpotHistory | None:
    """The history that was asked for within the last day; None where there is none that can be read."""
    moment = now or dt.datetime.now(dt.UTC)
    try:
        text = spot_history_file(home, region).read_text(encoding="utf-8")
        kept = SpotHistory.model_validate_json(text)
    except (OSError, ValueError, ValidationError):
        # it is only a copy: what cannot be read is asked for again
        return None
    fresh = kept.region == region and dt.timedelta() <= moment - kept.asked_at < _KEPT
    return kept if fresh else None


def ask_spot_history(
    home: Path, cloud: Cloud, instance_types: Iterable[str], *, now: dt.datetime | None = None
) -> Asked:
    """The spot prices of some types in the zones of the cloud's region; of AWS at most once a day.

    An emulator is not asked: what it calls prices are none. An answer that cannot be kept is used all the
    same.

    Args:
        home: the user's state folder.
        cloud: whose region and credentials.
        instance_types: types in question.
        now: the time; None is the present.

    Returns:
        The history, or in words why there is none: no credentials, a refusal, no network, no prices.
    """
    moment = now or dt.datetime.now(dt.UTC)
    wanted = set(instance_types)
    if cloud.embedded:
        return Asked(None, "the embedded cloud has no prices")
    if cloud.endpoint_url or os.environ.get("AWS_ENDPOINT_URL"):
        return Asked(None, "AWS_ENDPOINT_URL names another cloud than AWS, whose prices are none")
    kept = read_spot_history(home, cloud.region, now=moment)
    if kept is not None and wanted <= set(kept.types):
        return Asked(kept, None)
    wanted |= set(kept.types) if kept else set()
    brief = replace(cloud, retries=_RETRIES, read_timeout_s=_TIMEOUT_S)
    start = moment - dt.timedelta(days=SPOT_DAYS)
    try:
        with plain_errors("read the spot price history", service="EC2"):
            credentials = cloud.session().get_credentials()
        if credentials is None:
            return Asked(None, "there are no AWS credentials to read the spot price history")
        points = fetch_spot_history(brief, sorted(wanted), start, moment)
    except GlacierflowError as error:
        return Asked(None, error.message)
    ranges = ranges_of(points, start, moment)
    if not ranges:
        return Asked(None, f"EC2 tells no spot price of these instance types in {cloud.region}")
    history = SpotHistory(region=cloud.region, asked_at=moment, types=tuple(sorted(wanted)), ranges=ranges)
    with contextlib.suppress(StoreError):
        write_aside(spot_history_file(home, cloud.region), history.model_dump_json(indent=1))
    return Asked(history, None)


def fetch_spot_history(
    cloud: Cloud, instance_types: Sequence[str], start: dt.datetime, end: dt.datetime
) -> list[SpotPoint]:
    """True spot prices of some types in all zones, from the one that held at ``start`` on.

    Types are a filter, and not ``InstanceTypes``, so that one that AWS does not know spoils no others.

    Raises:
        CredentialsError, UsageError: there are no credentials, or they may not ask.
        UnavailableError: AWS cannot be reached.
    """
    points = []
    with plain_errors("read the spot price history", service="EC2"):
        pages = (
            cloud.client("ec2")
            .get_paginator("describe_spot_price_history")
            .paginate(
                Filters=[{"Name": "instance-type", "Values": list(instance_types)}],
                ProductDescriptions=["Linux/UNIX"],
                StartTime=start,
                EndTime=end,
            )
        )
        for page in pages:
            points += [
                SpotPoint(
                    one["InstanceType"], one["AvailabilityZone"], one["Timestamp"], float(one["SpotPrice"])
                )
                for one in page["SpotPriceHistory"]
            ]
    return points


def ranges_of(
    points: Iterable[SpotPoint], start: dt.datetime, end: dt.datetime
) -> dict[str, dict[str, SpotRange]]:
    """Median and 90th percentile by type and zone, each price weighed by how long it held."""
    histories: dict[tuple[str, str], list[SpotPoint]] = {}
    for point in sorted(points, key=lambda one: one.moment):
        histories.setdefault((point.instance_type, point.zone), []).append(point)
    ranges: dict[str, dict[str, SpotRange]] = {}
    for (instance_type, zone), history in histories.items():
        moments = [max(start, point.moment) for point in history] + [end]
        held = [
            (point.usd, (moments[place + 1] - moments[place]).total_seconds())
            for place, point in enumerate(history)
        ]
        ranges.setdefault(instance_type, {})[zone] = SpotRange(
            p50=_percentile(held, 0.5), p90=_percentile(held, 0.9)
        )
    return ranges


def _percentile(held: Sequence[tuple[float, float]], share: float) -> float:
    """The price at or below which it was for this share of the time."""
    ordered = sorted(held)
    total = sum(seconds for _, seconds in ordered)
    gone = 0.0
    for usd, seconds in ordered:
        gone += seconds
        if gone >= share * total:
            return usd
    return ordered[-1][0]


def write_aside(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    aside = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
