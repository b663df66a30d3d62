"""``glacierflow container``: the image of a child, built, tried on this machine, weighed and pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from glacierflow.cli import context as c
from glacierflow.cli import options as o
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.container_run import run_command
from glacierflow.cli.panels import Verbs

__all__ = ["app"]

app = Verbs(help="The container image: build it, run one child in it, push it.")

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


@app.command(epilog="Example: glacierflow container push --profile science")
@collects(*CONNECTION)
def push(
    line: c.CommandLine,
    image: Annotated[str, typer.Argument(help="Name of an image on this machine.")] = "glacierflow",
    repository: Annotated[
        str | None, typer.Option(metavar="URI", help="Registry and name; default the stack's ECR repository.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="Default: version and commit. A tag is never moved.")
    ] = None,
    register: Annotated[
        bool, typer.Option("--register/--no-register", help="Make the job definitions name it by digest.")
    ] = True,
    as_json: o.JsonOption = False,
) -> None:
    """Push the image under a tag that never moves; job definitions then name its digest."""
    import json
    from dataclasses import asdict

    from glacierflow import containers
    from glacierflow.errors import UsageError
    from glacierflow.services.pin import pin_definitions
    from glacierflow.services.places import find_places
    from glacierflow.services.push import push_image, tag_of

    containers.require_engine()
    chosen = tag or tag_of(image)
    loaded = c.load_line(line)
    cloud, _ = c.cloud_for(loaded, line)
    target = repository or find_places(loaded, cloud).repository
    if target is None:
        raise UsageError(
            "there is no stack with an image repository",
            next_step="run `glacierflow stack deploy`, or name one with --repository",
        )
    c.say(f"glacierflow: pushing {image} to {target}:{chosen}", quiet=line.quiet)
    pushed = push_image(image, target, chosen, cloud)
    definitions = pin_definitions(pushed.uri, loaded, cloud) if register else {}
    if as_json:
        typer.echo(json.dumps(asdict(pushed) | {"uri": pushed.uri, "job_definitions": definitions}, indent=2))
        return
    typer.echo(f"pushed {pushed.repository}:{pushed.tag}")
    typer.echo(f"digest {pushed.digest}")
    for memory, name in definitions.items():
        typer.echo(f"{memory:>6} MiB  {name}")
