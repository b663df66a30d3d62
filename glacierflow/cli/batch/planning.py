"""From settings and options to the plan of a run: units, memory classes, arrays, and the calls they need."""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.aws.names import Places
    from glacierflow.cli.context import Choice
    from glacierflow.cost.estimate import Estimate
    from glacierflow.model.manifest import Manifest, Order, Service
    from glacierflow.model.records import StepSettings, Unit
    from glacierflow.runs.units import Arrangement, Period
    from glacierflow.runs.workload import Measured
    from glacierflow.settings import LoadedSettings, Settings


ByOption = Annotated[
    str | None,
    typer.Option("--by", metavar="PERIOD", help="Cut the dates into units: year, quarter or month."),
]
PackOption = Annotated[
    float | None,
    typer.Option(
        "--pack",
        metavar="MINUTES",
        min=1,
        help="Process units on the same tiles in one child, for up to this many minutes; off by default.",
    ),
]
OrderOption = Annotated[
    str | None,
    typer.Option(
        "--order",
        metavar="ORDER",
        help="Order of the children: catalogue (the default with one unit a region) or largest first.",
    ),
]
ServiceOption = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="NAME",
        help="batch, lambda, ecs, fargate or stepfunctions; default batch, or as enable_step_functions says.",
    ),
]
ViaOption = Annotated[
    str | None,
    typer.Option(
        "--via",
        metavar="NAME",
        help="Where the state machine of --service stepfunctions sends slots first: batch or lambda.",
    ),
]
_SERVICES: tuple[Service, ...] = ("batch", "lambda", "ecs", "fargate", "stepfunctions")


def choose_service(
    text: str | None, via: str | None, loaded: LoadedSettings, *, quiet: bool
) -> tuple[Service, Service]:
    """Where slots run and where a state machine sends them first, as typed or as ``[EXPERIMENTAL]`` says.

    What is set by hand and counts for nothing there is said.

    Raises:
        UsageError: there is none of that name, or the settings switch it off.
    """
    from glacierflow.cli.context import say
    from glacierflow.settings.load import DEFAULT
    from glacierflow.settings.reach import without_effect

    switches = loaded.settings.experimental
    service = parse_service(text or ("stepfunctions" if switches.enable_step_functions else "batch"))
    first = parse_via(via, service)
    if "lambda" in {service, first} and not switches.enable_lambda_processing:
        raise UsageError(
            "enable_lambda_processing = 0 in [EXPERIMENTAL] switches Lambda off",
            next_step="set it to 1, or name another --service",
        )
    by_hand = (name for name, origin in loaded.origins.items() if origin != DEFAULT)
    for sentence in without_effect(by_hand, service) if service != "local" else ():
        say(f"glacierflow: {sentence}", quiet=quiet)
    return service, first


def parse_service(text: str) -> Service:
    """A service by its name, in any case.

    Raises:
        UsageError: there is none of that name.
    """
    for service in _SERVICES:
        if text.lower() == service:
            return service
    raise UsageError(f"--service = {text} is not accepted", next_step=f"accepted: {', '.join(_SERVICES)}")


def parse_via(text: str | None, service: Service) -> Service:
    """Where a state machine sends slots first; AWS Batch where nothing is said.

    Raises:
        UsageError: there is no state machine, or it does not go there.
    """
    if text is None:
        return "batch"
    if service != "stepfunctions":
        raise UsageError(
            f"--via = {text} is about the state machine, and --service is {service}",
            next_step="add --service stepfunctions, or leave --via out",
        )
    if text.lower() not in {"batch", "lambda"}:
        raise UsageError(f"--via = {text} is not accepted", next_step="accepted: batch, lambda")
    return parse_service(text)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be done, before it has a run id."""

    loaded: LoadedSettings
    choice: Choice
    step: StepSettings
    by: Period | None = None
    pack_minutes: float | None = None
    order: Order | None = None
    """None: the usual one for the units there are."""
    service: Service = "batch"
    via: Service = "batch"
    """Where a state machine sends slots first."""
    rounds: int | None = None
    """How often the service goes on by itself; None is its default."""
    uncounted: str | None = None
    """Why no STAC API can be asked how many images there are, where none can."""

    @property
    def runs_on(self) -> Service:
        """What the slots run on at first, a state machine looked through."""
        return self.via if self.service == "stepfunctions" else self.service


def parse_by(text: str | None) -> Period | None:
    """The period that ``--by`` names.

    Raises:
        UsageError: there is no such period.
    """
    from glacierflow.runs.units import parse_period

    return None if text is None else parse_period(text)


def parse_order(text: str | None) -> Order | None:
    """The order that ``--order`` names.

    Raises:
        UsageError: there is no such order.
    """
    from glacierflow.model.manifest import ORDERS

    if text is None:
        return None
    for order in ORDERS:
        if text.lower() == order:
            return order
    raise UsageError(f"--order = {text} is not accepted", next_step=f"accepted: {', '.join(ORDERS)}")


def units_of(draft: Draft) -> tuple[Unit, ...]:
    """Regions x periods."""
    from glacierflow.runs.units import plan_units

    settings = draft.loaded.settings
    dates = settings.dates
    satellite = settings.settings.satellite
    return plan_units(satellite, draft.choice.regions, dates.date1, dates.date2, draft.by)


def arrange_units(draft: Draft, units: tuple[Unit, ...], *, measured: Measured | None = None) -> Arrangement:
    """Slots and arrays for some of the draft's units; what the order costs is told.

    Raises:
        UsageError: a unit fits no memory class.
    """
    from glacierflow.cli.context import say
    from glacierflow.runs.units import arrange

    arrangement = arrange(
        units,
        {region.name: region for region in draft.choice.regions},
        measured=measured,
        pack_minutes=draft.pack_minutes,
        on_demand=not draft.loaded.settings.cost_optimization.use_spot_instances,
        order=draft.order,
        classes=draft.loaded.settings.batch.memory_classes_mib,
    )
    if arrangement.roomier:
        say(
            f"glacierflow: in the catalogue's order all children have the memory of the largest unit;"
            f" {arrangement.roomier} need less, and --order largest gives it to them"
        )
    return arrangement


def manifest_of(draft: Draft, arrangement: Arrangement, *, bucket: str, image: str | None = None) -> Manifest:
    """The manifest of a run over an arrangement.

    Raises:
        UsageError: there is nothing to do.
    """
    from glacierflow.runs.plan import build_manifest

    return build_manifest(
        arrangement.slots,
        draft.choice.regions,
        draft.step,
        catalogue_sha256=draft.choice.catalogue_sha256,
        store=f"s3://{bucket}",
        arrays=arrangement.arrays,
        order=arrangement.order,
        image=image,
        settings_source=draft.loaded.source,
        service=draft.service,
    ).model_copy(update={"owner": owner_of(draft.loaded.settings)})


def job_options(settings: Settings, places: Places) -> dict[str, Any]:
    """Tags and consumable resource of the jobs, as ``find_launcher`` takes them."""
    owner = owner_of(settings)
    return {
        "tags": {"owner": owner} if owner else {},
        "consumable_resource": places.consumable_resource,
    }


def owner_of(settings: Settings) -> str | None:
    """Whose a submission is: as set, else the login; None for a user without a name, as in a container."""
    try:
        return settings.batch.owner or getpass.getuser()
    except (OSError, KeyError):
        return None


def show_plan(
    manifest: Manifest,
    places: Places,
    draft: Draft,
    *,
    estimate: Estimate | None = None,
    rest: int | None = None,
    as_json: bool,
) -> None:
    """Units, classes, arrays, and every call a submission would make; nothing is asked of AWS.

    Args:
        manifest: the run.
        places: names in the account.
        draft: what it was made of.
        estimate: what it would cost, where that is wanted.
        rest: units that would follow as a run of their own where this one is a canary.
        as_json: for programs.
    """
    from glacierflow.aws.names import named_destination
    from glacierflow.cli import render, render_plan
    from glacierflow.runs.plan import submit_requests

    loaded = draft.loaded
    requests = submit_requests(
        manifest, lambda array: named_destination(places, array), **job_options(loaded.settings, places)
    )
    calls = _calls(manifest, requests, draft)
    if as_json:
        plan = {
            "dry_run": True,
            "manifest": manifest.model_dump(mode="json"),
            "submit_job": requests if manifest.service == "batch" else [],
            "calls": calls,
        }
        if rest is not None:
            plan["units_after_canary"] = rest
        if estimate is not None:
            plan["estimate"] = render.estimate_json(estimate)
        typer.echo(json.dumps(plan, indent=2))
        return
    for text in (*render_plan.plan_lines(manifest, requests), "AWS calls that would be made:"):
        typer.echo(text)
    for text in calls:
        typer.echo(f"  {text}")
    if rest is not None:
        typer.echo(f"these units are the canary; {rest} more follow, arranged by its measurements")
    for text in render.estimate_lines(estimate) if estimate is not None else ():
        typer.echo(text)
    typer.echo("dry run: nothing was submitted or written")


def _calls(manifest: Manifest, requests: list[dict[str, Any]], draft: Draft) -> list[str]:
    """Every AWS call of the submission; what a service cannot run is refused here already."""
    from glacierflow.cli import render_plan
    from glacierflow.launch.launcher import check_lambda_fit

    loaded = draft.loaded
    function = loaded.settings.lambda_
    if draft.runs_on == "lambda":
        invocations = 1 + (draft.rounds or 0) if draft.service == "lambda" else 1
        check_lambda_fit(
            manifest,
            memory_mb=function.memory_size,
            timeout_s=function.timeout,
            invocations=invocations,
        )
    return render_plan.call_names(
        manifest,
        requests,
        via=draft.via,
        rounds=draft.rounds,
        stack=loaded.settings.batch.stack,
        function=function.function_name,
        cluster=loaded.settings.ecs.cluster,
    )
