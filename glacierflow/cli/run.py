"""``glacierflow run``: the same units in this process or on a dask cluster, without AWS Batch."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glacierflow.cli import context as c
from glacierflow.cli import options as o
from glacierflow.cli.options import CONNECTION, DATES, REGIONS, collects
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from distributed import Client
    from rich.console import Console

    from glacierflow.cloud import Cloud
    from glacierflow.model.manifest import Manifest
    from glacierflow.model.receipt import Receipt
    from glacierflow.model.records import StepSettings
    from glacierflow.settings import Settings


EXIT_WRONG, EXIT_INTERRUPTED = 1, 130

BaseDirOption = Annotated[
    str | None, typer.Option("--base-dir", metavar="DIR", help="Directory for products and records.")
]
StacUrlOption = Annotated[
    str | None, typer.Option("--stac-url", metavar="URL", help="STAC API to search instead of the usual one.")
]

_CONNECT_S = 10
_PORTS = 65_536

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="Let the workers of this dask scheduler read and resample; images are written here.",
    ),
]


@collects(
    "accept_all", "dry_run", "reprocess", "archive", "live_imagery", *CONNECTION, first=(*REGIONS, *DATES)
)
def run_command(
    line: c.CommandLine,
    base_dir: BaseDirOption = None,
    stac_url: StacUrlOption = None,
    scheduler: SchedulerOption = None,
    as_json: o.JsonOption = False,
) -> int:
    """Make images on this machine, in a folder, without AWS."""
    more = {
        "paths.base_dir": base_dir,
        "imagery.sentinel2_stac_url": stac_url,
        "imagery.landsat_stac_url": stac_url,
    }
    line = replace(line, more={name: value for name, value in more.items() if value is not None})
    if line.local and stac_url is not None:
        raise UsageError("--stac-url and --local name two sources of images", next_step="leave one out")
    loaded = c.load_line(line)
    choice = c.choose_regions(loaded, line)
    if loaded.settings.settings.dry_run:
        _show_plan(_manifest(loaded.settings, choice, c.step_settings(loaded, line)), as_json=as_json)
        return 0
    _check_destination(loaded.settings, local=line.local)
    with workers_of(scheduler, loaded.settings) as cluster:
        cloud, step = c.cloud_for(loaded, line, choice.regions)
        manifest = _manifest(loaded.settings, choice, step)
        return _process(manifest, cloud, cluster, as_json=as_json, quiet=line.quiet)


def _manifest(settings: Settings, choice: c.Choice, step: StepSettings) -> Manifest:
    from glacierflow.runs.plan import build_manifest, plan_slots

    dates = settings.dates
    slots = plan_slots(settings.settings.satellite, choice.regions, dates.date1, dates.date2)
    store = str(settings.output_dir.expanduser().absolute())
    return build_manifest(slots, choice.regions, step, catalogue_sha256=choice.catalogue_sha256, store=store)


def _show_plan(manifest: Manifest, *, as_json: bool) -> None:
    from glacierflow.cli import render

    if as_json:
        typer.echo(render.to_json({"dry_run": True, "manifest": manifest.model_dump(mode="json")}))
        return
    for text in unit_lines(manifest):
        typer.echo(text)
    typer.echo("dry run: nothing was read or written")


def _check_destination(settings: Settings, *, local: bool) -> None:
    """Know that products can be written, and imagery be paid for, before anything is searched."""
    from glacierflow.cloud import Cloud
    from glacierflow.store import LocalStore

    if settings.settings.satellite == "landsat" and not local:
        account = settings.aws_account
        cloud = Cloud(region=account.aws_region, profile=account.aws_profile)
        cloud.require_imagery_credentials(settings.imagery.imagery_s3_endpoint)
    LocalStore(settings.output_dir.expanduser().absolute()).check_writable()


def _process(manifest: Manifest, cloud: Cloud, cluster: Client | None, *, as_json: bool, quiet: bool) -> int:
    """Process every slot in turn, and end as a submitted run does."""
    from glacierflow.cli import render
    from glacierflow.cli.render import UnitProgress
    from glacierflow.cli.render_status import make_console
    from glacierflow.model.layout import RunLayout
    from glacierflow.store import open_store
    from glacierflow.task import process_slot

    store = open_store(manifest.store, cloud)
    c.say_other_structure(manifest, store, quiet=quiet)
    run = RunLayout(manifest.run_id)
    store.put(run.manifest, manifest.model_dump_json(indent=1).encode(), if_absent=True)
    receipts = []
    with _stoppable() as stop, UnitProgress(quiet=quiet or as_json) as tell:
        for slot in range(len(manifest.slots)):
            if stop.is_set():
                break
            receipts.append(process_slot(manifest, slot, store, cloud, stop=stop, tell=tell, cluster=cluster))
    if as_json:
        answer = {"run_id": manifest.run_id, "store": manifest.store}
        typer.echo(
            render.to_json(answer | {"receipts": [entry.model_dump(mode="json") for entry in receipts]})
        )
    else:
        receipts_table(receipts, make_console())
        for product in (product for receipt in receipts for product in receipt.products):
            typer.echo(store.uri(product.key))
        typer.echo(f"records    {store.uri(run.prefix)}")
        typer.echo(f"quicklooks {store.uri(f'{run.report_prefix}quicklooks')}")
    if stop.is_set():
        return EXIT_INTERRUPTED
    return EXIT_WRONG if any(receipt.exit_code for receipt in receipts) else 0


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """The first Ctrl-C lets the acquisition in hand and the receipt be finished; the second does not."""
    stop = threading.Event()

    def ask(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        c.say("glacierflow: stopping after the current acquisition; run the same command again to continue")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def workers_of(scheduler: str | None, settings: Settings) -> Iterator[Client | None]:
    """A client of the dask scheduler that was named, or None.

    Raises:
        UsageError: it cannot be reached, has no workers, or cannot do what the settings ask for.
    """
    if scheduler is None:
        yield None
        return
    if settings.flags.download_flag:
        raise UsageError(
            "download_flag = 1 and --scheduler exclude each other: workers keep no windows",
            next_step="leave one of the two out",
        )
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            "--scheduler needs the package distributed", next_step="pip install 'glacierflow[cluster]'"
        ) from error
    _check_address(scheduler)
    connect: Any = distributed.Client  # untyped
    try:
        client = connect(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--scheduler = {scheduler} does not answer: {error}",
            next_step="write the address that the scheduler shows, such as tcp://127.0.0.1:8786",
        ) from error
    with client:
        if not client.nthreads():
            raise UsageError(
                f"--scheduler = {scheduler} has no workers", next_step=f"start one: dask worker {scheduler}"
            )
        yield client


def _check_address(scheduler: str) -> None:
    """Refuse what is no address: a client would go on trying it in the background.

    Raises:
        UsageError: host or port is missing, or the protocol is not known.
    """
    from distributed.comm.addressing import get_address_host_port, normalize_address

    parse: Any = get_address_host_port  # untyped
    try:
        host, port = parse(normalize_address(scheduler), strict=True)
    except ValueError as error:
        host, port, why = "", 0, str(error)
    else:
        why = "it needs a host, and a port below 65536"
    if not host or not 0 < port < _PORTS:
        raise UsageError(
            f"--scheduler = {scheduler} is not an address: {why}",
            next_step="write the address that the scheduler shows, such as tcp://127.0.0.1:8786",
        )


def unit_lines(manifest: Manifest) -> list[str]:
    """One line a unit, and where its products would go."""
    units = [unit for slot in manifest.slots for unit in slot]
    lines = [
        f"  index {manifest.regions[unit.region].index:<5} {unit.region:<32}"
        f" {unit.satellite}  {unit.date1} to {unit.date2}"
        for unit in units
    ]
    return [f"{len(units)} units, to {manifest.store}", *lines]


def receipts_table(receipts: Sequence[Receipt], console: Console) -> None:
    """One row a slot, with the reason where something went wrong; then notes and scenes left out."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("region", "outcome", "written", "there already", "left out", "why"):
        table.add_column(name)
    for receipt in receipts:
        counts = receipt.counts
        table.add_row(
            escape(" ".join(unit.region for unit in receipt.units)),
            receipt.outcome,
            str(counts.written),
            str(counts.skipped),
            str(len(receipt.left_out)),
            escape(receipt.error or ""),
            style="red" if receipt.exit_code else None,
        )
    console.print(table)
    for receipt in receipts:
        for note in receipt.notes:
            console.print(f"{note.code}: {note.text}", markup=False, highlight=False)
        for entry in receipt.left_out:
            console.print(f"left out {entry.item_id}: {entry.reason}", markup=False, highlight=False)
