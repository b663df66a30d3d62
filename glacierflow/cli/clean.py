"""``glacierflow clean``: remove products of regions from the bucket, to make them anew."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.context import CommandLine, choose_regions, cloud_for, load_line, say
from glacierflow.cli.options import CONNECTION, REGIONS, JsonOption, collects
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.sync.clean import Rubbish


AllRegionsOption = Annotated[bool, typer.Option("--all", help="All regions of the catalogue.")]
DryRunOption = Annotated[
    bool | None,
    typer.Option(
        "--dry-run/--no-dry-run",
        help="Look into the bucket, show what would be deleted, and delete nothing. "
        "Also takes true or false.",
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]


@collects(*CONNECTION, "s3_bucket", first=REGIONS)
def clean_command(
    line: CommandLine,
    all_regions: AllRegionsOption = False,
    dry_run: DryRunOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> int:
    """Remove images and lineage of regions.

    Manifests and receipts stay.
    """
    from glacierflow.aws.names import find_places
    from glacierflow.model.layout import Layout
    from glacierflow.store import open_store
    from glacierflow.sync.clean import delete_objects, find_objects, is_versioned

    line = replace(line, accept_all=all_regions, dry_run=dry_run)
    _check_typed(line)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    cloud, step = cloud_for(loaded, line)
    where = f"s3://{find_places(loaded, cloud).bucket}"
    store = open_store(where, cloud)
    layout = Layout(step.base_path, step.folder_structure)
    names = [region.name for region in choice.regions]
    found = find_objects(store, layout, loaded.settings.settings.satellite, names)
    keys = [entry.key for of_region in found for entry in of_region.entries]
    if not as_json:
        _show(found, where)
    deleted = 0
    if keys and not loaded.settings.settings.dry_run:
        versioned = is_versioned(where, cloud)
        _confirm(len(keys), where, yes=yes, versioned=versioned)
        deleted = delete_objects(where, keys, cloud)
    if as_json:
        typer.echo(json.dumps({"store": where, "found": keys, "deleted": deleted}, indent=2))
    elif deleted:
        say(f"{deleted} objects deleted", quiet=line.quiet)
    elif keys:
        typer.echo("dry run: nothing was deleted")
    return 0


def _check_typed(line: CommandLine) -> None:
    """What a file says is meant for processing; what is deleted has to be typed."""
    if line.satellite is None:
        raise UsageError(
            "clean needs a satellite, and none was given",
            next_step="add --satellite sentinel2 or landsat",
        )
    if line.regions is None and line.start_end_index is None and not line.accept_all:
        raise UsageError(
            "clean needs regions, and none was given",
            next_step="name regions with --regions or --start-end-index, or add --all",
        )


def _show(found: list[Rubbish], where: str) -> None:
    for of_region in found:
        if of_region.entries:
            size = of_region.size / 1e6
            typer.echo(f"  {of_region.region:<32}{len(of_region.entries):>8} objects {size:>12,.1f} MB")
    count = sum(len(of_region.entries) for of_region in found)
    typer.echo(f"{count} objects in {where}, {sum(of_region.size for of_region in found) / 1e9:,.2f} GB")


def _confirm(count: int, where: str, *, yes: bool, versioned: bool) -> None:
    if versioned:
        say(
            "glacierflow: the bucket is versioned: what is deleted stays behind as an earlier version, "
            "which can be restored and is paid for"
        )
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{count} objects would be deleted", next_step="add --yes, or look with --dry-run")
    if not typer.confirm(f"Delete {count} objects of {where}?", err=True):
        raise typer.Abort
