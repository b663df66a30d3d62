"""``glacierflow prices``: the price table that estimates and cost reports use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from glacierflow.cli.collect import collects
from glacierflow.cli.context import CommandLine, cloud_for, load_line
from glacierflow.cli.options import JsonOption

if TYPE_CHECKING:
    from glacierflow.runs.prices import PriceTable

__all__ = ["app"]

app = typer.Typer(
    help="Prices that estimates and cost reports use: show, refresh.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog="Example: glacierflow prices show")
def show(as_json: JsonOption = False) -> int:
    """Show the price table in use, its date and its source; offline."""
    from glacierflow.local.control import default_home
    from glacierflow.services.prices import load_prices

    _print(load_prices(default_home().parent).table, as_json=as_json)
    return 0


@app.command(epilog="Example: glacierflow prices refresh --profile science")
@collects("local", "aws_config", "profile", "aws_region", "quiet")
def refresh(
    line: CommandLine,
    as_json: JsonOption = False,
) -> int:
    """Fetch on-demand prices and spot price history from AWS, and use them from now on."""
    from glacierflow.local.control import default_home
    from glacierflow.services.prices import refresh_prices

    cloud, _ = cloud_for(load_line(line), line)
    _print(refresh_prices(default_home().parent, cloud), as_json=as_json)
    return 0


def _print(table: PriceTable, *, as_json: bool) -> None:
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
