"""``glacierflow lambda``: the function: deployed, invoked, examined and packaged."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from glacierflow.cli import context as c
from glacierflow.cli import options as o
from glacierflow.cli.options import CONNECTION, collects
from glacierflow.cli.panels import Verbs
from glacierflow.cli.render import show_findings
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.aws.names import Places
    from glacierflow.cloud import Cloud
    from glacierflow.launch.lambda_ import Answer
    from glacierflow.settings import LoadedSettings


app = Verbs(help="The Lambda function: deploy it, call it, test it.")

EventOption = Annotated[
    str | None,
    typer.Option("--event", metavar="FILE", help="The event as JSON; - reads it from standard input."),
]
RegionOption = Annotated[
    str | None, typer.Option("--region", "--regions", metavar="A,B", help="Names of regions.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Also write the answer there, as JSON.")
]


@collects("archive", *CONNECTION, "s3_bucket", first=("satellite", "date1", "date2"))
def invoke_command(
    line: c.CommandLine,
    event: EventOption = None,
    region: RegionOption = None,
    out: OutOption = None,
) -> int:
    """Call the function and wait: with an event of a file, or with one made of the options.

    Exit code 0: all was done; 1: something went wrong, or the deadline came first and regions are left.
    """
    from glacierflow.aws.names import find_places
    from glacierflow.launch.lambda_ import call, function_name

    given = _read(event) if event is not None else None
    typed = {"--satellite": line.satellite, "--region": region, "--date1": line.date1, "--date2": line.date2}
    _check(given, [name for name, value in typed.items() if value is not None])
    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(f"--out = {out}: there is no directory {out.parent}", next_step="make it first")
    line = replace(line, regions=region if given is None else None)
    loaded = c.load_line(line)
    regions = c.choose_regions(loaded, line).regions if given is None else ()
    cloud, _ = c.cloud_for(loaded, line, regions)
    settings = loaded.settings
    made = {
        "satellite": settings.settings.satellite,
        "regions": [one.name for one in regions],
        "date1": str(settings.dates.date1),
        "date2": str(settings.dates.date2),
        "s3_bucket": find_places(loaded, cloud).bucket,
        "s3_base_path": settings.storage.s3_base_path,
    }
    answer = call(cloud, function_name(cloud, loaded), made if given is None else given)
    text = json.dumps(answer.payload, indent=2)
    if out is not None:
        out.write_text(f"{text}\n", encoding="utf-8")
    typer.echo(text)
    return _tell(answer, line)


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
    from glacierflow.launch.lambda_ import function_facts, function_name, point_at
    from glacierflow.stack.parameters import check_new_names, choose_parameters, from_settings
    from glacierflow.stack.templates import load_template

    loaded, cloud, places = _open(line)
    if not places.outputs:
        raise UsageError(
            f"there is no stack {loaded.settings.batch.stack} in {cloud.region}, which has bucket and roles",
            next_step="run `glacierflow stack deploy` first",
        )
    base, template = loaded.settings.batch.stack, load_template("lambda")
    check_new_names([template], cloud, base, from_settings(loaded))
    fitting = fitted(cloud, base, from_settings(loaded), quiet=line.quiet)
    uri = image_uri or _pushed(image, loaded, places, cloud, quiet=line.quiet)
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
    from glacierflow.functions.check import examine_function
    from glacierflow.launch.lambda_ import function_facts, function_name

    loaded, cloud, places = _open(line)
    facts = function_facts(cloud, function_name(cloud, loaded))
    return show_findings(list(examine_function(facts, cloud, loaded, places.bucket)), as_json=as_json)


@app.command(epilog="Example: glacierflow lambda package --zip dist --push")
@collects(*CONNECTION, "s3_bucket")
def package(
    line: c.CommandLine,
    folder: Annotated[Path, typer.Option("--zip", metavar="DIR", help="Directory to write both zips to.")],
    push: Annotated[bool, typer.Option("--push", help="Also put them into the bucket.")] = False,
    arch: Annotated[
        Literal["x86_64", "arm64"], typer.Option("--arch", help="Processor architecture of the function.")
    ] = "x86_64",
) -> int:
    """Pack the scheduler's function, which needs no imagery engine: its code, and a layer of libraries."""
    from glacierflow.functions.package import make_code, make_layer

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
    from glacierflow.stack.templates import load_template
    from glacierflow.sync.remote import Bucket

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


def _pushed(image: str, loaded: LoadedSettings, places: Places, cloud: Cloud, *, quiet: bool) -> str:
    from glacierflow.image import docker
    from glacierflow.image.build import architecture_for
    from glacierflow.image.push import check_image, push_image, tag_of

    docker.require_engine()
    if places.repository is None:
        raise UsageError(
            "there is no stack with an image repository",
            next_step="run `glacierflow stack deploy`, or name a pushed image with --image-uri",
        )
    check_image(image, "lambda", architecture_for("lambda", loaded, places.outputs))
    tag = f"{tag_of(image)}-lambda"
    c.say(f"glacierflow: pushing {image} to {places.repository}:{tag}", quiet=quiet)
    return push_image(image, places.repository, tag, cloud).uri


def _open(line: c.CommandLine) -> tuple[LoadedSettings, Cloud, Places]:
    from glacierflow.aws.names import find_places

    loaded = c.load_line(line)
    cloud, _ = c.cloud_for(loaded, line)
    return loaded, cloud, find_places(loaded, cloud)


def _read(name: str) -> dict[str, Any]:
    try:
        content = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        event = json.loads(content)
    except OSError as error:
        raise UsageError(f"--event = {name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--event = {name} is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise UsageError(
            f"--event = {name} is not an event: it must be a JSON object",
            next_step='write, say, {"satellite": "landsat", "region": "134_Arsuk", ...}',
        )
    return event


def _check(event: dict[str, Any] | None, typed: list[str]) -> None:
    if event is not None and typed:
        raise UsageError(f"--event and {typed[0]} exclude each other", next_step="leave one of the two out")
    if event is None and "--region" not in typed:
        raise UsageError(
            "no region or event is given", next_step="name a region with --region, or an --event"
        )


def _tell(answer: Answer, line: c.CommandLine) -> int:
    """What went wrong, or is left, on stderr; the exit code."""
    if answer.error is not None:
        c.say(f"glacierflow: the function went wrong: {answer.error}")
        c.say(f"  next: glacierflow logs function{line.again()}")
        return 1
    if answer.goes_on is not None:
        left = answer.body.get("left")
        which = f"; left: {', '.join(left)}" if left else ""
        c.say(f"glacierflow: stopped before the deadline, progress is saved{which}")
        c.say(f"  next: glacierflow batch retry {answer.goes_on}{line.again()}")
        return 1
    return 0
