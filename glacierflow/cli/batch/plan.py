"""``glacierflow batch plan``: what a submission would do, without submitting it."""

from __future__ import annotations

from dataclasses import replace

from glacierflow.cli.batch.canary import CanaryOption
from glacierflow.cli.batch.drafting import check_measures, dry_run
from glacierflow.cli.batch.missing import MissingOption
from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    PackOption,
    ServiceOption,
    ViaOption,
    parse_by,
    parse_service,
    parse_via,
)
from glacierflow.cli.batch.pricing import AllowEgressOption, MaxUsdOption, PriceOption
from glacierflow.cli.batch.sending import MeasuredByOption, Terms
from glacierflow.cli.collect import CONNECTION, DATES, REGIONS, collects
from glacierflow.cli.context import CommandLine, choose_regions, load_line, step_settings
from glacierflow.cli.options import JsonOption

__all__ = ["plan_command"]


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
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    missing: MissingOption = False,
    canary: CanaryOption = False,
    measured_by_run: MeasuredByOption = None,
    service: ServiceOption = "batch",
    via: ViaOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show units, memory classes, arrays and AWS calls of a submission; the same as submit --dry-run."""
    check_measures(canary=canary, like=measured_by_run)
    line = replace(line, dry_run=True)
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    where = parse_service(service)
    draft = Draft(loaded, choice, step_settings(loaded, line), period, pack, where, parse_via(via, where))
    terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress)
    return dry_run(draft, line, terms, missing=missing, canary=canary, like=measured_by_run, as_json=as_json)
