"""``glacierflow lambda``: the function, deployed, called, looked at and packed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from glacierflow.cli import context as c
from glacierflow.cli import options as o
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.findings import show_findings
from glacierflow.cli.lambda_invoke import invoke_command
from glacierflow.cli.panels import Verbs
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.aws import Cloud
    from glacierflow.services.places import Places
    from glacierflow.settings import LoadedSettings

__all__ = ["app"]

app = Verbs(help="The Lambda function: deploy it, call it, test it.")
app.command(
    "invoke",
    epilog="Example: glacierflow lambda invoke --satellite sentinel2 --region 134_Arsuk "
    "--date1 2024-08-01 --date2 2024-08-01 --out result.json",
)(invoke_command)


@app.command(epilog="Example: glacierflow lambda deploy --yes")
@collects(*CONNECTION)
def deploy(
    line: c.CommandLine,
    image: Annotated[str, typer.Option(metavar="IMAGE", help="An image on this machine, to be pushed.")] = (
        "glacierflow-lambda"
    ),
    image_uri: Annotated[
        str | None, typer.Option("--image-uri", metavar="URI", help="An image that was pushed already.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Push the image, make or change the function's stack, and point the function at the image's digest."""
    from glacierflow.cli.stack_steps import deploy_one, fitted
    from glacierflow.services.functions import function_facts, function_name, point_at
    from glacierflow.services.stack_parameters import choose_parameters, from_settings
    from glacierflow.services.templates import load_template

    loaded, cloud, places = _open(line)
    if not places.outputs:
        raise UsageError(
            f"there is no stack {loaded.settings.batch.stack} in {cloud.region}, which has bucket and roles",
            next_step="run `glacierflow stack deploy` first",
        )
    base, template = loaded.settings.batch.stack, load_template("lambda")
    fitting = fitted(cloud, base, from_settings(loaded), quiet=line.quiet)
    uri = image_uri or _pushed(image, places, cloud, quiet=line.quiet)
    given = fitting | {"FunctionImage": uri}
    if not deploy_one(
        cloud, base, template, choose_parameters(template, cloud, base, given), yes=yes, quiet=line.quiet
    ):
        return 1
    name = function_name(cloud, loaded)
    if function_facts(cloud, name).image != uri:
        c.say(f"{name}: taking the image", quiet=line.quiet)
        point_at(cloud, name, uri)
    typer.echo(f"function {name}")
    typer.echo(f"image    {uri}")
    typer.echo(f"test     glacierflow lambda test{line.again()}")
    return 0


@app.command("test", epilog="Example: glacierflow lambda test --json")
@collects(*CONNECTION, "s3_bucket")
def check_function(
    line: c.CommandLine,
    as_json: o.JsonOption = False,
) -> int:
    """Check the function with events that process nothing: sizes, image, version, rights, form of answers.

    Exit code 0: all is well; 1: a problem; 2: something could not be checked.
    """
    from glacierflow.services.function_check import examine_function
    from glacierflow.services.functions import function_facts, function_name

    loaded, cloud, places = _open(line)
    facts = function_facts(cloud, function_name(cloud, loaded))
    return show_findings(list(examine_function(facts, cloud, loaded, places.bucket)), as_json=as_json)


@app.command(epilog="Example: glacierflow lambda package --zip dist --push")
@collects(*CONNECTION, "s3_bucket")
def package(
    line: c.CommandLine,
    folder: Annotated[Path, typer.Option("--zip", metavar="DIR", help="Directory to write both zips to.")],
    push: Annotated[bool, typer.Option("--push", help="Also put them into the bucket.")] = False,
    arch: Annotated[Literal["x86_64", "arm64"], typer.Option("--arch", help="Of the function.")] = "x86_64",
) -> int:
    """Pack the scheduler's function, which needs no imagery engine: its code, and a layer of libraries."""
    from glacierflow.services.lambda_package import make_code, make_layer

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--zip = {folder} is not a directory", next_step="name a directory")
    packages = [make_code(), make_layer(arch)]
    folder.mkdir(parents=True, exist_ok=True)
    for one in packages:
        (folder / one.name).write_bytes(one.content)
        c.say(
            f"{folder / one.name}: {one.files} files, {len(one.content) / 1e6:.1f} MB, "
            f"{one.unpacked / 1e6:.1f} MB unpacked, sha256 {one.sha256}",
            quiet=line.quiet,
        )
    if not push:
        return 0
    from glacierflow.services.sync.remote import Bucket
    from glacierflow.services.templates import load_template

    _, cloud, places = _open(line)
    bucket, parameters = Bucket(places.bucket, cloud), load_template("schedule").parameters
    sets = []
    for parameter, one in zip(("CodeKey", "LayerKey"), packages, strict=True):
        key = str(parameters[parameter]["Default"])
        # under its own name, too: CloudFormation sees a change of a key, not of what lies there
        pinned = key.replace(".zip", f"-{one.sha256[:12]}.zip")
        for place in (key, pinned):
            bucket.put(place, one.content)
            typer.echo(f"s3://{bucket.name}/{place}")
        sets.append(f"--set {parameter}={pinned}")
    again = "".join(f" {word}" for word in sets) + (" --local" if line.local else "")
    c.say(f"next: glacierflow stack deploy --with schedule{again}", quiet=line.quiet)
    return 0


def _pushed(image: str, places: Places, cloud: Cloud, *, quiet: bool) -> str:
    from glacierflow import containers
    from glacierflow.services.push import push_image, tag_of

    containers.require_engine()
    if places.repository is None:
        raise UsageError(
            "there is no stack with an image repository",
            next_step="run `glacierflow stack deploy`, or name a pushed image with --image-uri",
        )
    tag = f"{tag_of(image)}-lambda"
    c.say(f"glacierflow: pushing {image} to {places.repository}:{tag}", quiet=quiet)
    return push_image(image, places.repository, tag, cloud).uri


def _open(line: c.CommandLine) -> tuple[LoadedSettings, Cloud, Places]:
    from glacierflow.services.places import find_places

    loaded = c.load_line(line)
    cloud, _ = c.cloud_for(loaded, line)
    return loaded, cloud, find_places(loaded, cloud)
