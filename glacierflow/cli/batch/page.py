"""``glacierflow report``: a run as a page, in a folder, in the bucket, or packed for a colleague."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.runs import RunsArgument, check_fetch, locate_runs
from glacierflow.cli.context import CommandLine, say
from glacierflow.cli.options import CONNECTION, JsonOption, collects
from glacierflow.errors import GlacierflowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from glacierflow.cloud import Cloud
    from glacierflow.live.family import FamilyLook
    from glacierflow.report.gather import Facts
    from glacierflow.report.page import Page
    from glacierflow.store import LocalStore

ToOption = Annotated[
    Path, typer.Option("--to", metavar="DIR", help="Folder to write to; it is made where it is missing.")
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]
UploadOption = Annotated[bool, typer.Option("--upload", help="Also put the page beside the run's records.")]
ZipOption = Annotated[
    bool, typer.Option("--zip", help="Also pack page and pictures into one file for a colleague.")
]
PicturesOption = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Copy the quicklooks beside the page.")
]


@collects(*CONNECTION, "s3_bucket")
def report_command(
    line: CommandLine,
    runs: RunsArgument = None,
    to: ToOption = Path("results"),
    open_page: OpenOption = False,
    upload: UploadOption = False,
    pack: ZipOption = False,
    pictures: PicturesOption = True,
    as_json: JsonOption = False,
) -> int:
    """Write a page that shows runs: map, coverage, images, attempts, failures, cost, methods.

    It needs no network. Retries and canaries are in it; of several runs one page is made.
    """
    from glacierflow.cli.render import to_json
    from glacierflow.live.family import FamilyLook
    from glacierflow.report.data import picture_keys
    from glacierflow.report.page import copy_pictures, make_page, write_page
    from glacierflow.store import LocalStore

    check_fetch(to, "--to")
    found, run_ids = locate_runs(runs, line)
    looks: dict[str, FamilyLook] = {}
    for run_id in run_ids:
        look = FamilyLook.open(run_id, found.store, found.cloud, **found.places.queues)
        looks.setdefault(look.manifest.run_id, look)
    facts = _gather(list(looks.values()), found.cloud, found.places.queues)
    target = LocalStore(to)
    target.check_writable()
    keys = picture_keys(facts) if pictures else []
    copied = copy_pictures(keys, found.store, target)
    made = make_page(facts, line.again())
    page = to / write_page(made, target)
    uploaded = found.store.uri(write_page(made, found.store)) if upload else None
    packed = str(_pack(facts.run_id, made, keys, target, to)) if pack else None
    places = {"page": str(page), "uploaded": uploaded, "packed": packed}
    if as_json:
        typer.echo(to_json({**places, "pictures": copied}))
    else:
        for name, where in places.items():
            if where is not None:
                typer.echo(f"{name:10} {where}")
        if len(keys) > copied:
            say(
                f"glacierflow: {len(keys) - copied} quicklooks are not in the store any more",
                quiet=line.quiet,
            )
    if open_page and typer.launch(str(page.absolute())) != 0:
        say(f"glacierflow: no browser could be started; open {page} yourself")
    return 0


def _gather(looks: Sequence[FamilyLook], cloud: Cloud, queues: Mapping[str, str]) -> Facts:
    from glacierflow.cost.price_sources import load_prices
    from glacierflow.local.control import default_home
    from glacierflow.report.gather import gather_facts

    prices = load_prices(default_home().parent, cloud.region)
    return gather_facts(looks, cloud, queues, prices)


def _pack(run_id: str, page: Page, keys: Sequence[str], target: LocalStore, to: Path) -> Path:
    """The page under its own keys, so that its addresses hold, and a first page that leads to it."""
    from glacierflow.model.manifest import short_name

    first = f'<meta http-equiv="refresh" content="0; url={page.key}">\n'
    pack = to / f"report-{short_name(run_id)}.zip"
    try:
        with contextlib.ExitStack() as stack:
            part = pack.with_name(f"{pack.name}.part")
            stack.callback(part.unlink, missing_ok=True)
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("index.html", first)
                for name, content in page.files.items():
                    archive.writestr(f"{page.folder}{name}", content)
                for key in keys:
                    picture = target.get(key)
                    if picture is not None:
                        archive.writestr(key, picture)
            part.replace(pack)
    except OSError as error:
        raise UsageError(
            f"{pack} cannot be written: {error.strerror}", next_step="name another folder with --to"
        ) from error
    return pack


def leave_report(look: FamilyLook, line: CommandLine, folder: Path | None, *, err: bool) -> None:
    """Put the page of a run that has ended beside its records, and into the folder it is copied to.

    A page that cannot be written is said, and no more: the run is what counts.
    """
    from glacierflow.model.manifest import short_name
    from glacierflow.report.page import make_page, write_page
    from glacierflow.store import LocalStore

    # the queues are in the records of its jobs, so nobody need be asked for them
    used = list(dict.fromkeys(job.job_queue for job in look.jobs))
    queues = dict(zip(("job_queue", "ondemand_job_queue"), used, strict=False))
    try:
        facts = _gather([look], look.root.cloud, queues)
        page = make_page(facts, line.again())
        place = look.store.uri(write_page(page, look.store))
        if folder is not None:
            place = str(folder / write_page(page, LocalStore(folder)))
    except GlacierflowError as error:
        say(f"glacierflow: there is no report: {error.message}")
        return
    typer.echo(f"report     {place}", err=err)
    if folder is None:
        typer.echo(
            f"           open it with `glacierflow report {short_name(facts.run_id)}{line.again()} --open`",
            err=err,
        )
