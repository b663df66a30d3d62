"""A submission that is only shown: what would go where, and on request for how much; nothing is submitted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from glacierflow.cli.batch.planning import Draft, arrange_units, manifest_of, show_plan, units_of
from glacierflow.cli.batch.spending import check_budget, check_egress, price_run
from glacierflow.cli.batch.submission import Terms, make_ready, measured_by, missing_units
from glacierflow.cli.context import CommandLine, imagery_of, say
from glacierflow.cloud import Cloud
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.model.manifest import Manifest
    from glacierflow.model.records import Unit
    from glacierflow.runs.workload import Measured


NOTHING_JSON = '{"run_id": null, "slots": 0, "jobs": []}'
"""What ``--json`` prints where nothing is missing."""


def check_measures(*, canary: bool, like: str | None) -> None:
    """Refuse to measure twice.

    Raises:
        UsageError: both a canary and an earlier run are to tell memory and time.
    """
    if canary and like:
        raise UsageError(
            "--canary and --measured-by exclude each other: each measures",
            next_step="leave one of the two out",
        )


def dry_run(
    draft: Draft,
    line: CommandLine,
    terms: Terms,
    *,
    missing: bool,
    canary: bool,
    like: str | None,
    as_json: bool,
) -> int:
    """Show what would be submitted; the exit code.

    Only what is missing and a run to measure by need the bucket. Without them nothing is started: images
    are counted by an embedded cloud that runs already.

    Args:
        draft: what is to be done.
        line: as typed.
        terms: on what terms.
        missing: whether only what no earlier run finished.
        canary: whether three units would go first.
        like: the run to measure by.
        as_json: for programs.

    Raises:
        UsageError: the terms forbid it.
    """
    # the embedded cloud serves its images itself, in whatever region
    terms = replace(terms, allow_egress=terms.allow_egress or (line.local and not line.live_imagery))
    ready = make_ready(draft, line) if missing or like else None
    draft = ready.draft if ready else _as_served(draft, line)
    units = units_of(draft)
    if ready and missing:
        units = missing_units(ready, units)
    measured = measured_by(ready, like) if ready else None
    account = draft.loaded.settings.aws_account
    cloud = Cloud(region=account.aws_region, profile=account.aws_profile, embedded=line.local)
    return _show(draft, units, terms, cloud, measured=measured, canary=canary, as_json=as_json)


def _as_served(draft: Draft, line: CommandLine) -> Draft:
    """With the images of the embedded cloud that runs, or why none can be counted."""
    if not line.local or line.live_imagery:
        return draft
    from glacierflow.local import control

    running = control.status(control.default_home())
    if running is None:
        why = "the embedded cloud is not running; `glacierflow local up --archive DIR` gives counts"
        return replace(draft, uncounted=why)
    draft = replace(draft, step=draft.step.model_copy(update=imagery_of(running)))
    if line.archive is not None and running.archive != str(line.archive.resolve()):
        why = (
            f"the embedded cloud does not serve {line.archive} yet; `glacierflow local up --archive` does it"
        )
        return replace(draft, uncounted=why)
    if running.archive is None:
        return replace(draft, uncounted="the embedded cloud has no images yet; a submission makes a sample")
    return draft


def _show(
    draft: Draft,
    units: tuple[Unit, ...],
    terms: Terms,
    cloud: Cloud,
    *,
    measured: Measured | None = None,
    canary: bool = False,
    as_json: bool,
) -> int:
    """Show what would be submitted; a price, what is missing and a run to measure by need the network.

    For a price the STAC API is asked for counts, and EC2, with credentials, for spot prices once a day.

    The price is of all units; with a canary, the plan is that of the canary, which goes first.
    """
    if not units:
        say("glacierflow: nothing is missing; nothing would be submitted")
        if as_json:
            typer.echo(NOTHING_JSON)
        return 0
    from glacierflow.aws.names import find_places
    from glacierflow.runs.workload import choose_canary

    places = find_places(draft.loaded, None)

    def made(some: tuple[Unit, ...]) -> Manifest:
        return manifest_of(draft, arrange_units(draft, some, measured=measured), bucket=places.bucket)

    whole = shown = made(units)
    check_egress(draft, whole, places, allowed=terms.allow_egress)
    priced = terms.price or terms.max_usd is not None
    estimate = price_run(draft, whole, places, cloud=cloud, measured=measured) if priced else None
    rest = None
    if canary:
        first = choose_canary(units, whole.regions)
        shown, rest = made(first), len(units) - len(first)
    show_plan(shown, places, draft, estimate=estimate, rest=rest, as_json=as_json)
    if estimate is not None:
        check_budget(estimate, terms.max_usd, whole, draft.runs_on)
    return 0
