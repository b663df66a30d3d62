"""The spot prices of the last days by instance type and zone: asked of EC2, kept for a day."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from glacierflow.aws import Cloud
from glacierflow.errors import GlacierflowError, StoreError
from glacierflow.runs.prices import SpotHistory, SpotPoint, SpotRange
from glacierflow.services.failures import plain_errors

__all__ = [
    "Asked",
    "ask_spot_history",
    "fetch_spot_history",
    "ranges_of",
    "read_spot_history",
    "spot_history_file",
    "write_aside",
]

SPOT_DAYS = 30
"""Days of spot history that are looked at; AWS keeps 90."""
_KEPT = dt.timedelta(days=1)
"""For so long an answer is used again; spot prices move over days, not hours."""
_RETRIES, _TIMEOUT_S = 2, 20
"""Nobody waits for prices when there is no network: then they are assumed, and that is said."""


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
