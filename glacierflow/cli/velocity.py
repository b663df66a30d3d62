"""``glacierflow velocity``: from clips to how fast the ice moves."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glacierflow.cli import options as o
from glacierflow.cli.context import CommandLine, cloud_of_places
from glacierflow.cli.options import CONNECTION, collects
from glacierflow.cli.panels import Verbs
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.model.records import Satellite
    from glacierflow.products.tree import Product, Tree
    from glacierflow.velocity.clips import Unusable
    from glacierflow.velocity.pairs import Pairing, PairRules


app = Verbs(help="Measure how fast the ice moves, from pairs of clips.")

ClipsArgument = Annotated[
    str, typer.Argument(metavar="DIR|s3://...", help="Folder or prefix of clips, of any depth.")
]
DaysOption = Annotated[
    str | None,
    typer.Option(
        "--days",
        metavar="A:B,...",
        help="Days between two images; default 5:60 for Sentinel-2, 8:60 for Landsat.",
    ),
]
MostOption = Annotated[
    int | None, typer.Option("--most", min=1, metavar="N", help="Pairs of one image, at most; default 8.")
]
CoverageOption = Annotated[
    float | None,
    typer.Option(
        "--min-coverage",
        min=0,
        max=1,
        metavar="SHARE",
        help="Share of the region that must be valid in both images; default 0.2.",
    ),
]
NearestOption = Annotated[
    bool,
    typer.Option("--allow-nearest", help="Take clips resampled by nearest neighbour, the predecessor's too."),
]
RefusedOption = Annotated[
    bool, typer.Option("--refused", help="Name every refusal; by itself they are counted.")
]


@app.command("pairs", epilog="Example: glacierflow velocity pairs output --satellite sentinel2 --refused")
@collects("satellite", "regions", "date1", "date2", *CONNECTION)
def pairs_command(
    line: CommandLine,
    where: ClipsArgument,
    days: DaysOption = None,
    most: MostOption = None,
    min_coverage: CoverageOption = None,
    allow_nearest: NearestOption = False,
    refused: RefusedOption = False,
    as_json: o.JsonOption = False,
) -> int:
    """Show which clips make pairs, and why others do not.

    Reads the headers of the clips and no pixels. Exits 1 where no two clips make a pair.
    """
    from glacierflow.products.tree import open_tree

    wanted = wanted_products(line)
    changes = rule_changes(days, most, min_coverage, allow_nearest=allow_nearest)
    tree = open_tree(where, cloud_of_places(line, where))
    pairing, unusable = find_pairs(tree, wanted, changes)
    _show(pairing, unusable, all_refused=refused, as_json=as_json)
    return 0 if pairing.pairs else 1


def wanted_products(line: CommandLine) -> Any:  # noqa: ANN401 - a function of a product
    """Which products the options mean: by satellite, regions and days.

    Raises:
        UsageError: an unknown satellite, or a day that is none.
    """
    from glacierflow.model.layout import sensing_time
    from glacierflow.model.records import SATELLITES

    if line.satellite is not None and line.satellite not in SATELLITES:
        raise UsageError(
            f"--satellite = {line.satellite} is not known", next_step=f"write {' or '.join(SATELLITES)}"
        )
    regions = None if line.regions is None else {name.strip() for name in line.regions.split(",")}
    first, last = (_day(name, text) for name, text in (("--date1", line.date1), ("--date2", line.date2)))

    def wanted(product: Product) -> bool:
        place = product.place
        if line.satellite not in {None, place.satellite} or (regions and place.region not in regions):
            return False
        if first is None and last is None:
            return True
        day = sensing_time(place.stem).date()
        return (first is None or first <= day) and (last is None or day <= last)

    return wanted


def _day(option: str, text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{option} = {text} is not a date", next_step="write it as YYYY-MM-DD, e.g. 2024-07-01"
        ) from error


def rule_changes(
    days: str | None, most: int | None, min_coverage: float | None, *, allow_nearest: bool
) -> dict[str, Any]:
    """The rules that the options change.

    Raises:
        UsageError: days that are no span.
    """
    said = {
        "spans": None if days is None else tuple(_span(part) for part in days.split(",")),
        "most_per_image": most,
        "min_coverage": min_coverage,
        "allow_nearest": allow_nearest or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _span(text: str) -> tuple[int, int]:
    least, _, most = text.partition(":")
    if least.strip().isdecimal() and most.strip().isdecimal() and 0 < int(least) <= int(most):
        return int(least), int(most)
    raise UsageError(
        f"--days = {text} is not a span of days",
        next_step="write the least and the most, e.g. 5:60 or 5:60,300:430",
    )


def find_pairs(tree: Tree, wanted: Any, changes: dict[str, Any]) -> tuple[Pairing, tuple[Unusable, ...]]:  # noqa: ANN401
    """The pairs among the products of a tree, each satellite by rules of its own."""
    from glacierflow.model.records import SATELLITES
    from glacierflow.velocity.clips import read_clips
    from glacierflow.velocity.pairs import Pairing, choose_pairs

    clips, unusable = read_clips(tree, wanted)
    found = [
        choose_pairs((clip for clip in clips if clip.satellite == satellite), _rules(satellite, changes))
        for satellite in SATELLITES
    ]
    pairing = Pairing(
        clips=sum(one.clips for one in found),
        pairs=tuple(pair for one in found for pair in one.pairs),
        refused=tuple(refusal for one in found for refusal in one.refused),
    )
    return pairing, unusable


def _rules(satellite: Satellite, changes: dict[str, Any]) -> PairRules:
    from glacierflow.velocity.pairs import default_rules

    return default_rules(satellite).model_copy(update=changes)


def _show(pairing: Pairing, unusable: tuple[Unusable, ...], *, all_refused: bool, as_json: bool) -> None:
    from glacierflow.cli import render

    if as_json:
        pairs = [
            {"name": pair.name, "days": round(pair.days, 4), **pair.model_dump(mode="json")}
            for pair in pairing.pairs
        ]
        facts = {
            "clips": pairing.clips,
            "pairs": pairs,
            "refused": [one.model_dump(mode="json") for one in pairing.refused],
            "codes": pairing.codes,
            "unusable": [one.model_dump(mode="json") for one in unusable],
        }
        typer.echo(render.to_json(facts))
        return
    _table(pairing)
    if all_refused:
        for refusal in pairing.refused:
            typer.echo(f"refused: {refusal.code}: {refusal.reason}")
    for one in unusable:
        typer.echo(f"not used: {one.code}: {one.reason}")
    counts = ", ".join(f"{count} {code}" for code, count in pairing.codes.items())
    typer.echo(f"clips: {pairing.clips}, pairs: {len(pairing.pairs)}; refused: {counts or 'none'}")


def _table(pairing: Pairing) -> None:
    from rich.table import Table

    from glacierflow.cli.render_status import make_console

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("satellite", "region", "reference", "secondary", "days", "orbit", "coverage"):
        table.add_column(name)
    for pair in pairing.pairs:
        one, two = pair.reference, pair.secondary
        covers = [clip.coverage for clip in (one, two) if clip.coverage is not None]
        table.add_row(
            one.satellite,
            one.region,
            *(f"{clip.platform} {clip.datetime:%Y-%m-%d %H:%M}" for clip in (one, two)),
            f"{pair.days:.1f}",
            one.orbit,
            f"{min(covers):.0%}" if covers else "-",
        )
    if pairing.pairs:
        make_console().print(table)
