"""What is told of an ended run: its cost, the methods section of a paper, its products in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.runs import (
    RunArgument,
    RunsArgument,
    check_fetch,
    heading,
    locate_run,
    locate_runs,
)
from glacierflow.cli.batch.verify import write_file
from glacierflow.cli.context import CommandLine, say
from glacierflow.cli.options import CONNECTION, JsonOption, collects
from glacierflow.cli.results import fetched

if TYPE_CHECKING:
    from glacierflow.cost.report import CostReport


CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write one line for each attempt.")
]

OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write methods.md, scenes.csv and exclusions.csv there."),
]

ToOption = Annotated[
    Path, typer.Option("--to", metavar="DIR", help="Folder to copy to; it is made if it is missing.")
]


@collects(*CONNECTION, "s3_bucket")
def cost_command(
    line: CommandLine,
    runs: RunsArgument = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
) -> int:
    """Add up what runs, their canaries and their retries have cost.

    Each attempt costs its time x the price of its share of a machine, and counts once.
    """
    from glacierflow.cost.gather import report_cost
    from glacierflow.cost.price_sources import load_prices
    from glacierflow.cost.report import cost_csv
    from glacierflow.local.control import default_home
    from glacierflow.runs.family import read_joined

    found, run_ids = locate_runs(runs, line)
    family = read_joined(found.store, run_ids)
    prices = load_prices(default_home().parent, found.cloud.region)
    report, notice = report_cost(family, found.store, found.cloud, found.places.queues, prices)
    if notice is not None:
        say(f"glacierflow: {notice}", quiet=line.quiet)
    if csv is not None:
        write_file(csv, cost_csv(report).encode(), option="--csv")
    _show(report, as_json=as_json)
    return 0


def _show(report: CostReport, *, as_json: bool) -> None:
    from glacierflow.cli import render
    from glacierflow.runs.progress import products_in_words

    wasted = sum(report.wasted.values())
    if as_json:
        facts = report.model_dump(mode="json")
        sums = {"usd": report.usd, "wasted": report.wasted, "products": report.products, "new": report.new}
        typer.echo(render.to_json({**facts, **sums}))
        return
    for text in heading(report.runs, report.retries):
        typer.echo(text)
    names = max(len(region.region) for region in report.regions)
    typer.echo(f"{'region':{names}}  {'dollars':>10}  {'wasted':>10}  {'new':>8}  {'a new one':>10}")
    for region in report.regions:
        each = "-" if region.usd_a_product is None else f"{region.usd_a_product:.4f}"
        sums_of = f"{region.usd:10.4f}  {region.wasted_usd:10.4f}  {region.new:8}  {each:>10}"
        typer.echo(f"{region.region:{names}}  {sums_of}")
    each = f", {report.usd / report.new:.4f} a new one" if report.new else ""
    products = products_in_words(report.new, report.products)
    typer.echo(f"\n{report.usd:.4f} US dollars; products: {products}{each}")
    typer.echo(f"{report.tried} attempts ({report.reclaims or 'none'} interrupted by spot reclaims)")
    by_why = ", ".join(f"{usd:.4f} {why}" for why, usd in report.wasted.items())
    share = f" ({wasted / report.usd:.0%}: {by_why})" if report.usd and wasted else ""
    typer.echo(f"{wasted:.4f} of it on attempts that did not end well{share}")
    for note in report.notes:
        typer.echo(f"  {note}")


@collects(*CONNECTION, "s3_bucket")
def methods_command(
    line: CommandLine,
    runs: RunsArgument = None,
    out: OutOption = None,
) -> int:
    """Write the methods paragraph of a run: scenes, dates, versions, exclusions.

    Its retries and its canary are in it; of several runs, one paragraph and one table are made.
    """
    from glacierflow.runs.family import check_alike, read_joined
    from glacierflow.runs.methods import exclusions_csv, methods_markdown, methods_of, scenes_csv

    check_fetch(out, option="--out")
    found, run_ids = locate_runs(runs, line)
    family = read_joined(found.store, run_ids)
    check_alike(family)
    methods = methods_of(family)
    if out is None:
        typer.echo(methods_markdown(methods), nl=False)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    files = {
        "methods.md": methods_markdown(methods),
        "scenes.csv": scenes_csv(methods),
        "exclusions.csv": exclusions_csv(methods),
    }
    for name, text in files.items():
        write_file(out / name, text.encode(), option="--out")
        typer.echo(str(out / name))
    return 0


@collects(*CONNECTION, "s3_bucket")
def fetch_command(
    line: CommandLine,
    run: RunArgument = "latest",
    to: ToOption = Path("results"),
    as_json: JsonOption = False,
) -> int:
    """Copy images, lineage, quicklooks and records of a run and its retries to a folder."""
    from glacierflow.cli import render
    from glacierflow.cli.results import fetch_run
    from glacierflow.runs.family import read_family

    check_fetch(to, "--to")
    found = locate_run(run, line)
    family = read_family(found.store, found.run_id)
    files: dict[Path, None] = {}
    for member in family.sent:
        files |= dict.fromkeys(fetch_run(member.manifest, found.store, to))
    if as_json:
        typer.echo(render.to_json({"run_id": found.run_id, "files": [str(path) for path in files]}))
        return 0
    for text in fetched(list(files), to):
        typer.echo(text)
    return 0
