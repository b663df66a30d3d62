"""Pricing a plan before it is submitted, and refusing one that costs too much or reads across AWS regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.errors import DataError, UnavailableError, UsageError

if TYPE_CHECKING:
    from glacierflow.aws import Cloud
    from glacierflow.cli.batch.planning import Draft
    from glacierflow.manifest import Manifest, Service
    from glacierflow.runs.estimate import Estimate
    from glacierflow.runs.scene_counts import SceneCounts
    from glacierflow.runs.workload import Measured
    from glacierflow.services.places import Places

__all__ = [
    "AllowEgressOption",
    "MaxUsdOption",
    "PriceOption",
    "check_budget",
    "check_egress",
    "crosses_regions",
    "price_run",
]

PriceOption = Annotated[
    bool, typer.Option("--price", help="Also price it: images from the STAC API, dollars on each service.")
]
MaxUsdOption = Annotated[
    float | None,
    typer.Option(
        "--max-usd",
        metavar="DOLLARS",
        min=0,
        help="Refuse a run estimated above this, storage aside; with --wait stop it at this cost.",
    ),
]
AllowEgressOption = Annotated[
    bool, typer.Option("--allow-egress", help="Compute in another AWS region than the images are in.")
]


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
    from glacierflow.local.control import default_home
    from glacierflow.runs.estimate import estimate_run, spot_types
    from glacierflow.runs.scene_counts import assumed_counts
    from glacierflow.services.prices import ask_prices, load_prices

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
    from glacierflow.runs.scene_counts import SceneCounts, assumed_counts, count_scenes

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
