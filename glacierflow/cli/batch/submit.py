"""``glacierflow batch submit``: array jobs whose children process one region and period each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.canary import CanaryOption, check_answerable, send_after_canary
from glacierflow.cli.batch.drafting import NOTHING_JSON, check_measures, dry_run
from glacierflow.cli.batch.ending import AutoRetryOption, Ending, NotifyOption
from glacierflow.cli.batch.guarding import limits_of
from glacierflow.cli.batch.looking import FetchOption, WaitOption, check_fetch, watch_run
from glacierflow.cli.batch.missing import MissingOption, missing_units
from glacierflow.cli.batch.planning import (
    ByOption,
    Draft,
    OrderOption,
    PackOption,
    ServiceOption,
    ViaOption,
    choose_service,
    parse_by,
    parse_order,
    units_of,
)
from glacierflow.cli.batch.pricing import AllowEgressOption, MaxUsdOption, PriceOption
from glacierflow.cli.batch.sending import (
    MeasuredByOption,
    RoundsOption,
    Terms,
    check_rounds,
    make_ready,
    measured_by,
    send,
)
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

if TYPE_CHECKING:
    from glacierflow.services.family_look import FamilyLook

__all__ = ["submit_command"]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Submit even where a run that does the same is on its way.")
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
    draft = Draft(loaded, choice, step_settings(loaded, line), *slots, where, first)
    if loaded.settings.settings.dry_run:
        terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress)
        return dry_run(
            draft, line, terms, missing=missing, canary=canary, like=measured_by_run, as_json=as_json
        )
    terms = Terms(price=price, max_usd=max_usd, allow_egress=allow_egress, force=force, rounds=rounds)
    look, left = _submit(draft, line, terms, missing=missing, canary=canary, like=measured_by_run)
    if look is None:
        if as_json:
            typer.echo(NOTHING_JSON)
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
