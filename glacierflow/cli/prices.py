"""``glacierflow prices``: the price table that estimates and cost reports use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from glacierflow.cli.context import CommandLine, cloud_for, load_line, say
from glacierflow.cli.options import JsonOption, collects
from glacierflow.cli.panels import Verbs

if TYPE_CHECKING:
    from glacierflow.cost.prices import PriceBook


app = Verbs(help="Prices used by estimates: show them, refresh them.")


@app.command(epilog="Example: glacierflow prices show --aws-region eu-central-1")
@collects("aws_config", "aws_region", "quiet")
def show(line: CommandLine, as_json: JsonOption = False) -> int:
    """Show the price table in use for an AWS region, its date and its source; offline."""
    from glacierflow.cost.price_sources import load_prices
    from glacierflow.local.control import default_home

    region = load_line(line).settings.aws_account.aws_region
    _print(load_prices(default_home().parent, region), as_json=as_json)
    return 0


@app.command(epilog="Example: glacierflow prices refresh --aws-region eu-central-1")
@collects("aws_config", "profile", "aws_region", "quiet")
def refresh(
    line: CommandLine,
    as_json: JsonOption = False,
) -> int:
    """Fetch an AWS region's on-demand prices and spot price history, and use them for it from now on."""
    from glacierflow.cost.price_sources import refresh_prices
    from glacierflow.cost.prices import PriceBook
    from glacierflow.local.control import default_home

    cloud, _ = cloud_for(load_line(line), line)
    _print(PriceBook(refresh_prices(default_home().parent, cloud)), as_json=as_json)
    return 0


def _print(book: PriceBook, *, as_json: bool) -> None:
    table = book.table
    for text in book.caveats:
        say(f"glacierflow: {text}")
    if as_json:
        typer.echo(table.model_dump_json(indent=2))
        return
    typer.echo(f"prices of {table.as_of} in {table.region}\nsource: {table.source}")
    typer.echo(f"{len(table.on_demand)} instance types by exact price, {len(table.spot)} with spot history")
    for family, usd in sorted(table.per_vcpu_hour.items()):
        typer.echo(f"  {family:<6} ${usd:.5f} a vCPU hour on demand")
    for name, value in table.rates:
        typer.echo(f"  {name:<22} {value:.10g}")
    if not table.spot:
        share = table.spot_share
        typer.echo(f"spot is assumed at {share.p50:.0%} (p50) and {share.p90:.0%} (p90) of on-demand")
