"""What a run may cost: the price of a plan before it is submitted, and limits while it is watched."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.context import CommandLine, load_line, say
from glacierflow.errors import DataError, UnavailableError, UsageError

if TYPE_CHECKING:
    from glacierflow.aws.names import Places
    from glacierflow.cli.batch.planning import Draft
    from glacierflow.cloud import Cloud
    from glacierflow.cost.estimate import Estimate
    from glacierflow.cost.gather import Spent
    from glacierflow.cost.image_counts import SceneCounts
    from glacierflow.live.family import FamilyLook
    from glacierflow.model.manifest import Manifest, Service
    from glacierflow.runs.progress import Limits
    from glacierflow.runs.status import RunStatus
    from glacierflow.runs.workload import Measured


PriceOption = Annotated[
    bool,
    typer.Option(
        "--price", help="Also show the cost: images counted by the STAC API, dollars for each service."
    ),
]
MaxUsdOption = Annotated[
    float | None,
    typer.Option(
        "--max-usd",
        metavar="DOLLARS",
        min=0,
        help="Refuse a run with a higher estimate (without storage); with --wait, stop it at this cost.",
    ),
]
AllowEgressOption = Annotated[
    bool, typer.Option("--allow-egress", help="Compute in a different AWS region from the images.")
]

StopAtUsdOption = Annotated[
    float | None,
    typer.Option(
        "--max-usd", metavar="DOLLARS", min=0, help="Stop the run when its compute has cost this much."
    ),
]


_PRICES_HOLD = dt.timedelta(days=1)
"""For so long spot prices that were asked for are kept, and a refusal is not asked again."""


def price_run(
    draft: Draft,
    manifest: Manifest,
    places: Places,
    *,
    cloud: Cloud | None,
    measured: Measured | None = None,
) -> Estimate:
    """Price a run; where the STAC API does not answer, with average counts, and the estimate says so.

    Args:
        draft: what it is for.
        manifest: the run.
        places: what the stack says, if it was asked.
        cloud: asked for the spot prices of the last days, once a day; None asks nobody, the STAC API neither.
        measured: what a canary or earlier runs tell.
    """
    from glacierflow.cost.estimate import estimate_run, spot_types
    from glacierflow.cost.image_counts import assumed_counts
    from glacierflow.cost.price_sources import ask_prices, load_prices
    from glacierflow.local.control import default_home

    units = [unit for slot in manifest.slots for unit in slot]
    home, architecture = default_home().parent, places.outputs.get("Architecture")
    book = load_prices(home, draft.loaded.settings.aws_account.aws_region)
    counts = assumed_counts(units)
    if cloud is not None:
        counts = _counted(draft, manifest)
        book = ask_prices(home, cloud, book, spot_types(manifest, book, architecture))
    return estimate_run(
        manifest,
        counts,
        book,
        measured=measured,
        egress=crosses_regions(draft),
        architecture=architecture,
    )


def _counted(draft: Draft, manifest: Manifest) -> SceneCounts:
    from glacierflow.cost.image_counts import SceneCounts, assumed_counts, count_scenes

    units = [unit for slot in manifest.slots for unit in slot]
    brief = manifest.settings.model_copy(update={"request_attempts": 2, "request_timeout_s": 20.0})
    try:
        if draft.uncounted:
            raise UnavailableError(draft.uncounted)
        counts = count_scenes(units, manifest.regions, brief)
        if (
            draft.loaded.settings.settings.dry_run
            and brief.imagery_s3_endpoint
            and not any(counts.images.values())
        ):
            raise DataError("the embedded cloud serves none of these yet; a submission makes a sample")
    except (UnavailableError, DataError) as error:
        assumed = assumed_counts(units)
        why = f"images are assumed at a yearly average, not counted: {error.message}"
        return SceneCounts(assumed.images, why)
    return counts


def crosses_regions(draft: Draft) -> bool:
    """Whether the jobs would run in another AWS region than the imagery lies in."""
    own_endpoint = draft.step.imagery_s3_endpoint is not None
    return not own_endpoint and draft.loaded.settings.aws_account.aws_region != draft.step.imagery_region


def check_egress(draft: Draft, manifest: Manifest, places: Places, *, allowed: bool) -> None:
    """Refuse to read across AWS regions unless that is allowed.

    Raises:
        UsageError: it would, and it is not; with what it would cost.
    """
    if allowed or not crosses_regions(draft):
        return
    estimate = price_run(draft, manifest, places, cloud=None)
    raise UsageError(
        f"the jobs would run in {draft.loaded.settings.aws_account.aws_region} and read their images from"
        f" {draft.step.imagery_region}: about {estimate.read_gb:,.1f} GB across regions,"
        f" ${estimate.egress_usd:,.2f}",
        next_step=f"set aws_region = {draft.step.imagery_region}, or add --allow-egress",
    )


def check_budget(estimate: Estimate, max_usd: float | None, manifest: Manifest, service: Service) -> None:
    """Refuse a run whose estimate is above the limit.

    Raises:
        UsageError: it is.
    """
    if max_usd is None:
        return
    ceiling = estimate.ceiling_usd(service, on_demand=manifest.arrays[0].on_demand)
    if ceiling > max_usd:
        raise UsageError(
            f"the run is estimated at up to ${ceiling:,.4g} without storage, above --max-usd {max_usd:,g}",
            next_step="see what it is made of with `glacierflow batch plan --price`, or raise --max-usd",
        )


def limits_of(line: CommandLine, max_usd: float | None) -> Limits:
    """The limit that was typed, and the breaker of the settings."""
    from glacierflow.runs.progress import Limits

    # the verb has told the notices of the files already
    batch = load_line(replace(line, quiet=True)).settings.batch
    return Limits(max_usd, batch.breaker_children, batch.breaker_share)


def guarded_look(look: FamilyLook, limits: Limits) -> Callable[[], RunStatus]:
    """Look at the run; at the first look that gives a reason, stop what is left of it."""
    from glacierflow.runs.progress import reason_to_stop

    stopped = unpriced = False
    limited = limits.max_usd is not None
    priced_at: dt.datetime | None = None

    def now() -> RunStatus:
        nonlocal stopped, unpriced, priced_at
        status = look.now()
        if stopped:
            return status
        if limited and (priced_at is None or dt.datetime.now(dt.UTC) - priced_at > _PRICES_HOLD):
            priced_at = dt.datetime.now(dt.UTC)
            _tell_prices(look)
        spent, why = spent_by(look, status, cautious=limited)
        if why and limited and not unpriced:
            say(f"glacierflow: --max-usd cannot stop this run, its cost is not known: {why}")
            unpriced = True
        reason = reason_to_stop(status, limits, spent.usd if spent else None)
        if reason is not None:
            look.stop(reason)
            stopped = True
            say(f"glacierflow: stopped the rest of the run: {reason}")
        return status

    return now


def _tell_prices(look: FamilyLook) -> None:
    """Ask for the day's spot prices before a limit counts by them; say it where they must be assumed."""
    from glacierflow.cost.estimate import spot_types
    from glacierflow.cost.price_sources import ask_prices, load_prices
    from glacierflow.errors import DataError
    from glacierflow.local.control import default_home

    cloud, home, manifest = look.root.cloud, default_home().parent, look.root.manifest
    if manifest.service in {"lambda", "fargate"} or all(array.on_demand for array in manifest.arrays):
        return
    try:
        book = load_prices(home, cloud.region)
    except DataError:
        return  # the look that follows says so
    book = ask_prices(home, cloud, book, spot_types(manifest, book, None))
    if book.spot_as_of is None:
        share = book.table.spot_share.p90
        say(f"glacierflow: --max-usd counts spot at {share:.0%} of on-demand, assumed: {book.unasked}")


def spent_by(
    look: FamilyLook, status: RunStatus, *, cautious: bool = False
) -> tuple[Spent | None, str | None]:
    """Cost so far by the prices known; None, and why, where they lack what the run ran on.

    Args:
        look: the run and its retries.
        status: as it was seen last.
        cautious: whether spot prices that are assumed are the 90th percentile, as a limit takes them.
    """
    from glacierflow.cost.gather import spent_so_far
    from glacierflow.cost.price_sources import load_prices
    from glacierflow.errors import DataError
    from glacierflow.local.control import default_home

    try:
        prices = load_prices(default_home().parent, look.root.cloud.region)
        return spent_so_far(status, look.manifests, prices, cautious=cautious), None
    except DataError as error:
        return None, error.message
