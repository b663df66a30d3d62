"""``glacierflow plan``: a manifest on disk, for a cluster or any other scheduler without AWS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from glacierflow.cli.batch.planning import ByOption, Draft, PackOption, arrange_units, parse_by, units_of
from glacierflow.cli.collect import DATES, REGIONS, collects
from glacierflow.cli.context import CommandLine, choose_regions, load_line, step_settings
from glacierflow.errors import StoreError, UsageError

__all__ = ["plan_command"]

ManifestOption = Annotated[Path, typer.Option("--manifest", metavar="FILE", help="Where to write it.")]
BaseDirOption = Annotated[
    Path | None,
    typer.Option("--base-dir", metavar="DIR", help="Shared directory for products and records."),
]
StacUrlOption = Annotated[
    str | None, typer.Option("--stac-url", metavar="URL", help="STAC API to search instead of the usual one.")
]


@collects("accept_all", "reprocess", "config", "quiet", first=(*REGIONS, *DATES))
def plan_command(
    line: CommandLine,
    manifest: ManifestOption,
    by: ByOption = None,
    pack: PackOption = None,
    base_dir: BaseDirOption = None,
    stac_url: StacUrlOption = None,
) -> int:
    """Write a manifest whose slots are processed with GLACIERFLOW_INDEX, without AWS; print how many."""
    from glacierflow.runs.plan import build_manifest

    more = {
        "PATHS.base_dir": base_dir,
        "PATHS.local_base_dir": base_dir,
        "IMAGERY.sentinel2_stac_url": stac_url,
        "IMAGERY.landsat_stac_url": stac_url,
    }
    line = replace(line, more={name: str(value) for name, value in more.items() if value is not None})
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    draft = Draft(loaded, choice, step_settings(loaded, line), period, pack)
    arrangement = arrange_units(draft, units_of(draft))
    made = build_manifest(
        arrangement.slots,
        choice.regions,
        draft.step,
        catalogue_sha256=choice.catalogue_sha256,
        store=str(loaded.settings.output_dir.expanduser().absolute()),
        settings_source=loaded.source,
    ).model_copy(update={"service": "local"})
    _write(manifest, made.model_dump_json(indent=1))
    typer.echo(len(made.slots))
    return 0


def _write(path: Path, text: str) -> None:
    """Never over another manifest: children may be at work with it."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", next_step="name another file, or delete it first") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
