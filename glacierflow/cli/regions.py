"""``glacierflow regions``: look at the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glacierflow.cli.options import IndexRangeOption, JsonOption, RegionsFileOption, RegionsOption
from glacierflow.cli.panels import Verbs
from glacierflow.errors import RegionError

if TYPE_CHECKING:
    from glacierflow.model.records import Region
    from glacierflow.regions import Catalogue


app = Verbs(help="List, show and map the glacier regions.")


@app.command("list", epilog="Example: glacierflow regions list --start-end-index 0:23")
def list_command(
    regions: RegionsOption = None,
    start_end_index: IndexRangeOption = None,
    regions_file: RegionsFileOption = None,
    json: JsonOption = False,
) -> None:
    """List regions: index, name, area, UTM zones, Sentinel-2 tiles in merge order."""
    chosen = _choose(_load(regions_file), regions, start_end_index)
    if json:
        _print_json([_as_json(region) for region in chosen])
        return
    width = max(len(region.name) for region in chosen)
    typer.echo(f"{'index':>5}  {'region':<{width}}  {'km2':>8}  {'utm':<8}  mgrs_tiles")
    for region in chosen:
        zones = ",".join(str(zone) for zone in region.utm_zones)
        tiles = " ".join(region.mgrs_tiles)
        typer.echo(f"{region.index:>5}  {region.name:<{width}}  {region.area_km2:>8.1f}  {zones:<8}  {tiles}")


@app.command("show", epilog="Example: glacierflow regions show 049_jakobshavn")
def show_command(
    name: Annotated[str, typer.Argument(help="Name of a region, e.g. 049_jakobshavn.")],
    regions_file: RegionsFileOption = None,
    json: JsonOption = False,
) -> None:
    """Show one region: extent, size in pixels, tiles and outline."""
    from glacierflow.model.records import CRS, PIXEL_SIZE_M
    from glacierflow.search.mgrs import missing_tiles, uncovered_share

    (region,) = _load(regions_file).select([name], None).regions
    if json:
        _print_json(_as_json(region) | _coverage(region))
        return
    width, height = region.xmax - region.xmin, region.ymax - region.ymin
    longitudes, latitudes = zip(*region.outline, strict=True)
    lines = {
        "region": region.name,
        "index": str(region.index),
        "extent": f"x {_span(region.bounds[::2], 0)}, y {_span(region.bounds[1::2], 0)} m in {CRS}",
        "area": f"{region.area_km2:.1f} km2 ({width / 1000:g} x {height / 1000:g} km)",
        "lon/lat": f"{_span(longitudes, 3)}, {_span(latitudes, 3)} degrees",
        "tiles": " ".join(region.mgrs_tiles),
        "UTM zones": ", ".join(str(zone) for zone in region.utm_zones),
    }
    share = uncovered_share(region)
    if share:
        lines["uncovered"] = (
            f"{share:.2%} lies in none of the tiles; {' '.join(missing_tiles(region))} would do"
        )
    for satellite, pixel in PIXEL_SIZE_M.items():
        lines[satellite] = f"{width / pixel:.0f} x {height / pixel:.0f} pixels of {pixel} m"
    for label, text in lines.items():
        typer.echo(f"{label:<10} {text}")


@app.command("check", epilog="Example: glacierflow regions check --regions-file mine.csv")
def check_command(
    regions: RegionsOption = None,
    start_end_index: IndexRangeOption = None,
    regions_file: RegionsFileOption = None,
    json: JsonOption = False,
) -> None:
    """Check a catalogue, and show where its Sentinel-2 tiles do not cover a region.

    `mgrs_tiles = auto` in config.ini takes the missing tiles too, after those of the list.
    """
    chosen = _choose(_load(regions_file), regions, start_end_index)
    found = [{"region": region.name, **_coverage(region)} for region in chosen]
    gaps = [entry for entry in found if entry["uncovered_share"]]
    if json:
        _print_json({"regions": len(chosen), "uncovered": gaps})
        return
    for entry in gaps:
        missing = " ".join(entry["missing_tiles"])
        typer.echo(
            f"{entry['region']}: {entry['uncovered_share']:.2%} in none of its tiles; missing {missing}"
        )
    typer.echo(f"{len(chosen)} regions, {len(gaps)} not wholly inside their Sentinel-2 tiles")


@app.command("map", epilog="Example: glacierflow regions map --out regions.png")
def map_command(
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.")],
    regions: RegionsOption = None,
    start_end_index: IndexRangeOption = None,
    regions_file: RegionsFileOption = None,
    json: JsonOption = False,
) -> None:
    """Draw all regions as a PNG; --regions or --start-end-index makes some stand out."""
    from glacierflow.regions.map import draw_map, to_frame

    catalogue = _load(regions_file)
    given = regions is not None or start_end_index is not None
    chosen = [region.name for region in _choose(catalogue, regions, start_end_index)] if given else []
    picture = draw_map(to_frame(catalogue.regions), chosen)
    try:
        out.write_bytes(picture)
    except OSError as error:
        raise RegionError(
            f"{out} cannot be written: {error.strerror}", next_step="name a file in a folder you can write to"
        ) from error
    if json:
        _print_json({"out": str(out), "regions": len(catalogue.regions), "chosen": chosen})
    else:
        typer.echo(f"{out}: {len(catalogue.regions)} regions, {len(chosen)} chosen")


def _load(path: Path | None) -> Catalogue:
    from glacierflow.regions import load_catalogue

    return load_catalogue(path)


def _choose(catalogue: Catalogue, names: str | None, index_range: str | None) -> tuple[Region, ...]:
    listed = None if names is None else [name.strip() for name in names.split(",") if name.strip()]
    selection = catalogue.select(listed, index_range)
    for warning in selection.warnings:
        typer.echo(f"glacierflow: {warning}", err=True)
    return selection.regions


def _coverage(region: Region) -> dict[str, Any]:
    from glacierflow.search.mgrs import missing_tiles, uncovered_share

    return {"uncovered_share": uncovered_share(region), "missing_tiles": list(missing_tiles(region))}


def _span(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def _as_json(region: Region) -> dict[str, Any]:
    return {
        **region.model_dump(mode="json"),
        "area_km2": region.area_km2,
        "utm_zones": list(region.utm_zones),
    }


def _print_json(value: object) -> None:
    from json import dumps

    typer.echo(dumps(value, indent=2))
