"""``glacierflow batch submit``: array jobs whose children process one region and period each."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.guarding import limits_of
from glacierflow.cli.batch.looking import FetchOption, WaitOption, check_fetch, watch_run
from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    PackOption,
    arrange_units,
    job_options,
    manifest_of,
    parse_by,
    show_plan,
    units_of,
)
from glacierflow.cli.batch.pricing import (
    AllowEgressOption,
    MaxUsdOption,
    PriceOption,
    check_budget,
    check_egress,
    price_run,
)
from glacierflow.cli.context import (
    CommandLine,
    choose_regions,
    cloud_for,
    load_line,
    say,
    step_settings,
)
from glacierflow.cli.options import (
    AllOption,
    ArchiveOption,
    AwsConfigOption,
    AwsRegionOption,
    BucketOption,
    ConfigOption,
    Date1Option,
    Date2Option,
    DryRunOption,
    IndexRangeOption,
    JsonOption,
    LiveImageryOption,
    LocalOption,
    ProfileOption,
    QuietOption,
    RegionsFileOption,
    RegionsOption,
    ReprocessOption,
    SatelliteOption,
)
from glacierflow.cli.places import submission_json, where_to_look
from glacierflow.cli.render_estimate import estimate_lines
from glacierflow.errors import StoreError, UsageError

if TYPE_CHECKING:
    from glacierflow.manifest import Manifest
    from glacierflow.services.family_look import FamilyLook

__all__ = ["show_draft", "submit_command"]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Submit even where a run that does the same is on its way.")
]


def submit_command(
    satellite: SatelliteOption = None,
    start_end_index: IndexRangeOption = None,
    regions: RegionsOption = None,
    regions_file: RegionsFileOption = None,
    date1: Date1Option = None,
    date2: Date2Option = None,
    accept_all: AllOption = False,
    dry_run: DryRunOption = None,
    wait: WaitOption = False,
    fetch: FetchOption = None,
    reprocess: ReprocessOption = False,
    by: ByOption = None,
    pack: PackOption = None,
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    force: ForceOption = False,
    local: LocalOption = False,
    archive: ArchiveOption = None,
    live_imagery: LiveImageryOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Submit array jobs whose children process one region and one period each."""
    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        archive=archive,
        live_imagery=live_imagery,
        regions=regions,
        start_end_index=start_end_index,
        regions_file=regions_file,
        satellite=satellite,
        date1=date1,
        date2=date2,
        dry_run=dry_run,
        quiet=quiet,
        accept_all=accept_all,
        reprocess=reprocess,
    )
    check_fetch(fetch)
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    draft = Draft(loaded, choice, step_settings(loaded, line), period, pack)
    if loaded.settings.settings.dry_run:
        return show_draft(draft, price=price, max_usd=max_usd, egress=allow_egress, as_json=as_json)
    look = _submit(draft, line, force=force, max_usd=max_usd, egress=allow_egress, price=price)
    if not as_json:
        for text in where_to_look(look.manifest, look.jobs, again=line.again()):
            typer.echo(text)
    if wait or fetch is not None:
        limits = limits_of(line, max_usd)
        return watch_run(look, line, fetch=fetch, as_json=as_json, limits=limits)
    if as_json:
        typer.echo(submission_json(look.manifest, look.jobs))
    return 0


def show_draft(
    draft: Draft, *, price: bool = False, max_usd: float | None = None, egress: bool = False, as_json: bool
) -> int:
    """Show what would be submitted; but for a price, this needs neither network nor credentials."""
    from glacierflow.services.places import find_places

    places = find_places(draft.loaded, None)
    manifest = manifest_of(draft, arrange_units(draft, units_of(draft)), bucket=places.bucket)
    check_egress(draft, manifest, allowed=egress)
    estimate = price_run(draft, manifest) if price or max_usd is not None else None
    show_plan(manifest, places, draft.loaded.settings, estimate=estimate, as_json=as_json)
    if estimate is not None:
        check_budget(estimate, max_usd, on_demand=manifest.arrays[0].on_demand)
    return 0


def _submit(
    draft: Draft, line: CommandLine, *, force: bool, max_usd: float | None, egress: bool, price: bool
) -> FamilyLook:
    """Nothing is written before bucket, queues and job definitions are known to be there."""
    from glacierflow.services.batch import complete_run, submit_run
    from glacierflow.services.family_look import FamilyLook
    from glacierflow.services.look import RunLook
    from glacierflow.services.places import find_places
    from glacierflow.services.same_run import find_same_run
    from glacierflow.services.targets import find_targets
    from glacierflow.store import open_store

    cloud, step = cloud_for(draft.loaded, line, draft.choice.regions)
    draft = replace(draft, step=step)
    places = find_places(draft.loaded, cloud)
    store = open_store(f"s3://{places.bucket}", cloud)
    store.check_writable()
    arrangement = arrange_units(draft, units_of(draft))
    targets = find_targets(cloud, places, arrangement.arrays)
    image = targets.image(arrangement.arrays[0]) if arrangement.arrays else None
    manifest = manifest_of(draft, arrangement, bucket=places.bucket, image=image)
    check_egress(draft, manifest, allowed=egress)
    if price or max_usd is not None:
        estimate = price_run(draft, manifest)
        for text in estimate_lines(estimate):
            say(text, quiet=line.quiet)
        check_budget(estimate, max_usd, on_demand=manifest.arrays[0].on_demand)
    options = job_options(draft.loaded.settings)
    same = None if force else find_same_run(manifest, store, cloud, places=places)
    if same is None:
        jobs = submit_run(manifest, cloud, store, targets=targets, **options)
    elif same.is_whole:
        raise UsageError(
            f"the run {same.manifest.run_id} does the same and is on its way",
            next_step=f"watch it with `glacierflow batch watch {same.manifest.run_id}{line.again()}`,"
            " or add --force",
        )
    else:
        manifest = same.manifest
        say(f"glacierflow: completing the submission of {manifest.run_id}, which was broken off")
        jobs = complete_run(manifest, same.jobs, cloud, store, targets=targets, **options)
    _log(manifest, line)
    return FamilyLook([RunLook(manifest, jobs, store, cloud)])


def _log(manifest: Manifest, line: CommandLine) -> None:
    from glacierflow.local.control import default_home
    from glacierflow.runs.log import Submission, log_submission

    now = dt.datetime.now(dt.UTC)
    submission = Submission(run_id=manifest.run_id, store=manifest.store, local=line.local, submitted_at=now)
    try:
        log_submission(default_home().parent, submission)
    except StoreError as error:
        # The run is on its way, and the store knows it.
        say(f"glacierflow: {error.message}; `latest` will look in the bucket", quiet=line.quiet)
