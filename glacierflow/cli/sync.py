"""``glacierflow sync``: settings and sources up to the bucket, results down from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli import options as o
from glacierflow.cli.context import CommandLine, cloud_for, load_line, say
from glacierflow.cli.options import CONNECTION, collects
from glacierflow.cli.panels import Verbs
from glacierflow.cli.render import show_findings
from glacierflow.errors import GlacierflowError, UsageError
from glacierflow.outside import printable

if TYPE_CHECKING:
    from glacierflow.aws.names import Places
    from glacierflow.cloud import Cloud
    from glacierflow.model.layout import Layout
    from glacierflow.model.records import Satellite
    from glacierflow.settings import LoadedSettings
    from glacierflow.sync.pull import PullPlan
    from glacierflow.sync.push import ProjectFile
    from glacierflow.sync.remote import Bucket, RemoteFile


EXIT_DIFFERS = 1

ProjectOption = Annotated[
    Path | None, typer.Option("--project", metavar="DIR", help="Checkout to push; default this directory.")
]
CopiedProjectOption = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="Checkout to compare with; default this directory."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]

app = Verbs(help="Push settings and sources to the bucket, pull results.")


@app.command(epilog="Example: glacierflow sync push --dry-run")
@collects(*CONNECTION, "s3_bucket")
def push(
    line: CommandLine,
    project: ProjectOption = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Also remove objects that have no file here.")
    ] = False,
    dry_run: DryRunOption = False,
) -> int:
    """Upload config.ini, aws_config.ini, catalogue and sources: only what changed, by checksum."""
    from glacierflow.sync.check import check_revision
    from glacierflow.sync.push import PREFIX, plan_push
    from glacierflow.sync.push import push as upload

    files = _project(project, line)
    loaded, cloud, places, bucket = _bucket(line)
    plan = plan_push(files, bucket)
    if dry_run:
        for file in plan.changed:
            typer.echo(f"would upload {file.key}")
        for key in plan.strangers if delete else ():
            typer.echo(f"would remove {key}")
    else:
        upload(plan, bucket, delete=delete, tell=lambda text: say(text, quiet=line.quiet))
    done = "to upload" if dry_run else "uploaded"
    typer.echo(f"s3://{bucket.name}/{PREFIX}: {len(plan.changed)} {done}, {plan.unchanged} unchanged")
    for image in check_revision(project or Path(), cloud, loaded, places):
        if image.verdict == "problem":
            say(f"glacierflow: warning: {image.text}\n  next: {image.next_step}", quiet=line.quiet)
    if plan.strangers and not delete:
        typer.echo(f"{len(plan.strangers)} objects have no file here; --delete removes them")
    return 0


@app.command(epilog="Example: glacierflow sync verify --json")
@collects(*CONNECTION, "s3_bucket")
def verify(
    line: CommandLine,
    project: CopiedProjectOption = None,
    as_json: o.JsonOption = False,
) -> int:
    """Check the bucket's copy of the project, item by item; exit code 1 for a problem, 2 where unknown."""
    from glacierflow.sync.check import check_copy, check_revision

    files = _project(project, line)
    loaded, cloud, places, bucket = _bucket(line)
    items = check_copy(files, bucket, cloud, function_name=_function(cloud, loaded))
    items.extend(check_revision(project or Path(), cloud, loaded, places))
    return show_findings(items, as_json=as_json)


@app.command(epilog="Example: glacierflow sync pull --satellite landsat --regions 134_Arsuk")
@collects(*CONNECTION, "s3_bucket")
def pull(
    line: CommandLine,
    satellite: o.SatelliteOption = None,
    regions: o.RegionsOption = None,
    start_end_index: o.IndexRangeOption = None,
    regions_file: o.RegionsFileOption = None,
    exclude_downloads: Annotated[
        bool,
        typer.Option(
            "--exclude-downloads", help="Leave out the native-grid windows that download_flag keeps."
        ),
    ] = False,
    force_overwrite: Annotated[
        bool, typer.Option("--force-overwrite", help="Replace files here that differ from the bucket's.")
    ] = False,
    dry_run: DryRunOption = False,
) -> int:
    """Copy results to the folder where runs here write, under the keys they have in the bucket.

    Without --satellite both satellites, without regions all of them. What is here and the same is not
    fetched again, so an interrupted pull goes on where it stopped.
    """
    loaded, _, _, bucket = _bucket(line)
    folder, layout = loaded.settings.output_dir, _layout(loaded)
    names = _names(regions, start_end_index, regions_file, quiet=line.quiet)
    plan = _plan(layout, bucket, folder, satellite, names, downloads=not exclude_downloads)
    files = plan.to_fetch(overwrite=force_overwrite)
    size_mb = sum(file.size for file in files) / 1e6
    for file in plan.refused:
        typer.echo(f"refused, because its key leads out of {folder}: {printable(file.key)}", err=True)
    if dry_run:
        for file in files:
            typer.echo(f"would fetch {file.key} ({file.size} bytes)")
        typer.echo(f"{len(files)} to fetch ({size_mb:.1f} MB), {plan.complete} complete in {folder}")
        return max(_differing(plan, overwrite=force_overwrite), EXIT_DIFFERS if plan.refused else 0)
    failed = _fetch(files, bucket, folder, layout, quiet=line.quiet)
    for file, problem in failed:
        typer.echo(f"glacierflow: {file.key}: {problem}", err=True)
    typer.echo(f"{len(files) - len(failed)} fetched, {plan.complete} were complete in {folder}")
    wrong = bool(failed or plan.refused)
    return max(_differing(plan, overwrite=force_overwrite), EXIT_DIFFERS if wrong else 0)


def _project(project: Path | None, line: CommandLine) -> list[ProjectFile]:
    from glacierflow.sync.push import project_files

    if line.config is not None and line.config.startswith("s3://"):
        raise UsageError(
            f"--config = {line.config} is in S3 already", next_step="name a file here to push it there"
        )
    root = project or Path()
    return project_files(
        root,
        config=Path(line.config) if line.config else root / "config.ini",
        aws_config=line.aws_config or root / "aws_config.ini",
    )


def _bucket(line: CommandLine) -> tuple[LoadedSettings, Cloud, Places, Bucket]:
    """The bucket that runs write to, too."""
    from glacierflow.aws.names import find_places
    from glacierflow.sync.remote import Bucket

    loaded = load_line(line)
    cloud, _ = cloud_for(loaded, line)
    places = find_places(loaded, cloud)
    if places.notice:
        say(f"glacierflow: {places.notice}", quiet=line.quiet)
    return loaded, cloud, places, Bucket(places.bucket, cloud)


def _function(cloud: Cloud, loaded: LoadedSettings) -> str:
    """The function that ``lambda`` means; the setting where its stack cannot be asked."""
    from glacierflow.launch.lambda_ import function_name
    from glacierflow.stack.templates import stack_name

    try:
        return function_name(cloud, loaded)
    except GlacierflowError:
        return loaded.settings.lambda_.function_name or stack_name(loaded.settings.batch.stack, "lambda")


def _names(
    regions: str | None, index_range: str | None, regions_file: Path | None, *, quiet: bool
) -> list[str] | None:
    if regions is None and index_range is None:
        return None
    from glacierflow.regions import load_catalogue

    words = [name.strip() for name in regions.split(",") if name.strip()] if regions else None
    selection = load_catalogue(regions_file).select(words, index_range)
    for warning in selection.warnings:
        say(f"glacierflow: {warning}", quiet=quiet)
    return [region.name for region in selection.regions]


def _layout(loaded: LoadedSettings) -> Layout:
    from glacierflow.model.layout import Layout

    return Layout(loaded.settings.storage.s3_base_path, loaded.settings.imagery.folder_structure)


def _plan(
    layout: Layout,
    bucket: Bucket,
    folder: Path,
    satellite: str | None,
    names: list[str] | None,
    *,
    downloads: bool,
) -> PullPlan:
    from glacierflow.model.records import SATELLITES
    from glacierflow.sync.pull import plan_pull

    if satellite is not None and satellite not in SATELLITES:
        raise UsageError(
            f"--satellite = {satellite} is not accepted", next_step=f"accepted: {', '.join(SATELLITES)}"
        )
    chosen: list[Satellite] = [known for known in SATELLITES if satellite in {None, known}]
    return plan_pull(bucket, layout, folder, satellites=chosen, regions=names, downloads=downloads)


def _fetch(
    files: tuple[RemoteFile, ...], bucket: Bucket, folder: Path, layout: Layout, *, quiet: bool
) -> list[tuple[RemoteFile, str]]:
    """Download with a bar, then list the STAC collections that are here in their catalog."""
    if not files:
        return []
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from glacierflow.step.sidecars import rebuild_catalog
    from glacierflow.store import LocalStore
    from glacierflow.sync.pull import pull as download

    console = Console(stderr=True, quiet=quiet)
    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=sum(file.size for file in files))
        failed = download(files, bucket, folder, lambda file: bar.advance(task, file.size))
    rebuild_catalog(LocalStore(folder), layout)
    return failed


def _differing(plan: PullPlan, *, overwrite: bool) -> int:
    if not plan.differing or overwrite:
        return 0
    for file in plan.differing:
        typer.echo(f"differs: {file.key}", err=True)
    say(f"{len(plan.differing)} files here differ from the bucket's and were kept")
    say("  next: --force-overwrite replaces them")
    return EXIT_DIFFERS
