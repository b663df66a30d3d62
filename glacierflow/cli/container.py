"""``glacierflow container``: the image of a child: built, pushed, weighed, and run on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from glacierflow.cli import context as c
from glacierflow.cli import options as o
from glacierflow.cli.options import CONNECTION, collects
from glacierflow.cli.panels import Verbs
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.image.run import ChildRun
    from glacierflow.model.manifest import Manifest


app = Verbs(help="The container image: build it, run one child in it, push it.")

TargetOption = Annotated[
    Literal["batch", "lambda"],
    typer.Option("--target", help="batch also serves ECS, Fargate and docker run."),
]

EXIT_WRONG = 1
_MEMORY_MIB = 7500


@collects("archive", "live_imagery", *CONNECTION, first=("satellite", "regions_file", "date1", "date2"))
def run_command(
    line: c.CommandLine,
    index: Annotated[int | None, typer.Option(min=0, help="Region by its index in the catalogue.")] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Replay a child of this run.")] = None,
    slot: Annotated[int | None, typer.Option(min=0, help="With --run: which child.")] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Directory for products; default as for `run`."),
    ] = None,
    s3_bucket: Annotated[
        str | None, typer.Option(metavar="NAME", help="Bucket for products instead of a directory.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Default: glacierflow; with --run the run's own.")
    ] = None,
    memory: Annotated[
        int | None, typer.Option(min=64, metavar="MIB", help="Memory limit; default 7500, or the run's.")
    ] = None,
    vcpus: Annotated[float | None, typer.Option(min=0.1, help="Processors; default 1, or the run's.")] = None,
) -> int:
    """Run one child in a container: the variables, memory limit, user and file system it has on AWS Batch."""
    _check(index, run, slot, to, s3_bucket)
    line = replace(
        line, start_end_index=None if index is None else f"{index}:{index + 1}", s3_bucket=s3_bucket
    )
    from glacierflow.image import docker
    from glacierflow.image.run import run_child

    docker.require_engine()
    wanted = _Wanted(image, memory, vcpus, to)
    if run is not None and slot is not None:
        child = _replay(line, wanted, run, slot)
    else:
        child = _single(line, wanted)
    c.say(f"glacierflow: {child.image}, {child.memory_mib} MiB, slot {child.slot} of {child.manifest.run_id}")
    ended = run_child(child, _teller(line.quiet))
    if ended.out_of_memory:
        typer.echo(f"out of memory: the limit is {child.memory_mib} MiB")
    typer.echo(f"exit code {ended.exit_code}, products and records in {child.manifest.store}")
    return EXIT_WRONG if ended.exit_code else 0


app.command("run", epilog="Example: glacierflow container run --index 5 --satellite landsat --local")(
    run_command
)


@app.command(epilog="Example: glacierflow container build --target lambda")
@collects("config", "aws_config", "profile", "aws_region", "quiet")
def build(
    line: c.CommandLine,
    target: TargetOption = "batch",
    arch: Annotated[
        Literal["x86_64", "arm64"] | None,
        typer.Option("--arch", help="Processors it is for. Default: as the stack says, else x86_64."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build every layer again.")] = False,
    base: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", envvar="GLACIERFLOW_BASE_IMAGE", help="Another base image."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="PIP_CERT", help="Certificates pip trusts inside the build."),
    ] = None,
) -> None:
    """Build the image from this checkout, labelled with its version and commit."""
    from glacierflow.image import build as build_module

    checkout = build_module.find_checkout()
    tags = build_module.build(
        checkout,
        target,
        architecture=arch or _architecture(line, target),
        base=base,
        no_cache=no_cache,
        ca_file=ca_file,
        quiet=line.quiet,
    )
    for tag in tags:
        typer.echo(tag)


def _architecture(line: c.CommandLine, target: Literal["batch", "lambda"]) -> Literal["x86_64", "arm64"]:
    """As the settings or the stack say; an image can be built without an account, too."""
    from glacierflow.aws.names import find_places
    from glacierflow.errors import UnavailableError
    from glacierflow.image.build import architecture_for

    loaded = c.load_line(line)
    stack = loaded.settings.batch.stack
    try:
        cloud, _ = c.cloud_for(loaded, line)
        outputs = find_places(loaded, cloud).outputs
        why = "as the stack says" if outputs else f"there is no stack {stack} that says another"
    except (UsageError, UnavailableError) as error:
        outputs, why = {}, f"the stack {stack} could not be asked: {error.message}"
    found = architecture_for(target, loaded, outputs)
    c.say(f"glacierflow: building for {found} ({why}; --arch names another)", quiet=line.quiet)
    return found


@app.command(epilog="Example: glacierflow container size")
def size(
    image: Annotated[str, typer.Argument(help="Name of an image on this machine.")] = "glacierflow",
    as_json: o.JsonOption = False,
) -> None:
    """Show the size of the image by layer, unpacked."""
    import json
    from dataclasses import asdict

    from glacierflow.image.build import weigh

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

    from glacierflow.aws.names import find_places
    from glacierflow.errors import UsageError
    from glacierflow.image import docker
    from glacierflow.image.push import check_image, pin_definitions, push_image, tag_of

    docker.require_engine()
    chosen = tag or tag_of(image)
    loaded = c.load_line(line)
    cloud, _ = c.cloud_for(loaded, line)
    places = find_places(loaded, cloud)
    check_image(image, "batch", places.outputs.get("Architecture"))
    target = repository or places.repository
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


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was typed about the container."""

    image: str | None
    memory_mib: int | None
    vcpus: float | None
    to: Path | None


def _check(index: int | None, run: str | None, slot: int | None, to: Path | None, bucket: str | None) -> None:
    if (index is None) == (run is None):
        raise UsageError(
            "give either --index, or --run and --slot",
            next_step="glacierflow container run --index 5 --satellite landsat",
        )
    if (run is None) != (slot is None):
        raise UsageError("--run and --slot belong together", next_step="name both, or give --index alone")
    if run is None and to is not None and bucket is not None:
        raise UsageError("--to and --s3-bucket name two places for products", next_step="leave one out")


def _single(line: c.CommandLine, wanted: _Wanted) -> ChildRun:
    """A child that this command itself plans: one region, one slot."""
    from glacierflow.image.run import ChildRun, make_directory, write_manifest
    from glacierflow.runs.plan import build_manifest, plan_slots
    from glacierflow.store import open_store

    loaded = c.load_line(line)
    choice = c.choose_regions(loaded, line)
    settings, dates = loaded.settings, loaded.settings.dates
    if line.s3_bucket is None:
        directory = (wanted.to or settings.output_dir).expanduser().absolute()
        make_directory(directory)
        place = str(directory)
    else:
        place = f"s3://{line.s3_bucket}"
    cloud, step = c.cloud_for(loaded, line, choice.regions)
    if settings.settings.satellite == "landsat":
        cloud.require_imagery_credentials(step.imagery_s3_endpoint)
    store = open_store(place, cloud)
    store.check_writable()
    slots = plan_slots(settings.settings.satellite, choice.regions, dates.date1, dates.date2)
    manifest = build_manifest(
        slots, choice.regions, step, catalogue_sha256=choice.catalogue_sha256, store=place
    ).model_copy(update={"service": "local"})
    write_manifest(manifest, store)
    return ChildRun(
        manifest=manifest,
        slot=0,
        cloud=cloud,
        image=wanted.image or "glacierflow",
        memory_mib=wanted.memory_mib or _MEMORY_MIB,
        vcpus=wanted.vcpus or 1.0,
    )


def _replay(line: c.CommandLine, wanted: _Wanted, run: str, slot: int) -> ChildRun:
    """A child of a run that was submitted, with its manifest, image, variables and memory.

    Its products go where the run's do, and are there already unless something was lost, or to a directory.
    """
    from glacierflow.aws.names import find_places
    from glacierflow.image.run import ChildRun, started_with
    from glacierflow.runs.records import read_run_manifest
    from glacierflow.store import open_store

    loaded = c.load_line(line)
    cloud, _ = c.cloud_for(loaded, line)
    source = open_store(f"s3://{line.s3_bucket or find_places(loaded, cloud).bucket}", cloud)
    manifest = read_run_manifest(source, run)
    manifest.units_of(slot)
    known = started_with(manifest, slot, source, cloud)
    if wanted.to is not None:
        manifest = _to_directory(manifest, wanted.to.expanduser().absolute())
    return ChildRun(
        manifest=manifest,
        slot=slot,
        cloud=cloud,
        image=wanted.image or _image_here(known.image, local=line.local),
        memory_mib=wanted.memory_mib or known.memory_mib or _MEMORY_MIB,
        vcpus=wanted.vcpus or known.vcpus or 1.0,
        environment=known.environment,
    )


def _image_here(image: str | None, *, local: bool) -> str:
    """The image of a run; of one on the embedded cloud, what stands for it there."""
    if local:
        from glacierflow.local.options import DEFAULT_IMAGE, image_here

        return image_here(image or DEFAULT_IMAGE, DEFAULT_IMAGE)
    return image or "glacierflow"


def _to_directory(manifest: Manifest, directory: Path) -> Manifest:
    """The same run with its outputs in a directory, and its manifest there."""
    from glacierflow.image.run import make_directory, write_manifest
    from glacierflow.store import LocalStore

    make_directory(directory)
    moved = manifest.model_copy(update={"store": str(directory)})
    write_manifest(moved, LocalStore(directory))
    return moved


def _teller(quiet: bool) -> Callable[[str], None]:
    return (lambda _: None) if quiet else (lambda text: typer.echo(text, err=True))
