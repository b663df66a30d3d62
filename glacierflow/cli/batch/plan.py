"""``glacierflow batch plan``: what a submission would do, offline."""

from __future__ import annotations

from dataclasses import replace

from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    PackOption,
    ServiceOption,
    ViaOption,
    parse_by,
    parse_service,
    parse_via,
    units_of,
)
from glacierflow.cli.batch.pricing import AllowEgressOption, MaxUsdOption, PriceOption
from glacierflow.cli.batch.sending import MeasuredByOption, Terms, make_ready, measured_by
from glacierflow.cli.batch.submit import show_draft
from glacierflow.cli.collect import CONNECTION, DATES, REGIONS, collects
from glacierflow.cli.context import CommandLine, choose_regions, load_line, step_settings
from glacierflow.cli.options import JsonOption

__all__ = ["plan_command"]


@collects("reprocess", *CONNECTION, "s3_bucket", first=(*REGIONS, *DATES))
def plan_command(
    line: CommandLine,
    by: ByOption = None,
    pack: PackOption = None,
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    measured_by_run: MeasuredByOption = None,
    service: ServiceOption = "batch",
    via: ViaOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show units, memory classes, arrays and AWS calls of a submission; the same as submit --dry-run."""
    line = replace(line, dry_run=True)
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    where = parse_service(service)
    draft = Draft(loaded, choice, step_settings(loaded, line), period, pack, where, parse_via(via, where))
    # the embedded cloud serves its images itself, in whatever region
    terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress or line.local)
    like = measured_by(make_ready(draft, line), measured_by_run) if measured_by_run else None
    return show_draft(draft, units_of(draft), terms, measured=like, as_json=as_json)
