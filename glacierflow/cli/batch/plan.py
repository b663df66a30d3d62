"""``glacierflow batch plan``: what a submission would do, offline."""

from __future__ import annotations

from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    PackOption,
    ServiceOption,
    parse_by,
    parse_service,
    units_of,
)
from glacierflow.cli.batch.pricing import AllowEgressOption, MaxUsdOption, PriceOption
from glacierflow.cli.batch.submit import show_draft
from glacierflow.cli.context import CommandLine, choose_regions, load_line, step_settings
from glacierflow.cli.options import (
    AwsConfigOption,
    AwsRegionOption,
    BucketOption,
    ConfigOption,
    Date1Option,
    Date2Option,
    IndexRangeOption,
    JsonOption,
    LocalOption,
    ProfileOption,
    QuietOption,
    RegionsFileOption,
    RegionsOption,
    ReprocessOption,
    SatelliteOption,
)

__all__ = ["plan_command"]


def plan_command(
    satellite: SatelliteOption = None,
    start_end_index: IndexRangeOption = None,
    regions: RegionsOption = None,
    regions_file: RegionsFileOption = None,
    date1: Date1Option = None,
    date2: Date2Option = None,
    by: ByOption = None,
    pack: PackOption = None,
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    reprocess: ReprocessOption = False,
    service: ServiceOption = "batch",
    local: LocalOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show units, memory classes, arrays and AWS calls of a submission; the same as submit --dry-run."""
    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        regions=regions,
        start_end_index=start_end_index,
        regions_file=regions_file,
        satellite=satellite,
        date1=date1,
        date2=date2,
        dry_run=True,
        quiet=quiet,
        reprocess=reprocess,
    )
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    draft = Draft(loaded, choice, step_settings(loaded, line), period, pack, parse_service(service))
    # the embedded cloud serves its images itself, in whatever region
    egress = allow_egress or local
    return show_draft(draft, units_of(draft), price=price, max_usd=max_usd, egress=egress, as_json=as_json)
