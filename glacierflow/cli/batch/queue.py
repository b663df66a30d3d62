"""``glacierflow batch queue``: both queues, what stands at their heads, and their compute environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine, cloud_for, load_line
from glacierflow.cli.options import JsonOption

if TYPE_CHECKING:
    from glacierflow.services.queues import EnvironmentReport, QueueReport

__all__ = ["queue_command"]


@collects(*CONNECTION, "s3_bucket")
def queue_command(
    line: CommandLine,
    as_json: JsonOption = False,
) -> int:
    """Show depth by state, the job at the head and what blocks it, and the health of what runs jobs."""
    from glacierflow.cli.render import to_json
    from glacierflow.services.places import find_places
    from glacierflow.services.queues import look_at_queue

    loaded = load_line(line)
    cloud, _ = cloud_for(loaded, line)
    places = find_places(loaded, cloud)
    names = dict.fromkeys((places.spot_queue, places.ondemand_queue))
    queues = [look_at_queue(name, cloud) for name in names]
    if as_json:
        healthy = [queue.model_dump(mode="json") | {"healthy": queue.healthy} for queue in queues]
        typer.echo(to_json({"queues": healthy}))
    else:
        for queue in queues:
            for text in _lines(queue, line.again()):
                typer.echo(text)
    return 0 if all(queue.healthy for queue in queues) else 1


def _lines(queue: QueueReport, again: str) -> list[str]:
    from glacierflow.cli.status_view import span, with_run

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
