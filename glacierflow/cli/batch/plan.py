"""``glacierflow plan``: what a submission would do; or its manifest on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from glacierflow.cli.batch.canary import CanaryOption
from glacierflow.cli.batch.drafting import check_measures, dry_run
from glacierflow.cli.batch.missing import MissingOption
from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    OrderOption,
    PackOption,
    ServiceOption,
    ViaOption,
    choose_service,
    parse_by,
    parse_order,
)
from glacierflow.cli.batch.pricing import AllowEgressOption, MaxUsdOption, PriceOption
from glacierflow.cli.batch.sending import MeasuredByOption, Terms
from glacierflow.cli.collect import CONNECTION, DATES, REGIONS, collects
from glacierflow.cli.context import CommandLine, choose_regions, load_line, step_settings
from glacierflow.cli.options import JsonOption
from glacierflow.cli.plan import write_plan
from glacierflow.errors import UsageError

__all__ = ["plan_command"]

ManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Write the manifest there, for a scheduler without AWS, and print how many slots it has.",
    ),
]
BaseDirOption = Annotated[
    Path | None,
    typer.Option("--base-dir", metavar="DIR", help="With --manifest: directory for products and records."),
]
StacUrlOption = Annotated[
    str | None,
    typer.Option("--stac-url", metavar="URL", help="With --manifest: STAC API to search."),
]


@collects(
    "accept_all",
    "reprocess",
    "archive",
    "live_imagery",
    *CONNECTION,
    "s3_bucket",
    first=(*REGIONS, *DATES),
)
def plan_command(
    line: CommandLine,
    by: ByOption = None,
    pack: PackOption = None,
    order: OrderOption = None,
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    missing: MissingOption = False,
    canary: CanaryOption = False,
    measured_by_run: MeasuredByOption = None,
    service: ServiceOption = None,
    via: ViaOption = None,
    manifest: ManifestOption = None,
    base_dir: BaseDirOption = None,
    stac_url: StacUrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show units, memory classes, arrays and AWS calls of a submission, as `submit --dry-run` does.

    With --manifest the run is written to a file instead, whose slots a scheduler without AWS processes with
    GLACIERFLOW_INDEX.
    """
    _check_file(line, manifest, base_dir, stac_url)
    check_measures(canary=canary, like=measured_by_run)
    more = {
        "PATHS.base_dir": base_dir,
        "PATHS.local_base_dir": base_dir,
        "IMAGERY.sentinel2_stac_url": stac_url,
        "IMAGERY.landsat_stac_url": stac_url,
    }
    said = {name: str(value) for name, value in more.items() if value is not None}
    # all regions are confirmed where something is written
    line = replace(line, dry_run=manifest is None or None, more=said)
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    where, first = choose_service(service, via, loaded, quiet=line.quiet)
    slots = (period, pack, parse_order(order))
    draft = Draft(loaded, choice, step_settings(loaded, line), *slots, where, first)
    if manifest is not None:
        typer.echo(write_plan(draft, manifest))
        return 0
    terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress)
    return dry_run(draft, line, terms, missing=missing, canary=canary, like=measured_by_run, as_json=as_json)


def _check_file(
    line: CommandLine, manifest: Path | None, base_dir: Path | None, stac_url: str | None
) -> None:
    """Refuse options that belong to a manifest on disk where none is written, and the other way round."""
    of_file = {"--base-dir": base_dir, "--stac-url": stac_url}
    alone = [name for name, value in of_file.items() if value is not None]
    if manifest is None and alone:
        raise UsageError(
            f"{alone[0]} is for a manifest on disk", next_step="add --manifest FILE, or leave it out"
        )
    if manifest is not None and line.local:
        raise UsageError(
            "--manifest writes a run for a scheduler without AWS, --local is the embedded cloud",
            next_step="leave one of the two out",
        )
