"""``glacierflow batch status``, ``watch``, ``list`` and ``queue``: how runs and queues stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli.batch import following, runs
from glacierflow.cli.batch.following import AutoRetryOption, Ending, NotifyOption
from glacierflow.cli.batch.planning import parse_service
from glacierflow.cli.batch.runs import FetchOption, RunArgument
from glacierflow.cli.batch.spending import StopAtUsdOption, limits_of
from glacierflow.cli.context import CommandLine, cloud_for, load_line
from glacierflow.cli.options import CONNECTION, JsonOption, collects

if TYPE_CHECKING:
    from glacierflow.aws.queues import EnvironmentReport, QueueReport
    from glacierflow.live.waiting import WaitingReport
    from glacierflow.runs.history import RunEntry


ReceiptsOption = Annotated[
    bool,
    typer.Option(
        "--receipts", help="Read all receipts that were not read yet, one call each, and count their images."
    ),
]

QueueServiceOption = Annotated[
    str,
    typer.Option(
        "--service", metavar="NAME", help="Where to look: batch, lambda, ecs, fargate or stepfunctions."
    ),
]

LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the N newest runs.")]


@collects(*CONNECTION, "s3_bucket")
def status_command(
    line: CommandLine,
    run: RunArgument = "latest",
    receipts: ReceiptsOption = False,
    as_json: JsonOption = False,
) -> int:
    """Show a run on one screen: states, outcomes, products, attempts, reclaims, and failures by kind."""
    look = runs.open_run(run, line)
    return runs.show_status(look, look.now(quick=not receipts), line, as_json=as_json)


@collects(*CONNECTION, "s3_bucket")
def watch_command(
    line: CommandLine,
    run: RunArgument = "latest",
    fetch: FetchOption = None,
    max_usd: StopAtUsdOption = None,
    auto_retry: AutoRetryOption = False,
    notify: NotifyOption = False,
    as_json: JsonOption = False,
) -> int:
    """Show live progress of a run until it has ended."""
    runs.check_fetch(fetch)
    look = runs.open_run(run, line)
    limits = limits_of(line, max_usd)
    ending = Ending(notify, auto_retry)
    return following.watch_run(look, line, fetch=fetch, as_json=as_json, limits=limits, ending=ending)


@collects(*CONNECTION, "s3_bucket")
def list_command(
    line: CommandLine,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> int:
    """List the runs of the bucket, newest first, as the last look found them."""
    from glacierflow.aws.names import find_places
    from glacierflow.cli.render import to_json
    from glacierflow.runs.history import list_runs
    from glacierflow.store import open_store

    loaded = load_line(line)
    cloud, _ = cloud_for(loaded, line)
    store = open_store(f"s3://{find_places(loaded, cloud).bucket}", cloud)
    runs = list_runs(store, limit=limit)
    if as_json:
        typer.echo(to_json({"store": store.uri(""), "runs": [run.model_dump(mode="json") for run in runs]}))
        return 0
    if not runs:
        typer.echo(f"there is no run in {store.uri('')}")
    for run in runs:
        for text in _run_lines(run):
            typer.echo(text)
    return 0


def _run_lines(run: RunEntry) -> list[str]:
    from glacierflow.cli.render_status import ago
    from glacierflow.model.manifest import short_name

    lines = [
        f"{short_name(run.run_id)}  {run.run_id}",
        f"    submitted {ago(run.submitted_at)}; {_progress(run)}",
    ]
    if run.retry_of:
        lines.append(f"    a retry of {run.retry_of}")
    return lines


def _progress(run: RunEntry) -> str:
    from glacierflow.runs.progress import products_in_words

    if run.notice:
        return run.notice
    if run.size is None:
        return "nobody has looked at it yet: `glacierflow batch status` does"
    outcomes = ", ".join(f"{count} {name}" for name, count in run.outcomes.items())
    state = "ended" if run.complete else f"{run.ended} had ended at the last look"
    products = products_in_words(run.new, run.products)
    tried = f"{run.attempts} attempts ({run.reclaims or 'none'} interrupted by spot reclaims)"
    return f"{run.size} slots, {state}: {outcomes}; products: {products}; {tried}"


@collects(*CONNECTION, "s3_bucket")
def queue_command(
    line: CommandLine,
    service: QueueServiceOption = "batch",
    as_json: JsonOption = False,
) -> int:
    """Show jobs by state, the first job and what blocks it, and whether the machines are healthy.

    For ECS and Fargate it shows the tasks of the cluster, for Step Functions the running executions, for
    Lambda how many calls may run at once and how many failed.
    """
    from glacierflow.aws.names import find_places
    from glacierflow.aws.queues import look_at_queue
    from glacierflow.cli.render import to_json
    from glacierflow.live.waiting import look_at_service

    where = parse_service(service)
    loaded = load_line(line)
    cloud, _ = cloud_for(loaded, line)
    found: list[QueueReport] | list[WaitingReport]
    if where == "batch":
        places = find_places(loaded, cloud)
        queues = [look_at_queue(name, cloud) for name in dict.fromkeys(places.queues.values())]
        found, texts = queues, [text for queue in queues for text in _queue_lines(queue, line.again())]
    else:
        report = look_at_service(where, cloud, loaded)
        found, texts = [report], _waiting_lines(report)
    if as_json:
        told = [one.model_dump(mode="json") | {"healthy": one.healthy} for one in found]
        typer.echo(to_json({"queues": told}))
    else:
        for text in texts:
            typer.echo(text)
    return 0 if all(one.healthy for one in found) else 1


def _waiting_lines(report: WaitingReport) -> list[str]:
    from glacierflow.cli.render_status import span

    depth = ", ".join(f"{count} {state}" for state, count in report.depth.items()) or "nothing waits or runs"
    is_function = report.service == "lambda"
    lines = [
        f"{report.name}  {report.service}" if is_function else f"{report.name}  {report.service}  {depth}"
    ]
    if report.oldest is not None:
        age = "" if report.oldest.age_s is None else f", asked for {span(report.oldest.age_s)} ago"
        lines.append(f"  oldest       {report.oldest.name} {report.oldest.state}{age}")
    if is_function and report.reserved_concurrency is None:
        lines.append("  at a time    as many calls as the account has room for; none are reserved")
    elif is_function:
        lines.append(f"  at a time    {report.reserved_concurrency} calls, which are reserved")
    if not report.healthy:
        lines.append("  blocked      no call can start with a reserved concurrency of 0")
        lines.append("  next         glacierflow stack deploy --with lambda --set ReservedConcurrency=N")
    if report.failed_calls is not None:
        lines.append(f"  failed       {report.failed_calls} calls that Lambda gave up, kept for 14 days")
    if report.notice:
        lines.append(f"  not known    {report.notice}" if is_function else f"  note         {report.notice}")
    return lines


def _queue_lines(queue: QueueReport, again: str) -> list[str]:
    from glacierflow.cli.render_status import span, with_run

    depth = ", ".join(f"{count} {state}" for state, count in queue.depth.items()) or "empty"
    lines = [f"{queue.name}  {queue.state}, {queue.status}  {depth}"]
    if queue.head is not None:
        head = queue.head
        age = "" if head.age_s is None else f", submitted {span(head.age_s)} ago"
        stood = "" if head.at_head_s is None else f", at the head for {span(head.at_head_s)}"
        lines.append(f"  head         {head.job_id} ({head.name}){age}{stood}")
        if head.sentence and head.next_step:
            lines.append(f"  blocked      {head.sentence}")
            lines.append(f"  next         {with_run(head.next_step, 'RUN', again)}")
    if queue.vcpus_in_use is not None:
        lines.append(f"  in use       {queue.vcpus_in_use:g} vCPUs")
    lines += [_environment(one) for one in queue.environments]
    if queue.notice:
        lines.append(f"  not known    {queue.notice}")
    return lines


def _environment(one: EnvironmentReport) -> str:
    used = "" if one.vcpus is None else f"machines for {one.vcpus} of "
    vcpus = "" if one.max_vcpus is None else f", {used}at most {one.max_vcpus} vCPUs"
    reason = f": {one.reason}" if one.reason and not one.healthy else ""
    return f"  environment  {one.name} ({one.kind}) {one.state}, {one.status}{vcpus}{reason}"
