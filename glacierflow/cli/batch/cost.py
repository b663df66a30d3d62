"""``glacierflow batch cost``: what a run has cost, by region and product, and what of it was wasted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.looking import RunsArgument, heading, locate_runs
from glacierflow.cli.batch.verify import write_file
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine, say
from glacierflow.cli.options import JsonOption

if TYPE_CHECKING:
    from glacierflow.runs.cost import CostReport

__all__ = ["cost_command"]

CsvOption = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a line an attempt.")]


@collects(*CONNECTION, "s3_bucket")
def cost_command(
    line: CommandLine,
    runs: RunsArgument = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
) -> int:
    """Add up what runs, their canaries and their retries have cost.

    Time of each attempt x price of its share of a machine; an attempt of any of the runs counts once.
    """
    from glacierflow.local.control import default_home
    from glacierflow.runs.cost import cost_csv
    from glacierflow.runs.joined import read_joined
    from glacierflow.services.cost import report_cost
    from glacierflow.services.prices import load_prices

    found, run_ids = locate_runs(runs, line)
    family = read_joined(found.store, run_ids)
    prices = load_prices(default_home().parent, found.cloud.region)
    report, notice = report_cost(family, found.store, found.cloud, found.places, prices)
    if notice is not None:
        say(f"glacierflow: {notice}", quiet=line.quiet)
    if csv is not None:
        write_file(csv, cost_csv(report).encode(), option="--csv")
    _show(report, as_json=as_json)
    return 0


def _show(report: CostReport, *, as_json: bool) -> None:
    from glacierflow.cli import render

    wasted = sum(report.wasted.values())
    if as_json:
        facts = report.model_dump(mode="json")
        sums = {"usd": report.usd, "wasted": report.wasted, "products": report.products}
        typer.echo(render.to_json({**facts, **sums}))
        return
    for text in heading(report.runs, report.retries):
        typer.echo(text)
    names = max(len(region.region) for region in report.regions)
    typer.echo(f"{'region':{names}}  {'dollars':>10}  {'wasted':>10}  {'products':>8}  {'a product':>10}")
    for region in report.regions:
        each = "-" if region.usd_a_product is None else f"{region.usd_a_product:.4f}"
        sums_of = f"{region.usd:10.4f}  {region.wasted_usd:10.4f}  {region.products:8}  {each:>10}"
        typer.echo(f"{region.region:{names}}  {sums_of}")
    each = f", {report.usd / report.products:.4f} a product" if report.products else ""
    typer.echo(f"\n{report.usd:.4f} US dollars for {report.products} products{each}")
    by_why = ", ".join(f"{usd:.4f} {why}" for why, usd in report.wasted.items())
    share = f" ({wasted / report.usd:.0%}: {by_why})" if report.usd and wasted else ""
    typer.echo(f"{wasted:.4f} of it on attempts that did not end well{share}")
    for note in report.notes:
        typer.echo(f"  {note}")
