"""``glacierflow batch why``: what happened to one slot, in one plain paragraph."""

from __future__ import annotations

from typing import Annotated

import typer

from glacierflow.cli.batch import looking
from glacierflow.cli.batch.logs import SlotOption, name_slots
from glacierflow.cli.collect import CONNECTION, collects
from glacierflow.cli.context import CommandLine, say
from glacierflow.cli.options import JsonOption
from glacierflow.errors import UsageError

__all__ = ["why_command"]

WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] [REGION]", help="A region's name, and before it a run's id where it is not the latest."
    ),
]


@collects(*CONNECTION, "s3_bucket")
def why_command(
    line: CommandLine,
    words: WordsArgument = None,
    slot: SlotOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain one slot from attempts, exit codes, reasons, receipt, log and queue; and what to do next."""
    from glacierflow.cli.render import to_json
    from glacierflow.cli.status_view import with_run
    from glacierflow.services.slot import find_slot, other_slots
    from glacierflow.services.why import explain_slot

    run, region = run_and_region(words or [])
    look, cloud = looking.open_look(run, line)
    status = look.now(quick=True)
    row = find_slot(status, region=region, slot=slot)
    found, others = explain_slot(look, row, cloud), other_slots(status, row, region)
    run_id = status.run_id
    if as_json:
        answer = found.model_dump(mode="json")
        answer["next_step"] = with_run(found.next_step, run_id, line.again()) if found.next_step else None
        answer["other_slots"] = [one.slot for one in others]
        typer.echo(to_json(answer))
        return 0
    typer.echo(found.paragraph)
    if found.next_step:
        typer.echo(f"next: {with_run(found.next_step, run_id, line.again())}")
    if others:
        typer.echo(name_slots(others))
    if found.attempts:
        say(f"log:  glacierflow logs {run_id} --slot {found.slot}{line.again()}", quiet=line.quiet)
    return 0


def run_and_region(words: list[str]) -> tuple[str, str | None]:
    """Which run and which region ``why RUN REGION``, ``why REGION`` and ``why RUN`` are about.

    Raises:
        UsageError: more than two words.
    """
    from glacierflow.runs.history import is_run_id

    if len(words) > 2:
        raise UsageError(
            f"{' '.join(words)} is more than a run and a region",
            next_step="write e.g. `glacierflow why 049_jakobshavn`",
        )
    if len(words) == 1 and not is_run_id(words[0]):
        return "latest", words[0]
    run, region = (*words, None, None)[:2]
    return run or "latest", region
