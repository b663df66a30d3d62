"""What the verbs share: option types, and the way from a command line to settings, regions and a cloud.

A verb collects its options in a ``CommandLine`` and goes through three doors, in this order, so that nothing
is started, asked or written before everything is known to be good:

1. ``load_line``: files, environment and command line become settings
2. ``choose_regions``: the catalogue and the selection become regions
3. ``cloud_for``: AWS, or the embedded cloud with ``--local``, which is started here
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.cloud import Cloud
    from glacierflow.local.control import Endpoint
    from glacierflow.model.manifest import Manifest, SettingsSource
    from glacierflow.model.records import Region, StepSettings
    from glacierflow.settings import IniFile, LoadedSettings
    from glacierflow.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed, as far as the verbs share it; None is "not said"."""

    config: str | None = None
    aws_config: Path | None = None
    profile: str | None = None
    aws_region: str | None = None
    s3_bucket: str | None = None
    local: bool = False
    archive: Path | None = None
    live_imagery: bool = False
    regions: str | None = None
    start_end_index: str | None = None
    regions_file: Path | None = None
    satellite: str | None = None
    date1: str | None = None
    date2: str | None = None
    dry_run: bool | None = None
    quiet: bool = False
    accept_all: bool = False
    reprocess: bool = False
    more: Mapping[str, str] = field(default_factory=dict)
    """Further settings that one verb alone has an option for, as ``SECTION.key``."""

    def overrides(self) -> dict[str, str]:
        """The settings among it, as ``SECTION.key`` -> text."""
        said = {
            "REGIONS.regions": self.regions,
            "REGIONS.start_end_index": self.start_end_index,
            "DATES.date1": self.date1,
            "DATES.date2": self.date2,
            "SETTINGS.satellite": self.satellite,
            "SETTINGS.dry_run": None if self.dry_run is None else str(self.dry_run).lower(),
            "AWS_ACCOUNT.aws_profile": self.profile,
            "AWS_ACCOUNT.aws_region": self.aws_region,
            "STORAGE.s3_bucket": self.s3_bucket,
            **self.more,
        }
        return {name: value for name, value in said.items() if value is not None}

    def again(self) -> str:
        """The options a later look at the same run needs, with a space before each."""
        said = {
            "--config": self.config,
            "--aws-config": self.aws_config,
            "--profile": self.profile,
            "--aws-region": self.aws_region,
            "--s3-bucket": self.s3_bucket,
        }
        words = [word for name, value in said.items() if value is not None for word in (name, str(value))]
        return "".join(f" {shlex.quote(word)}" for word in (["--local"] if self.local else []) + words)


@dataclass(frozen=True, slots=True)
class Choice:
    """The regions chosen, in catalogue order, and the catalogue they are from."""

    regions: tuple[Region, ...]
    catalogue_sha256: str


def say(text: str, *, quiet: bool = False) -> None:
    """One line on stderr, unless quiet."""
    if not quiet:
        typer.echo(text, err=True)


def say_other_structure(manifest: Manifest, store: Store, *, quiet: bool) -> None:
    """Say on stderr that a run would write beside images in the other folder structure."""
    from glacierflow.products.tree import other_structure

    notice = other_structure(store, manifest)
    if notice:
        say(f"glacierflow: {notice}", quiet=quiet)


def load_line(line: CommandLine) -> LoadedSettings:
    """Settings from files, environment and command line; notices go to stderr.

    Raises:
        SettingsError: a file cannot be read, or a value is not accepted.
        UsageError: options that make no sense together.
    """
    from glacierflow.settings import load_settings

    _check_local(line)
    config, source = settings_file(line)
    loaded = load_settings(
        config=config, aws_config=line.aws_config, overrides=line.overrides(), environ=os.environ
    )
    loaded = replace(loaded, source=source)
    for notice in loaded.notices:
        say(f"glacierflow: {notice}", quiet=line.quiet)
    return loaded


def settings_file(line: CommandLine) -> tuple[Path | IniFile | None, SettingsSource | None]:
    """What ``--config`` names: a path, or the content of an object in S3 and which version of it that is.

    Raises:
        UsageError: there is no such object, or the embedded cloud that should have it is not running.
    """
    if line.config is None or not line.config.startswith("s3://"):
        return None if line.config is None else Path(line.config), None
    from glacierflow.cloud import Cloud
    from glacierflow.settings import IniFile, load_settings
    from glacierflow.sync.push import read_settings_object

    # profile and region to ask with come from everywhere but the file that is asked for
    elsewhere = load_settings(
        config=IniFile(line.config, {}), aws_config=line.aws_config, overrides=line.overrides()
    )
    account = elsewhere.settings.aws_account
    cloud = Cloud(region=account.aws_region, profile=account.aws_profile)
    if line.local:
        cloud = replace(cloud, endpoint_url=_running_endpoint().url, embedded=True)
    return read_settings_object(line.config, cloud)


def _running_endpoint() -> Endpoint:
    from glacierflow.local import control

    running = control.status(control.default_home())
    if running is None:
        raise UsageError(
            "the embedded cloud is not running, so it has no settings file",
            next_step="start it with `glacierflow local up`, then `glacierflow sync push --local`",
        )
    return running


def _check_local(line: CommandLine) -> None:
    for name, given in (("--archive", line.archive is not None), ("--live-imagery", line.live_imagery)):
        if given and not line.local:
            raise UsageError(
                f"{name} is for the embedded cloud", next_step=f"add --local, or leave {name} out"
            )
    if line.archive is not None and line.live_imagery:
        raise UsageError(
            "--archive and --live-imagery exclude each other", next_step="leave one of the two out"
        )
    if line.archive is not None and not line.archive.is_dir():
        raise UsageError(
            f"--archive = {line.archive} is not a directory",
            next_step="name a directory of STAC items, or leave --archive out for a made-up sample",
        )


def choose_regions(loaded: LoadedSettings, line: CommandLine) -> Choice:
    """The regions asked for; all of them only when that is confirmed (a dry run need not be).

    Raises:
        RegionError: an unknown name, an empty range, or a catalogue that cannot be read.
        UsageError: no selection, and nobody there to confirm that all are meant.
    """
    from glacierflow.regions import load_catalogue

    names, index_range = loaded.settings.regions.regions, loaded.settings.regions.start_end_index
    catalogue = load_catalogue(line.regions_file)
    selection = catalogue.select(names, index_range)
    for warning in selection.warnings:
        say(f"glacierflow: {warning}", quiet=line.quiet)
    asked_for = names is not None or index_range is not None or line.accept_all
    if not asked_for and not loaded.settings.settings.dry_run:
        _confirm_all(len(selection.regions))
    regions = tuple(sorted(selection.regions, key=lambda region: region.index))
    return Choice(regions, catalogue.sha256)


def _confirm_all(count: int) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"no region is named, which means all {count}",
            next_step="name regions with --start-end-index or --regions, or confirm with --all",
        )
    if not typer.confirm(f"No region is named. Process all {count}?", err=True):
        raise typer.Abort


def step_settings(loaded: LoadedSettings, line: CommandLine) -> StepSettings:
    """What of settings and command line decides the products."""
    return loaded.settings.step_settings().model_copy(update={"reprocess": line.reprocess})


def cloud_for(
    loaded: LoadedSettings, line: CommandLine, regions: tuple[Region, ...] = ()
) -> tuple[Cloud, StepSettings]:
    """The cloud to talk to, and the step's settings with the imagery that goes with it.

    With ``--local`` the embedded cloud is started where it is not running. Given regions it serves
    ``--archive``, else a sample made for these regions and dates; without regions (``batch status``) it
    serves what it served before.

    Raises:
        UsageError: the embedded cloud is not installed, or cannot serve the archive.
        UnavailableError: the embedded cloud does not start.
    """
    from glacierflow.cloud import Cloud

    account, step = loaded.settings.aws_account, step_settings(loaded, line)
    cloud = Cloud(region=account.aws_region, profile=account.aws_profile)
    if not line.local:
        return cloud, step
    endpoint = _embedded(loaded, line, regions)
    cloud = replace(cloud, endpoint_url=endpoint.url, embedded=True)
    if line.live_imagery:
        return cloud, step
    return cloud, step.model_copy(update=imagery_of(endpoint))


def cloud_of_places(line: CommandLine, *places: str) -> Cloud:
    """The settings' cloud where one of the places is in it; directories need none."""
    if any(place.startswith("s3://") for place in places):
        return cloud_for(load_line(line), line)[0]
    from glacierflow.cloud import Cloud

    return Cloud()


def imagery_of(endpoint: Endpoint) -> dict[str, str]:
    """The step's settings for the images that an embedded cloud serves."""
    return {
        "sentinel2_stac_url": endpoint.stac_url,
        "landsat_stac_url": endpoint.stac_url,
        "imagery_s3_endpoint": endpoint.url,
    }


def _embedded(loaded: LoadedSettings, line: CommandLine, regions: tuple[Region, ...]) -> Endpoint:
    from glacierflow.local import control

    home, settings = control.default_home(), loaded.settings
    # A bucket of aws_config.ini belongs to AWS and is made here too; a name that was typed is checked.
    typed = line.s3_bucket is not None
    bucket = control.DEFAULT_BUCKET if typed else settings.storage.s3_bucket
    endpoint = control.up(home, archive=line.archive, bucket=bucket, region=settings.aws_account.aws_region)
    if typed:
        _check_bucket(settings.storage.s3_bucket, endpoint)
    if line.archive is not None or line.live_imagery or not regions:
        return endpoint
    from glacierflow.local.sample import sample_bundle

    say("glacierflow: making a sample archive for these regions and dates", quiet=line.quiet)
    dates, satellites = settings.dates, (settings.settings.satellite,)
    archive = sample_bundle(home, regions, dates.date1, dates.date2, satellites)
    return control.up(home, archive=archive, bucket=bucket, region=settings.aws_account.aws_region)


def _check_bucket(bucket: str, endpoint: Endpoint) -> None:
    """Before a sample is made for a run that cannot be."""
    from glacierflow.cloud import Cloud
    from glacierflow.store import open_store

    open_store(f"s3://{bucket}", Cloud(endpoint_url=endpoint.url, embedded=True)).check_writable()
