"""``glacierflow batch submit``: one array job whose children process one region each."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import typer

from glacierflow.cli.batch.looking import FetchOption, WaitOption, check_fetch, watch_run
from glacierflow.cli.context import (
    Choice,
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
from glacierflow.errors import StoreError

if TYPE_CHECKING:
    from glacierflow.manifest import Manifest
    from glacierflow.model import StepSettings
    from glacierflow.services.look import RunLook
    from glacierflow.settings import LoadedSettings, Settings

__all__ = ["submit_command"]


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
    """Submit one array job whose children process one region each."""
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
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    if loaded.settings.settings.dry_run:
        _show_plan(_manifest(loaded, choice, step_settings(loaded, line)), loaded.settings, as_json)
        return 0
    look = _submit(loaded, line, choice)
    if not as_json:
        for text in where_to_look(look.manifest, look.jobs, again=line.again()):
            typer.echo(text)
    if wait or fetch is not None:
        return watch_run(look, line, fetch=fetch, as_json=as_json)
    if as_json:
        typer.echo(submission_json(look.manifest, look.jobs))
    return 0


def _manifest(loaded: LoadedSettings, choice: Choice, step: StepSettings) -> Manifest:
    from glacierflow.runs.plan import build_manifest, plan_slots

    settings = loaded.settings
    dates = settings.dates
    slots = plan_slots(settings.settings.satellite, choice.regions, dates.date1, dates.date2)
    store = f"s3://{settings.storage.s3_bucket}"
    return build_manifest(
        slots,
        choice.regions,
        step,
        catalogue_sha256=choice.catalogue_sha256,
        store=store,
        settings_source=loaded.source,
    )


def _show_plan(manifest: Manifest, settings: Settings, as_json: bool) -> None:
    from glacierflow.cli import render
    from glacierflow.runs.plan import submit_requests

    requests = submit_requests(
        manifest, job_queue=settings.submit_queue, job_definition=settings.batch.job_definition
    )
    if as_json:
        plan = {
            "dry_run": True,
            "manifest": manifest.model_dump(mode="json"),
            "submit_job": requests,
            "calls": render.call_names(manifest, requests),
        }
        typer.echo(render.to_json(plan))
        return
    for text in render.plan_lines(manifest, requests):
        typer.echo(text)
    typer.echo("dry run: nothing was submitted or written")


def _submit(loaded: LoadedSettings, line: CommandLine, choice: Choice) -> RunLook:
    from glacierflow.services.batch import submit_run
    from glacierflow.services.look import RunLook
    from glacierflow.store import open_store

    settings = loaded.settings
    cloud, step = cloud_for(loaded, line, choice.regions)
    manifest = _manifest(loaded, choice, step)
    store = open_store(manifest.store, cloud)
    jobs = submit_run(
        manifest,
        cloud,
        store,
        job_queue=settings.submit_queue,
        job_definition=settings.batch.job_definition,
    )
    _log(manifest, line)
    return RunLook(manifest, jobs, store, cloud)


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
