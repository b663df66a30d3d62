"""``glacierflow batch``: submit array jobs, and look at them."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    DryRunCommand,
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
from glacierflow.cli.places import fetched, submission_json, where_it_is, where_to_look
from glacierflow.errors import StoreError, UsageError

if TYPE_CHECKING:
    from glacierflow.manifest import Manifest
    from glacierflow.model import StepSettings
    from glacierflow.runs.status import RunStatus
    from glacierflow.services.look import RunLook
    from glacierflow.settings import LoadedSettings, Settings

__all__ = ["app"]

_EXIT_INTERRUPTED = 130
_LOCAL_INTERVAL_S, _AWS_INTERVAL_S = 1.0, 10.0
"""Seconds between two looks: the embedded cloud has nobody else to serve."""

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or latest.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Stay and show progress until the run has ended.")]
FetchOption = Annotated[
    Path | None,
    typer.Option("--fetch", metavar="DIR", help="Copy products, quicklooks and records there at the end."),
]

app = typer.Typer(
    help="Run on AWS Batch: submit, status, watch.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(cls=DryRunCommand)
def submit(
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
    _check_fetch(fetch)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    if loaded.settings.settings.dry_run:
        _show_plan(_manifest(loaded.settings, choice, step_settings(loaded, line)), loaded.settings, as_json)
        return 0
    look = _submit(loaded, line, choice)
    if not as_json:
        for text in where_to_look(look.manifest, look.jobs, again=line.again()):
            typer.echo(text)
    if wait or fetch is not None:
        return _watch(look, line, fetch=fetch, as_json=as_json)
    if as_json:
        typer.echo(submission_json(look.manifest, look.jobs))
    return 0


@app.command()
def status(
    run: RunArgument = "latest",
    local: LocalOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show every slot of a run: Batch's state, what the child reported, and why where it went wrong."""
    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        quiet=quiet,
    )
    return _show(_open(run, line).now(), as_json=as_json)


@app.command()
def watch(
    run: RunArgument = "latest",
    fetch: FetchOption = None,
    local: LocalOption = False,
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    profile: ProfileOption = None,
    aws_region: AwsRegionOption = None,
    s3_bucket: BucketOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show live progress of a run until it has ended."""
    line = CommandLine(
        config=config,
        aws_config=aws_config,
        profile=profile,
        aws_region=aws_region,
        s3_bucket=s3_bucket,
        local=local,
        quiet=quiet,
    )
    _check_fetch(fetch)
    return _watch(_open(run, line), line, fetch=fetch, as_json=as_json)


def _check_fetch(fetch: Path | None) -> None:
    """Know that the folder can be written before hours are spent, without making it yet."""
    if fetch is None:
        return
    nearest = next(place for place in (fetch, *fetch.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UsageError(
            f"--fetch = {fetch} cannot be written: {nearest} is no directory you may write to",
            next_step="name another directory with --fetch",
        )


def _manifest(settings: Settings, choice: Choice, step: StepSettings) -> Manifest:
    from glacierflow.runs.plan import build_manifest, plan_slots

    dates = settings.dates
    slots = plan_slots(settings.settings.satellite, choice.regions, dates.date1, dates.date2)
    store = f"s3://{settings.storage.s3_bucket}"
    return build_manifest(slots, choice.regions, step, catalogue_sha256=choice.catalogue_sha256, store=store)


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
    manifest = _manifest(settings, choice, step)
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


def _open(run: str, line: CommandLine) -> RunLook:
    from glacierflow.layout import RunLayout
    from glacierflow.local.control import default_home
    from glacierflow.runs.log import latest_submission
    from glacierflow.runs.records import latest_run
    from glacierflow.services.look import RunLook
    from glacierflow.store import open_store

    loaded = load_line(line)
    settings = loaded.settings
    cloud, _ = cloud_for(loaded, line)
    where = f"s3://{settings.storage.s3_bucket}"
    store = open_store(where, cloud)
    if run == "latest":
        logged = latest_submission(default_home().parent, where, local=line.local)
        # a run of an embedded cloud that was reset is still in the log
        run = logged if logged and store.exists(RunLayout(logged).manifest) else latest_run(store)
    return RunLook.open(run, store, cloud, job_queue=settings.submit_queue)


def _show(status: RunStatus, *, as_json: bool) -> int:
    from glacierflow.cli import render
    from glacierflow.cli.watch import make_console

    if as_json:
        typer.echo(render.to_json(render.status_json(status)))
    else:
        typer.echo(f"run {status.run_id}")
        render.summary(status, make_console())
    return status.exit_code


def _watch(look: RunLook, line: CommandLine, *, fetch: Path | None, as_json: bool) -> int:
    from glacierflow.cli.fetch import fetch_run
    from glacierflow.cli.watch import follow, make_console

    interval_s = _LOCAL_INTERVAL_S if line.local else _AWS_INTERVAL_S
    run_id = look.manifest.run_id
    try:
        ended = follow(
            look.now, console=make_console(stderr=as_json), interval_s=interval_s, quiet=line.quiet
        )
    except KeyboardInterrupt:
        say(
            f"\nglacierflow: stopped watching; the run goes on. Look again with:\n"
            f"  glacierflow batch watch {run_id}{line.again()}"
        )
        return _EXIT_INTERRUPTED
    code = _show(ended, as_json=as_json)
    for text in where_it_is(look.manifest, look.store):
        typer.echo(text, err=as_json)
    if fetch is not None:
        for text in fetched(fetch_run(look.manifest, look.store, fetch), fetch):
            typer.echo(text, err=as_json)
    return code
