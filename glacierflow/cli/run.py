"""``glacierflow run``: the same units in this process, without AWS Batch."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli import context as c
from glacierflow.cli import options as o
from glacierflow.cli.cluster import SchedulerOption, workers_of
from glacierflow.cli.collect import CONNECTION, DATES, REGIONS, collects
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from distributed import Client

    from glacierflow.aws import Cloud
    from glacierflow.manifest import Manifest
    from glacierflow.model import StepSettings
    from glacierflow.settings import Settings

__all__ = ["run_command"]

EXIT_WRONG, EXIT_INTERRUPTED = 1, 130

BaseDirOption = Annotated[
    str | None, typer.Option("--base-dir", metavar="DIR", help="Directory for products and records.")
]
StacUrlOption = Annotated[
    str | None, typer.Option("--stac-url", metavar="URL", help="STAC API to search instead of the usual one.")
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
    """Make images here, into a folder, without AWS."""
    more = {
        "paths.local_base_dir": base_dir,
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
    from glacierflow.cli.receipts import unit_lines

    if as_json:
        typer.echo(render.to_json({"dry_run": True, "manifest": manifest.model_dump(mode="json")}))
        return
    for text in unit_lines(manifest):
        typer.echo(text)
    typer.echo("dry run: nothing was read or written")


def _check_destination(settings: Settings, *, local: bool) -> None:
    """Know that products can be written, and imagery be paid for, before anything is searched."""
    from glacierflow.aws import Cloud
    from glacierflow.store import LocalStore

    if settings.settings.satellite == "landsat" and not local:
        account = settings.aws_account
        cloud = Cloud(region=account.aws_region, profile=account.aws_profile)
        cloud.require_imagery_credentials(settings.imagery.imagery_s3_endpoint)
    LocalStore(settings.output_dir.expanduser().absolute()).check_writable()


def _process(manifest: Manifest, cloud: Cloud, cluster: Client | None, *, as_json: bool, quiet: bool) -> int:
    """Process every slot in turn, and end as a submitted run does."""
    from glacierflow.cli import render
    from glacierflow.cli.progress import UnitProgress
    from glacierflow.cli.receipts import receipts_table
    from glacierflow.cli.watch import make_console
    from glacierflow.layout import RunLayout
    from glacierflow.store import open_store
    from glacierflow.task import process_slot

    store = open_store(manifest.store, cloud)
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
        c.say("glacierflow: stopping after the acquisition in hand; run the same command again to go on")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
