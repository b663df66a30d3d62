"""``glacierflow batch submit`` and ``plan``: array jobs whose children process one region and period each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.canary import CanaryOption, check_answerable, send_after_canary
from glacierflow.cli.batch.drafting import NOTHING_JSON, check_measures, dry_run
from glacierflow.cli.batch.following import AutoRetryOption, Ending, NotifyOption, watch_run
from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    OrderOption,
    PackOption,
    ServiceOption,
    ViaOption,
    arrange_units,
    choose_service,
    parse_by,
    parse_order,
    units_of,
)
from glacierflow.cli.batch.runs import FetchOption, WaitOption, check_fetch
from glacierflow.cli.batch.spending import AllowEgressOption, MaxUsdOption, PriceOption, limits_of
from glacierflow.cli.batch.submission import (
    MeasuredByOption,
    MissingOption,
    RoundsOption,
    Terms,
    check_rounds,
    make_ready,
    measured_by,
    missing_units,
    send,
)
from glacierflow.cli.context import CommandLine, choose_regions, load_line, say, step_settings
from glacierflow.cli.options import CONNECTION, DATES, REGIONS, JsonOption, collects
from glacierflow.cli.results import submission_json, where_to_look
from glacierflow.errors import StoreError, UsageError

if TYPE_CHECKING:
    from glacierflow.live.family import FamilyLook


ForceOption = Annotated[bool, typer.Option("--force", help="Submit even if the same run is still going on.")]

ManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        metavar="FILE",
        help="Write the manifest there, for a scheduler without AWS, and print how many slots it has.",
    ),
]
BaseDirOption = Annotated[
    Path | None,
    typer.Option("--base-dir", metavar="DIR", help="With --manifest: directory for products and records."),
]
StacUrlOption = Annotated[
    str | None,
    typer.Option("--stac-url", metavar="URL", help="With --manifest: STAC API to search."),
]


@collects(
    "accept_all",
    "dry_run",
    "reprocess",
    "archive",
    "live_imagery",
    *CONNECTION,
    "s3_bucket",
    first=(*REGIONS, *DATES),
)
def submit_command(
    line: CommandLine,
    wait: WaitOption = False,
    auto_retry: AutoRetryOption = False,
    notify: NotifyOption = False,
    fetch: FetchOption = None,
    by: ByOption = None,
    pack: PackOption = None,
    order: OrderOption = None,
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    missing: MissingOption = False,
    canary: CanaryOption = False,
    measured_by_run: MeasuredByOption = None,
    force: ForceOption = False,
    service: ServiceOption = None,
    via: ViaOption = None,
    rounds: RoundsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Submit array jobs whose children process one region and one period each."""
    check_fetch(fetch)
    check_measures(canary=canary, like=measured_by_run)
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    where, first = choose_service(service, via, loaded, quiet=line.quiet)
    check_rounds(rounds, where)
    slots = (period, pack, parse_order(order))
    draft = Draft(loaded, choice, step_settings(loaded, line), *slots, where, first, rounds)
    if loaded.settings.settings.dry_run:
        terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress)
        return dry_run(
            draft, line, terms, missing=missing, canary=canary, like=measured_by_run, as_json=as_json
        )
    terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress, force=force)
    look, left = _submit(draft, line, terms, missing=missing, canary=canary, like=measured_by_run)
    if look is None:
        if as_json:
            typer.echo(NOTHING_JSON)
        return 0
    if not as_json:
        for text in where_to_look(look.manifest, look.jobs, again=line.again(), rounds=rounds):
            typer.echo(text)
    if wait or fetch is not None or auto_retry or notify:
        limits = limits_of(line, left)
        ending = Ending(notify, auto_retry)
        return watch_run(look, line, fetch=fetch, as_json=as_json, limits=limits, ending=ending)
    if as_json:
        typer.echo(submission_json(look.manifest, look.jobs))
    return 0


def _submit(
    draft: Draft, line: CommandLine, terms: Terms, *, missing: bool, canary: bool, like: str | None
) -> tuple[FamilyLook | None, float | None]:
    """Submit, after the canary where one is asked for; None where nothing is missing; what it may cost."""
    if canary:
        check_answerable(yes=line.accept_all)
    ready = make_ready(draft, line)
    units = units_of(draft)
    if missing:
        units = missing_units(ready, units)
        if not units:
            say("glacierflow: nothing is missing; nothing was submitted")
            return None, None
    if canary:
        return send_after_canary(ready, units, terms, yes=line.accept_all)
    return send(ready, units, terms, measured=measured_by(ready, like)), terms.max_usd


@collects(
    "accept_all",
    "reprocess",
    "archive",
    "live_imagery",
    *CONNECTION,
    "s3_bucket",
    first=(*REGIONS, *DATES),
)
def plan_command(
    line: CommandLine,
    by: ByOption = None,
    pack: PackOption = None,
    order: OrderOption = None,
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    missing: MissingOption = False,
    canary: CanaryOption = False,
    measured_by_run: MeasuredByOption = None,
    service: ServiceOption = None,
    via: ViaOption = None,
    rounds: RoundsOption = None,
    manifest: ManifestOption = None,
    base_dir: BaseDirOption = None,
    stac_url: StacUrlOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show units, memory classes, arrays and AWS calls of a submission, as `submit --dry-run` does.

    With --manifest the run is written to a file instead, whose slots a scheduler without AWS processes with
    GLACIERFLOW_INDEX.
    """
    _check_file(line, manifest, base_dir, stac_url)
    check_measures(canary=canary, like=measured_by_run)
    more = {
        "PATHS.base_dir": base_dir,
        "IMAGERY.sentinel2_stac_url": stac_url,
        "IMAGERY.landsat_stac_url": stac_url,
    }
    said = {name: str(value) for name, value in more.items() if value is not None}
    # all regions are confirmed where something is written
    line = replace(line, dry_run=manifest is None or None, more=said)
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    where, first = choose_service(service, via, loaded, quiet=line.quiet)
    check_rounds(rounds, where)
    slots = (period, pack, parse_order(order))
    draft = Draft(loaded, choice, step_settings(loaded, line), *slots, where, first, rounds)
    if manifest is not None:
        typer.echo(write_plan(draft, manifest))
        return 0
    terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress)
    return dry_run(draft, line, terms, missing=missing, canary=canary, like=measured_by_run, as_json=as_json)


def _check_file(
    line: CommandLine, manifest: Path | None, base_dir: Path | None, stac_url: str | None
) -> None:
    """Refuse options that belong to a manifest on disk where none is written, and the other way round."""
    of_file = {"--base-dir": base_dir, "--stac-url": stac_url}
    alone = [name for name, value in of_file.items() if value is not None]
    if manifest is None and alone:
        raise UsageError(
            f"{alone[0]} is for a manifest on disk", next_step="add --manifest FILE, or leave it out"
        )
    if manifest is not None and line.local:
        raise UsageError(
            "--manifest writes a run for a scheduler without AWS, --local is the embedded cloud",
            next_step="leave one of the two out",
        )


def write_plan(draft: Draft, path: Path) -> int:
    """Write the manifest of a draft to a file, for a scheduler without AWS; how many slots it has.

    Its children write products and records to the settings' output directory.

    Raises:
        UsageError: the file exists, or there is nothing to do.
        StoreError: it cannot be written.
    """
    from glacierflow.runs.plan import build_manifest

    loaded, choice = draft.loaded, draft.choice
    arrangement = arrange_units(draft, units_of(draft))
    made = build_manifest(
        arrangement.slots,
        choice.regions,
        draft.step,
        catalogue_sha256=choice.catalogue_sha256,
        store=str(loaded.settings.output_dir.expanduser().absolute()),
        order=arrangement.order,
        settings_source=loaded.source,
    ).model_copy(update={"service": "local"})
    _write(path, made.model_dump_json(indent=1))
    return len(made.slots)


def _write(path: Path, text: str) -> None:
    """Never over another manifest: children may be at work with it."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", next_step="name another file, or delete it first") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
