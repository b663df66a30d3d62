"""Where prices come from: the packaged table, the one fetched for a region, the price API, spot history."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from glacierflow.aws import Cloud
from glacierflow.errors import DataError, UnavailableError
from glacierflow.resources import resource_path
from glacierflow.runs.prices import PriceBook, PriceTable, vcpus_of
from glacierflow.services.failures import plain_errors
from glacierflow.services.spot_history import (
    SPOT_DAYS,
    ask_spot_history,
    fetch_spot_history,
    ranges_of,
    read_spot_history,
    write_aside,
)

__all__ = ["ask_prices", "load_prices", "prices_file", "refresh_prices"]

_PRICING_REGION = "us-east-1"
"""Where the price API is; it knows the prices of all regions."""
_ANY_TYPES = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge")


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
