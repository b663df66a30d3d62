"""``glacierflow velocity run`` and ``at``: granules are made, and read at places."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from glacierflow.cli import options as o
from glacierflow.cli.context import CommandLine, cloud_of_places, say
from glacierflow.cli.options import CONNECTION, collects
from glacierflow.cli.velocity import (
    ClipsArgument,
    CoverageOption,
    DaysOption,
    MostOption,
    NearestOption,
    find_pairs,
    rule_changes,
    wanted_products,
)
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.velocity.pairs import Pairing
    from glacierflow.velocity.produce import Made

BaseDirOption = Annotated[
    Path | None,
    typer.Option("--base-dir", metavar="DIR", help="Directory for granules instead of that of the clips."),
]
MaskOption = Annotated[
    Path | None,
    typer.Option(
        "--mask", metavar="FILE", help="Polygons of rock, or a raster with 1 for rock and 2 for water."
    ),
]
MaxSpeedOption = Annotated[
    float, typer.Option("--max-speed", min=0.1, metavar="M/DAY", help="The fastest ice to look for.")
]
MapMetresOption = Annotated[
    bool, typer.Option("--map-metres", help="Metres of EPSG:3413 instead of metres on the ground.")
]
PlacesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="LON,LAT|FILE...", help="Points, or files of points and lines; write -- before a minus sign."
    ),
]
WhereOption = Annotated[
    Path, typer.Option("--where", metavar="DIR", help="Directory that holds 2_velocity; default output.")
]
RegionOption = Annotated[
    str | None, typer.Option("--region", metavar="NAME", help="Granules of this region alone.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="CSV file to write; default stdout.")
]


@collects("satellite", "regions", "date1", "date2", *CONNECTION, "reprocess")
def run_command(
    line: CommandLine,
    where: ClipsArgument,
    base_dir: BaseDirOption = None,
    mask: MaskOption = None,
    days: DaysOption = None,
    most: MostOption = None,
    min_coverage: CoverageOption = None,
    allow_nearest: NearestOption = False,
    max_speed: MaxSpeedOption = 50.0,
    map_metres: MapMetresOption = False,
    as_json: o.JsonOption = False,
) -> int:
    """Make velocity granules of clips, here.

    A granule is a NetCDF file, a GeoTIFF of speed, a picture and a STAC item, below 2_velocity beside
    the clips. What is there already, made from the same, is left.

    Exits 1 where a pair failed, or where there is none.
    """
    from glacierflow.products.tree import open_tree
    from glacierflow.store import LocalStore

    _require_packages()
    wanted = wanted_products(line)
    changes = rule_changes(days, most, min_coverage, allow_nearest=allow_nearest)
    tree = open_tree(where, cloud_of_places(line, where))
    target = tree.store if base_dir is None else LocalStore(base_dir.expanduser().absolute())
    target.check_writable()
    pairing, unusable = find_pairs(tree, wanted, changes)
    for one in unusable:
        say(f"not used: {one.code}: {one.reason}", quiet=line.quiet)

    from glacierflow.velocity.produce import VelocitySettings, make_granules

    settings = VelocitySettings(
        max_speed_m_day=max_speed,
        metres="map" if map_metres else "ground",
        **({} if min_coverage is None else {"min_coverage": min_coverage}),
    )
    found = []
    for made in make_granules(
        pairing.pairs, tree.store, target, settings, mask=mask, reprocess=line.reprocess
    ):
        found.append(made)
        if not as_json:
            typer.echo(_made_line(made))
    _show_made(found, pairing, as_json=as_json)
    return 1 if not found or any(made.outcome == "failed" for made in found) else 0


def _require_packages() -> None:
    """Say what to install before anything is listed.

    Raises:
        UsageError: the extra is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("cv2", "netCDF4") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"velocity needs packages that are not installed: {', '.join(missing)}",
            next_step="pip install 'glacierflow[velocity]'",
        )


def _made_line(made: Made) -> str:
    line = f"{made.outcome:8}  {made.key}"
    if made.reason is not None:
        return f"{line}\n          {made.reason}"
    if made.measured is None or made.error_x is None or made.error_y is None:
        return line
    ground = ("no stable ground", "rock", "slowest quarter")[made.stable_shift_flag or 0]
    errors = f"error {made.error_x:.0f} and {made.error_y:.0f} m/yr by {ground}"
    return f"{line}  {made.measured:.0%} measured, {errors}"


def _show_made(found: list[Made], pairing: Pairing, *, as_json: bool) -> None:
    from glacierflow.cli import render

    if as_json:
        facts = {
            "granules": [made.model_dump(mode="json") for made in found],
            "refused": [one.model_dump(mode="json") for one in pairing.refused],
        }
        typer.echo(render.to_json(facts))
        return
    outcomes = Counter(made.outcome for made in found)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "none"
    typer.echo(f"granules: {counts}; pairs refused by rules: {len(pairing.refused)}")
    if not found:
        typer.echo("no two clips make a pair; `glacierflow velocity pairs DIR --refused` says why")


def at_command(
    places: PlacesArgument,
    where: WhereOption = Path("output"),
    region: RegionOption = None,
    out: OutOption = None,
) -> int:
    """Write the velocities at points, or along lines, as CSV.

    One row for each granule and place inside it. Exits 1 where no granule holds any of the places.
    """
    import csv
    import sys

    _require_packages()

    from glacierflow.velocity.series import COLUMNS, find_granules, read_places, time_series

    rows = list(time_series(find_granules(where, region), read_places(places)))
    if not rows:
        say("glacierflow: no granule holds any of these places")
        return 1
    with contextlib.ExitStack() as stack:
        target = sys.stdout if out is None else stack.enter_context(_open_csv(out))
        writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


def _open_csv(path: Path) -> TextIO:
    try:
        return path.open("w", newline="")
    except OSError as error:
        raise UsageError(f"--out = {path} cannot be written: {error.strerror}") from error
