"""From units to a submission: what is missing, a draft that is only shown, and the launch."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch.planning import Draft, arrange_units, job_options, manifest_of
from glacierflow.cli.batch.spending import check_budget, check_egress, price_run
from glacierflow.cli.context import CommandLine, cloud_for, say, say_other_structure
from glacierflow.cli.render import estimate_lines
from glacierflow.errors import StoreError, UsageError

if TYPE_CHECKING:
    from glacierflow.aws.names import Places
    from glacierflow.cloud import Cloud
    from glacierflow.live.family import FamilyLook
    from glacierflow.model.manifest import Manifest, Service
    from glacierflow.model.records import Unit
    from glacierflow.runs.workload import Measured
    from glacierflow.store import Store


MeasuredByOption = Annotated[
    str | None,
    typer.Option(
        "--measured-by", metavar="RUN", help="Choose memory classes from the receipts of an earlier run."
    ),
]

RoundsOption = Annotated[
    int | None,
    typer.Option(
        "--rounds",
        metavar="K",
        min=0,
        help="How often --service stepfunctions tries failures again (default 2), or in how many further"
        " invocations a slot of --service lambda goes on that its deadline cut (default 0).",
    ),
]

MissingOption = Annotated[
    bool,
    typer.Option("--missing", help="Submit only what no earlier run finished, or whose products are gone."),
]


def check_rounds(rounds: int | None, service: Service) -> None:
    """Refuse rounds where nothing goes round, or more than Lambda allows.

    Raises:
        UsageError: there is neither a state machine nor a function, or it would be stopped before.
    """
    from glacierflow.launch.lambda_ import MOST_ROUNDS

    if rounds is None or service == "stepfunctions":
        return
    if service != "lambda":
        raise UsageError(
            f"--rounds = {rounds} is about the state machine or the function, and --service is {service}",
            next_step="add --service stepfunctions or --service lambda, or leave --rounds out",
        )
    if rounds > MOST_ROUNDS:
        raise UsageError(
            f"--rounds = {rounds} is more than {MOST_ROUNDS}; Lambda stops a function that goes on by itself",
            next_step="cut the dates with --by, or submit with --service batch",
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a run may be sent."""

    price: bool = False
    max_usd: float | None = None
    allow_egress: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """A draft, and the cloud and the bucket it goes to."""

    draft: Draft
    line: CommandLine
    cloud: Cloud
    places: Places
    store: Store


def make_ready(draft: Draft, line: CommandLine) -> Ready:
    """Find the cloud and the bucket; sample imagery of an embedded cloud is made by ``send``.

    Raises:
        UsageError: the bucket is missing, or the embedded cloud cannot be had.
        UnavailableError: AWS cannot be reached.
    """
    from glacierflow.aws.names import find_places
    from glacierflow.store import open_store

    cloud, step = cloud_for(draft.loaded, line)
    places = find_places(draft.loaded, cloud)
    if places.notice:
        say(f"glacierflow: {places.notice}", quiet=line.quiet)
    store = open_store(f"s3://{places.bucket}", cloud)
    store.check_writable()
    return Ready(replace(draft, step=step), line, cloud, places, store)


def measured_by(ready: Ready, run_id: str | None) -> Measured | None:
    """What an earlier run tells of memory and time, by its receipts; None where none is named.

    Raises:
        UsageError: there is no such run.
    """
    from glacierflow.runs.records import ReceiptReader, list_attempts, read_run_manifest
    from glacierflow.runs.workload import measure

    if run_id is None:
        return None
    manifest = read_run_manifest(ready.store, run_id)
    receipts = ReceiptReader(ready.store, run_id).every(list_attempts(ready.store, run_id))
    return measure(receipts, manifest.regions)


def send(
    ready: Ready,
    units: tuple[Unit, ...],
    terms: Terms,
    *,
    measured: Measured | None = None,
    canary: str | None = None,
    ask: Callable[[], None] | None = None,
) -> FamilyLook:
    """Submit units as one run, or complete the submission of the same run that was broken off.

    Args:
        ready: where to.
        units: which.
        terms: on what terms.
        measured: what a canary or an earlier run tells.
        canary: id of the run that tried some units before, to be found from this one.
        ask: called when all is found and allowed, before anything is written; raises where it is not wanted.

    Raises:
        UsageError: a queue or definition is missing, the terms forbid it, or the same run is on its way.
        UnavailableError: AWS cannot be reached.
    """
    from glacierflow.launch import find_launcher
    from glacierflow.launch.batch import write_manifest
    from glacierflow.live.family import FamilyLook
    from glacierflow.live.look import RunLook
    from glacierflow.live.same_run import find_same_run

    draft, cloud, store, places = ready.draft, ready.cloud, ready.store, ready.places
    arrangement = arrange_units(draft, units, measured=measured)
    options = job_options(draft.loaded.settings, places)
    launcher = find_launcher(
        draft.service,
        cloud,
        draft.loaded,
        places,
        arrangement.arrays,
        via=draft.via,
        rounds=draft.rounds,
        **options,
    )
    manifest = manifest_of(draft, arrangement, bucket=places.bucket, image=launcher.image)
    manifest = manifest.model_copy(update={"canary_run_id": canary})
    launcher.check(manifest)
    # a sample takes minutes: none is made for a run that nothing takes
    cloud_for(draft.loaded, ready.line, tuple(manifest.regions.values()))
    _check(ready, manifest, terms, measured, quiet=ready.line.quiet and ask is None)
    if ask is not None:
        ask()
    same = None if terms.force else find_same_run(manifest, store, cloud, places=places)
    if same is None:
        write_manifest(manifest, store)
        jobs = launcher.launch(manifest, store)
    elif same.is_whole:
        again = f"{same.manifest.run_id}{ready.line.again()}"
        raise UsageError(
            f"the run {same.manifest.run_id} does the same and is still going on",
            next_step=f"watch it with `glacierflow batch watch {again}`, or add --force",
        )
    else:
        manifest = same.manifest
        say(f"glacierflow: completing the submission of {manifest.run_id}, which was interrupted")
        jobs = launcher.launch(manifest, store, same.jobs)
    _log(manifest, ready.line)
    return FamilyLook([RunLook(manifest, jobs, store, cloud)])


def _check(ready: Ready, manifest: Manifest, terms: Terms, measured: Measured | None, *, quiet: bool) -> None:
    draft, places = ready.draft, ready.places
    say_other_structure(manifest, ready.store, quiet=quiet)
    check_egress(draft, manifest, places, allowed=terms.allow_egress)
    if terms.price or terms.max_usd is not None:
        estimate = price_run(draft, manifest, places, cloud=ready.cloud, measured=measured)
        for text in estimate_lines(estimate):
            say(text, quiet=quiet)
        check_budget(estimate, terms.max_usd, manifest, draft.runs_on)


def _log(manifest: Manifest, line: CommandLine) -> None:
    from glacierflow.local.control import default_home
    from glacierflow.runs.history import Submission, log_submission

    now = dt.datetime.now(dt.UTC)
    submission = Submission(
        run_id=manifest.run_id,
        store=manifest.store,
        local=line.local,
        submitted_at=now,
        service=manifest.service,
        slots=len(manifest.slots),
    )
    try:
        log_submission(default_home().parent, submission)
    except StoreError as error:
        # The run is on its way, and the store knows it.
        say(f"glacierflow: {error.message}; `latest` will look in the bucket", quiet=line.quiet)


def missing_units(ready: Ready, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The units that are not done; says how many are left out."""
    from glacierflow.live.same_run import runs_named
    from glacierflow.runs.plan import find_done

    earlier = (
        runs_named(ready.cloud, f"s3://{ready.places.bucket}", f"{units[0].satellite}-") if units else []
    )
    done = find_done(ready.store, earlier, units, ready.draft.step)
    missing = tuple(unit for unit in units if unit not in done)
    say(f"glacierflow: {len(done)} of {len(units)} units are done and in place", quiet=ready.line.quiet)
    return missing
