"""``glacierflow container``: the image of a child, built, tried on this machine, weighed and pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from glacierflow.cli import options as o
from glacierflow.cli.container_run import run_command

__all__ = ["app"]

app = typer.Typer(
    help="The image of a child: build it, run one child in it, push it, weigh it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

TargetOption = Annotated[
    Literal["batch", "lambda"],
    typer.Option("--target", help="batch also serves ECS, Fargate and docker run."),
]

app.command("run", epilog="Example: glacierflow container run --index 5 --satellite landsat --local")(
    run_command
)


@app.command(epilog="Example: glacierflow container build")
def build(
    target: TargetOption = "batch",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build every layer anew.")] = False,
    base: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", envvar="GLACIERFLOW_BASE_IMAGE", help="Another base image."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="PIP_CERT", help="Certificates pip trusts inside the build."),
    ] = None,
    quiet: o.QuietOption = False,
) -> None:
    """Build the image from this checkout, labelled with its version and commit."""
    from glacierflow.services import image

    tags = image.build(
        image.find_checkout(), target, base=base, no_cache=no_cache, ca_file=ca_file, quiet=quiet
    )
    for tag in tags:
        typer.echo(tag)


@app.command(epilog="Example: glacierflow container size")
def size(
    image: Annotated[str, typer.Argument(help="Name of an image on this machine.")] = "glacierflow",
    as_json: o.JsonOption = False,
) -> None:
    """Show the size of the image by layer, unpacked."""
    import json
    from dataclasses import asdict

    from glacierflow.services.image import weigh

    weight = weigh(image)
    if as_json:
        typer.echo(json.dumps(asdict(weight) | {"base": weight.base, "ours": weight.ours}, indent=2))
        return
    for layer in weight.layers:
        typer.echo(f"{layer.size / 1e6:9.1f} MB  {'ours' if layer.ours else 'base'}  {layer.created_by[:70]}")
    typer.echo(f"{weight.ours / 1e6:9.1f} MB  on top of {weight.base / 1e6:.1f} MB of the base")
