"""``glacierflow batch retry`` and ``cancel``: repeat what went wrong; end what is still on its way."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.following import AutoRetryOption, Ending, watch_run
from glacierflow.cli.batch.planning import job_options, parse_service
from glacierflow.cli.batch.runs import (
    FetchOption,
    Located,
    SomeRunArgument,
    WaitOption,
    check_fetch,
    confirm_found,
    locate_run,
)
from glacierflow.cli.batch.spending import StopAtUsdOption, limits_of
from glacierflow.cli.context import CommandLine
from glacierflow.cli.options import CONNECTION, JsonOption, YesOption, collects
from glacierflow.cli.results import submission_json, where_to_look
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.live.family import FamilyLook
    from glacierflow.live.retry import Cancelled
    from glacierflow.model.manifest import Manifest, Service
    from glacierflow.runs.retry import Conditions, RetryPlan, RetryUnit
    from glacierflow.runs.states import FailureClass


_MOST_NAMED = 40
_MOST_LACKING = 4
"""Units named of a slot that has several."""

OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="CLASS,...",
        help="Only units of these classes: spot, oom, timeout, start, capacity, service, killed, data, bug, "
        "missing, cancelled, config. Without it all but the last two.",
    ),
]

RetryServiceOption = Annotated[
    str, typer.Option("--service", metavar="NAME", help="Where to try again: batch, or lambda.")
]

DryRunOption = Annotated[
    bool | None,
    typer.Option(
        "--dry-run/--no-dry-run",
        help="Look at the run, show what would be tried again, and submit nothing. Also takes true or false.",
        show_default=False,
    ),
]

RegionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="End only the children that process this region, even with others; can be repeated.",
    ),
]


@collects(*CONNECTION, "s3_bucket", first=("regions_file",))
def retry_command(
    line: CommandLine,
    run: SomeRunArgument = None,
    only: OnlyOption = None,
    dry_run: DryRunOption = None,
    wait: WaitOption = False,
    fetch: FetchOption = None,
    max_usd: StopAtUsdOption = None,
    auto_retry: AutoRetryOption = False,
    service: RetryServiceOption = "batch",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> int:
    """Try again only the units that failed, as a new array that is recorded with the first run.

    Of units that share a slot (``--pack``) all go along; those that are done are found done, not made again.

    Out of memory goes up a memory class; units that lost their machine or never got one go to the on-demand
    queue; timeouts get twice the time. Products that are gone or damaged are made again. All go to AWS Batch,
    whatever ran them first; with ``--service lambda`` to the function as it is, which goes on with what its
    deadline cut: ``glacierflow batch retry RUN --service lambda --auto-retry`` invokes it at most three times
    for a unit.
    """
    from glacierflow.runs.retry import parse_only

    line = replace(line, dry_run=dry_run)
    check_fetch(fetch)
    watches = wait or fetch is not None or auto_retry
    if max_usd is not None and not watches:
        raise UsageError("--max-usd stops a run only while it is watched", next_step="add --wait")
    classes, where = parse_only(only), _parse_service(service)
    found = locate_run(run or "latest", line)
    if not found.loaded.settings.settings.dry_run:
        confirm_found(found, run, "retry", yes=yes)
    root, plan, look = _retry(found, line, classes, where)
    if look is None:
        show_plan(root, plan, as_json=as_json)
        if not as_json:
            why = "dry run" if plan.units else "nothing to try again"
            typer.echo(f"{why}: nothing was submitted or written")
        return 0
    if not as_json:
        show_plan(root, plan, as_json=False)
        for text in where_to_look(look.manifest, look.jobs, again=line.again()):
            typer.echo(text)
    if watches:
        limits = limits_of(line, max_usd)
        ending = Ending(auto_retry=auto_retry, service=where)
        return watch_run(look, line, fetch=fetch, as_json=as_json, limits=limits, ending=ending)
    if as_json:
        typer.echo(submission_json(look.manifest, look.jobs))
    return 0


def _parse_service(text: str) -> Service:
    service = parse_service(text)
    if service not in {"batch", "lambda"}:
        raise UsageError(f"--service = {text} cannot retry", next_step="accepted: batch, lambda")
    return service


def _retry(
    found: Located, line: CommandLine, only: tuple[FailureClass, ...], service: Service
) -> tuple[Manifest, RetryPlan, FamilyLook | None]:
    from glacierflow.launch import find_launcher
    from glacierflow.live.family import FamilyLook
    from glacierflow.live.look import RunLook
    from glacierflow.live.retry import check_catalogue, check_retry, find_retry, submit_retry
    from glacierflow.regions import load_catalogue
    from glacierflow.runs.family import read_family

    family = read_family(found.store, found.run_id)
    check_catalogue(family.root, load_catalogue(line.regions_file).sha256)
    plan = find_retry(family, found.store, found.cloud, found.places, only, service)
    if not plan.units:
        return family.root, plan, None
    options = job_options(found.loaded.settings, found.places)
    find = partial(find_launcher, service, found.cloud, found.loaded, found.places, **options)
    if found.loaded.settings.settings.dry_run:
        check_retry(family, plan, find)
        return family.root, plan, None
    manifest, jobs = submit_retry(family, plan, found.store, find)
    return family.root, plan, FamilyLook([RunLook(manifest, jobs, found.store, found.cloud)])


def show_plan(root: Manifest, plan: RetryPlan, *, as_json: bool) -> None:
    """Print what is tried again and what is left; as JSON on request."""
    from glacierflow.cli import render

    if as_json:
        typer.echo(render.to_json(_facts(root, plan)))
        return
    typer.echo(f"run     {root.run_id}")
    for unit in plan.units[:_MOST_NAMED]:
        change = f"{_change(unit.had, unit.gets)}{_of_several(root, unit)}"
        typer.echo(f"  {unit.failure:9} {_where(root, unit.slot)}  {change}")
    if len(plan.units) > _MOST_NAMED:
        typer.echo(f"  ... and {len(plan.units) - _MOST_NAMED} more")
    for left in plan.left[:_MOST_NAMED]:
        typer.echo(f"  left    {left.failure:9} {_where(root, left.slot)}  {left.reason}")
    classes = ", ".join(f"{count} {name}" for name, count in plan.classes.items())
    what = "units" if all(len(slot) == 1 for slot in root.slots) else "slots"
    typer.echo(f"retry   {len(plan.units)} of {len(root.slots)} {what}{f': {classes}' if classes else ''}")
    if plan.live:
        typer.echo(f"        {plan.live} are still on their way and are not touched")


def _of_several(root: Manifest, retried: RetryUnit) -> str:
    """What a retry of a whole slot comes to for its units."""
    count = len(root.slots[retried.slot])
    if count == 1:
        return ""
    if retried.lacking is None:
        return f"; of its {count} units those that are done are found done"
    named = ", ".join(f"{unit.region} {unit.date1}..{unit.date2}" for unit in retried.lacking[:_MOST_LACKING])
    more = len(retried.lacking) - _MOST_LACKING
    rest = f" and {more} more" if more > 0 else ""
    return f"; of its {count} units {named or 'none'}{rest} to do, the others are found done"


def _where(root: Manifest, slot: int) -> str:
    units = root.slots[slot]
    regions = "+".join(dict.fromkeys(unit.region for unit in units))
    return f"slot {slot}  {regions}  {units[0].date1}..{units[-1].date2}"


def _change(had: Conditions, gets: Conditions) -> str:
    changes = []
    if gets.memory_mib != had.memory_mib:
        changes.append(f"{had.memory_mib} -> {gets.memory_mib} MiB")
    if gets.on_demand != had.on_demand:
        changes.append("spot -> on-demand")
    if gets.timeout_s != had.timeout_s:
        changes.append(f"time limit {gets.timeout_s} s")
    return ", ".join(changes) or "as before"


def _facts(root: Manifest, plan: RetryPlan) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "root_run_id": root.run_id,
        "units": [asdict(unit) | {"lacking": _lacking(unit)} for unit in plan.units],
        "left": [asdict(left) for left in plan.left],
        "live": plan.live,
        "classes": plan.classes,
    }


def _lacking(retried: RetryUnit) -> list[dict[str, str]] | None:
    if retried.lacking is None:
        return None
    return [unit.model_dump(mode="json") for unit in retried.lacking]


@collects(*CONNECTION, "s3_bucket")
def cancel_command(
    line: CommandLine,
    run: SomeRunArgument = None,
    region: RegionOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> int:
    """End the jobs of a run and its retries, and say what was already done; images stay.

    A Lambda invocation that already runs goes on to its end.
    """
    from glacierflow.live.retry import cancel_family
    from glacierflow.runs.family import read_family

    found = locate_run(run or "latest", line)
    confirm_found(found, run, "cancel", yes=yes)
    family = read_family(found.store, found.run_id)
    cancelled = cancel_family(family, found.store, found.cloud, found.places, regions=tuple(region or ()))
    _show(cancelled, as_json=as_json)
    return 0


def _show(cancelled: list[Cancelled], *, as_json: bool) -> None:
    from dataclasses import asdict

    from glacierflow.cli import render

    if as_json:
        typer.echo(render.to_json([asdict(one) for one in cancelled]))
        return
    for one in cancelled:
        before = ", ".join(f"{count} {outcome}" for outcome, count in one.before.items())
        never = f"; {one.never_submitted} were never submitted" if one.never_submitted else ""
        if one.goes_on:
            never += f"; {len(one.goes_on)} run on Lambda and cannot be ended"
        typer.echo(f"run {one.run_id}")
        typer.echo(f"  cancelled {len(one.ended)}; had ended before: {before or 'none'}{never}")
