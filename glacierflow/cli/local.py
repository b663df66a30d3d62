"""``glacierflow local``: the embedded cloud, up and down, and a sample archive to feed it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from glacierflow.cli.panels import Verbs

if TYPE_CHECKING:
    from glacierflow.local.control import Endpoint


app = Verbs(help="The embedded cloud: an AWS on this machine that runs jobs.")


@app.command(epilog="Example: glacierflow local up --archive images")
def up(
    archive: Annotated[Path | None, typer.Option(help="Directory of STAC items to serve.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default that of last time.")] = None,
    vcpus: Annotated[float | None, typer.Option(help="vCPUs that all jobs may use together.")] = None,
    clock: Annotated[
        float, typer.Option(help="How many Batch seconds pass in a real second, for timeouts.")
    ] = 1.0,
    spot_reclaim: Annotated[float, typer.Option(help="Share of spot attempts to interrupt, 0 to 1.")] = 0.0,
    reclaim: Annotated[
        Literal["aws", "kind"],
        typer.Option(
            help="aws: two minutes' notice in the instance's metadata, then SIGKILL; kind: SIGTERM."
        ),
    ] = "aws",
    seed: Annotated[int, typer.Option(help="Decides which attempts are interrupted.")] = 0,
    executor: Annotated[
        Literal["process", "docker", "auto"] | None,
        typer.Option(help="Run children as processes of this code (default), or as containers of the image."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of those containers; default the newest `container build`.")
    ] = None,
) -> None:
    """Start the embedded cloud, or add an archive to the one that runs."""
    from glacierflow.local import control

    endpoint = control.up(
        control.default_home(),
        archive=archive,
        port=port,
        vcpus=vcpus,
        clock=clock,
        spot_reclaim=spot_reclaim,
        reclaim=reclaim,
        seed=seed,
        executor=executor,
        image=image,
    )
    _show(endpoint)


@app.command(epilog="Example: glacierflow local status --json")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the endpoint as JSON.")] = False,
) -> int:
    """Say whether the embedded cloud runs, and where; exit code 1 where it does not."""
    import json
    from dataclasses import asdict

    from glacierflow.local import control

    endpoint = control.status(control.default_home())
    if as_json:
        typer.echo(json.dumps(asdict(endpoint) if endpoint else None, indent=2))
    elif endpoint:
        _show(endpoint)
    else:
        typer.echo("the embedded cloud is not running; start it with `glacierflow local up`")
    return 0 if endpoint else 1


@app.command(epilog="Example: glacierflow local down")
def down() -> None:
    """Stop the embedded cloud; objects, jobs and logs are kept."""
    from glacierflow.local import control

    was_running = control.down(control.default_home())
    typer.echo("stopped" if was_running else "the embedded cloud was not running")


@app.command(epilog="Example: glacierflow local reset")
def reset() -> None:
    """Stop the embedded cloud and forget everything in it."""
    from glacierflow.local import control

    control.reset(control.default_home())
    typer.echo("forgotten")


@app.command(epilog="Example: glacierflow local sample images")
def sample(
    directory: Annotated[Path, typer.Argument(help="Directory to write the archive to.")],
    regions: Annotated[str | None, typer.Option(help="Region names, separated by commas.")] = None,
    date1: Annotated[str, typer.Option(help="First date, YYYY-MM-DD.")] = "2025-06-01",
    date2: Annotated[str, typer.Option(help="Last date, YYYY-MM-DD.")] = "2025-06-30",
) -> None:
    """Write a small made-up archive of satellite scenes, as a place to try everything."""
    from glacierflow.local.sample import write_sample
    from glacierflow.regions import load_catalogue

    first, last = _date("--date1", date1), _date("--date2", date2)
    names = [name.strip() for name in regions.split(",") if name.strip()] if regions else None
    # without names: three regions, which is seconds of work
    selection = load_catalogue().select(names, None if names else "0:3")
    for warning in selection.warnings:
        typer.echo(f"glacierflow: {warning}", err=True)
    summary = write_sample(directory, selection.regions, first, last)
    passes = ", ".join(f"{count} of {satellite}" for satellite, count in summary.passes.items())
    typer.echo(
        f"{summary.directory}: {summary.items} items of {len(selection.regions)} regions "
        f"({summary.written} written now, {summary.bytes / 1e6:.1f} MB), passes: {passes}"
    )
    typer.echo(f"serve it: glacierflow local up --archive {directory}")


def _show(endpoint: Endpoint) -> None:
    from glacierflow.cloud import EMBEDDED_ACCESS_KEY

    typer.echo(f"embedded cloud: {endpoint.url} (process {endpoint.pid}, state in {endpoint.home})")
    typer.echo(f"STAC API:       {endpoint.stac_url}")
    if endpoint.archive:
        typer.echo(f"archive:        {endpoint.archive}")
    children = "containers" if endpoint.executor == "docker" else "processes"
    typer.echo(f"children:       {children}")
    typer.echo("for the aws command line:")
    typer.echo(f"  export AWS_ENDPOINT_URL={endpoint.url}")
    typer.echo(
        f"  export AWS_ACCESS_KEY_ID={EMBEDDED_ACCESS_KEY} AWS_SECRET_ACCESS_KEY={EMBEDDED_ACCESS_KEY}"
    )
    typer.echo("  export AWS_DEFAULT_REGION=us-west-2")


def _date(option: str, text: str) -> dt.date:
    from glacierflow.errors import UsageError

    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text} is not a date of the form YYYY-MM-DD") from error
