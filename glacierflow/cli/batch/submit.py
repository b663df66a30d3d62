"""``glacierflow batch submit``: array jobs whose children process one region and period each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.canary import CanaryOption, check_answerable, send_after_canary
from glacierflow.cli.batch.ending import AutoRetryOption, Ending, NotifyOption
from glacierflow.cli.batch.guarding import limits_of
from glacierflow.cli.batch.looking import FetchOption, WaitOption, check_fetch, watch_run
from glacierflow.cli.batch.missing import MissingOption, missing_units
from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    PackOption,
    ServiceOption,
    ViaOption,
    arrange_units,
    manifest_of,
    parse_by,
    parse_service,
    parse_via,
    show_plan,
    units_of,
)
from glacierflow.cli.batch.pricing import (
    AllowEgressOption,
    MaxUsdOption,
    PriceOption,
    check_budget,
    check_egress,
    price_run,
)
from glacierflow.cli.batch.sending import MeasuredByOption, Terms, make_ready, measured_by, send
from glacierflow.cli.collect import CONNECTION, DATES, REGIONS, collects
from glacierflow.cli.context import (
    CommandLine,
    choose_regions,
    load_line,
    say,
    step_settings,
)
from glacierflow.cli.options import JsonOption
from glacierflow.cli.places import submission_json, where_to_look
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.manifest import Manifest
    from glacierflow.model import Unit
    from glacierflow.runs.workload import Measured
    from glacierflow.services.family_look import FamilyLook

__all__ = ["show_draft", "submit_command"]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Submit even where a run that does the same is on its way.")
]

_NOTHING_JSON = '{"run_id": null, "slots": 0, "jobs": []}'
"""What ``--json`` prints where nothing is missing."""


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
    price: PriceOption = False,
    max_usd: MaxUsdOption = None,
    allow_egress: AllowEgressOption = False,
    missing: MissingOption = False,
    canary: CanaryOption = False,
    measured_by_run: MeasuredByOption = None,
    force: ForceOption = False,
    service: ServiceOption = "batch",
    via: ViaOption = None,
    as_json: JsonOption = False,
) -> int:
    """Submit array jobs whose children process one region and one period each."""
    check_fetch(fetch)
    if canary and measured_by_run:
        raise UsageError(
            "--canary and --measured-by exclude each other: each measures",
            next_step="leave one of the two out",
        )
    period = parse_by(by)
    loaded = load_line(line)
    choice = choose_regions(loaded, line)
    where = parse_service(service)
    draft = Draft(loaded, choice, step_settings(loaded, line), period, pack, where, parse_via(via, where))
    if loaded.settings.settings.dry_run:
        ready = make_ready(draft, line) if missing or measured_by_run else None
        units = missing_units(ready, units_of(draft)) if missing and ready else units_of(draft)
        # the embedded cloud serves its images itself, in whatever region
        egress = allow_egress or (line.local and not line.live_imagery)
        terms = Terms(price=price, max_usd=max_usd, allow_egress=egress)
        like = measured_by(ready, measured_by_run) if ready else None
        return show_draft(draft, units, terms, measured=like, canary=canary, as_json=as_json)
    terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress, force=force)
    look, left = _submit(draft, line, terms, missing=missing, canary=canary, like=measured_by_run)
    if look is None:
        if as_json:
            typer.echo(_NOTHING_JSON)
        return 0
    if not as_json:
        for text in where_to_look(look.manifest, look.jobs, again=line.again()):
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


def show_draft(
    draft: Draft,
    units: tuple[Unit, ...],
    terms: Terms,
    *,
    measured: Measured | None = None,
    canary: bool = False,
    as_json: bool,
) -> int:
    """Show what would be submitted; a price, what is missing and a run to measure by need the network.

    The price is of all units; with a canary, the plan is that of the canary, which goes first.
    """
    if not units:
        say("glacierflow: nothing is missing; nothing would be submitted")
        if as_json:
            typer.echo(_NOTHING_JSON)
        return 0
    from glacierflow.runs.canary import choose_canary
    from glacierflow.services.places import find_places

    places = find_places(draft.loaded, None)

    def made(some: tuple[Unit, ...]) -> Manifest:
        return manifest_of(draft, arrange_units(draft, some, measured=measured), bucket=places.bucket)

    whole = shown = made(units)
    check_egress(draft, whole, places, allowed=terms.allow_egress)
    priced = terms.price or terms.max_usd is not None
    estimate = price_run(draft, whole, places, measured=measured) if priced else None
    rest = None
    if canary:
        first = choose_canary(units, whole.regions)
        shown, rest = made(first), len(units) - len(first)
    show_plan(shown, places, draft, estimate=estimate, rest=rest, as_json=as_json)
    if estimate is not None:
        check_budget(estimate, terms.max_usd, whole, draft.runs_on)
    return 0
