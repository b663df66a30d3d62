"""``glacierflow container run``: one child in a container on this machine, as AWS Batch would start it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli import context as c
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.manifest import Manifest
    from glacierflow.services.child_container import ChildRun
    from glacierflow.services.reclaim import Rehearsal
    from glacierflow.store import Store

__all__ = ["run_command"]

EXIT_WRONG = 1
_MEMORY_MIB = 7500


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was typed about the container."""

    image: str | None
    memory_mib: int | None
    vcpus: float | None
    to: Path | None


@collects("archive", "live_imagery", *CONNECTION, first=("satellite", "regions_file", "date1", "date2"))
def run_command(
    line: c.CommandLine,
    index: Annotated[int | None, typer.Option(min=0, help="Region by its index in the catalogue.")] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Replay a child of this run.")] = None,
    slot: Annotated[int | None, typer.Option(min=0, help="With --run: which child.")] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="DIR", help="Directory for products; default local_base_dir, or base_dir."
        ),
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
    simulate_reclaim: Annotated[
        bool,
        typer.Option(
            "--simulate-reclaim", help="End it as a reclaimed spot instance would, and start it again."
        ),
    ] = False,
    reclaim_after: Annotated[float, typer.Option(min=0, metavar="S", help="Seconds until then.")] = 3.0,
    grace: Annotated[float, typer.Option(min=0, metavar="S", help="Seconds from SIGTERM to SIGKILL.")] = 30.0,
) -> int:
    """Run one child in a container: the variables, memory limit, user and file system it has on AWS Batch."""
    _check(index, run, slot, to, s3_bucket)
    line = replace(
        line, start_end_index=None if index is None else f"{index}:{index + 1}", s3_bucket=s3_bucket
    )
    from glacierflow import containers

    containers.require_engine()
    wanted = _Wanted(image, memory, vcpus, to)
    if run is not None and slot is not None:
        child, store = _replay(line, wanted, run, slot)
    else:
        child, store = _single(line, wanted)
    c.say(f"glacierflow: {child.image}, {child.memory_mib} MiB, slot {child.slot} of {child.manifest.run_id}")
    if simulate_reclaim:
        from glacierflow.services.reclaim import rehearse

        return _show(rehearse(child, store, _teller(line.quiet), after_s=reclaim_after, grace_s=grace))
    from glacierflow.services.child_container import run_child

    ended = run_child(child, _teller(line.quiet))
    if ended.out_of_memory:
        typer.echo(f"out of memory: the limit is {child.memory_mib} MiB")
    typer.echo(f"exit code {ended.exit_code}, products and records in {child.manifest.store}")
    return EXIT_WRONG if ended.exit_code else 0


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


def _single(line: c.CommandLine, wanted: _Wanted) -> tuple[ChildRun, Store]:
    """A child that this command itself plans: one region, one slot."""
    from glacierflow.runs.plan import build_manifest, plan_slots
    from glacierflow.services.child_container import ChildRun, make_directory, write_manifest
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
    child = ChildRun(
        manifest=manifest,
        slot=0,
        cloud=cloud,
        image=wanted.image or "glacierflow",
        memory_mib=wanted.memory_mib or _MEMORY_MIB,
        vcpus=wanted.vcpus or 1.0,
    )
    return child, store


def _replay(line: c.CommandLine, wanted: _Wanted, run: str, slot: int) -> tuple[ChildRun, Store]:
    """A child of a run that was submitted, with its manifest, image, variables and memory.

    Its products go where the run's do, and are there already unless something was lost, or to a directory.
    """
    from glacierflow.runs.records import read_run_manifest
    from glacierflow.services.child_container import ChildRun
    from glacierflow.services.places import find_places
    from glacierflow.services.replay import started_with
    from glacierflow.store import open_store

    loaded = c.load_line(line)
    cloud, _ = c.cloud_for(loaded, line)
    source = open_store(f"s3://{line.s3_bucket or find_places(loaded, cloud).bucket}", cloud)
    manifest = read_run_manifest(source, run)
    manifest.units_of(slot)
    known = started_with(manifest, slot, source, cloud)
    if wanted.to is not None:
        manifest = _to_directory(manifest, wanted.to.expanduser().absolute())
    child = ChildRun(
        manifest=manifest,
        slot=slot,
        cloud=cloud,
        image=wanted.image or _image_here(known.image, local=line.local),
        memory_mib=wanted.memory_mib or known.memory_mib or _MEMORY_MIB,
        vcpus=wanted.vcpus or known.vcpus or 1.0,
        environment=known.environment,
    )
    return child, open_store(manifest.store, cloud)


def _image_here(image: str | None, *, local: bool) -> str:
    """The image of a run; of one on the embedded cloud, what stands for it there."""
    if local:
        from glacierflow.local.options import DEFAULT_IMAGE, image_here

        return image_here(image or DEFAULT_IMAGE, DEFAULT_IMAGE)
    return image or "glacierflow"


def _to_directory(manifest: Manifest, directory: Path) -> Manifest:
    """The same run with its outputs in a directory, and its manifest there."""
    from glacierflow.services.child_container import make_directory, write_manifest
    from glacierflow.store import LocalStore

    make_directory(directory)
    moved = manifest.model_copy(update={"store": str(directory)})
    write_manifest(moved, LocalStore(directory))
    return moved


def _teller(quiet: bool) -> Callable[[str], None]:
    return (lambda _: None) if quiet else (lambda text: typer.echo(text, err=True))


def _show(rehearsal: Rehearsal) -> int:
    typer.echo(f"first attempt: exit code {rehearsal.first.exit_code}, second: {rehearsal.second.exit_code}")
    typer.echo(f"outcomes: {', '.join(rehearsal.attempts)}; {rehearsal.products} products")
    for problem in rehearsal.problems:
        typer.echo(f"PROBLEM {problem}")
    if rehearsal.problems:
        return EXIT_WRONG
    typer.echo("complete, and nothing was made twice")
    return 0
