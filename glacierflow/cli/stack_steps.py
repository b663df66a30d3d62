"""One stack after another: what would change, whether to go on, how it goes, and why it failed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from glacierflow.cli.context import say
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.cloud import Cloud
    from glacierflow.stack.deploy import Proposal, StackState
    from glacierflow.stack.messages import Step
    from glacierflow.stack.templates import Template


def deploy_one(
    cloud: Cloud, base: str, template: Template, parameters: dict[str, str], *, yes: bool, quiet: bool
) -> bool:
    """Propose, show, ask, carry out; whether it ended well."""
    from glacierflow.stack.deploy import apply, describe, discard, propose
    from glacierflow.stack.messages import ended_well
    from glacierflow.stack.templates import stack_name

    name = stack_name(base, template.name)
    for kept in ("ExistingBucket", "ExistingRepository"):
        if parameters.get(kept):
            say(f"{name}: uses what is there already: {kept} = {parameters[kept]}", quiet=quiet)
    proposal = propose(cloud, name, template, parameters)
    if proposal is None:
        say(f"{name}: nothing to change", quiet=quiet)
        return True
    if not (quiet and yes):
        show_changes(proposal)
    try:
        confirm(f"{'Make' if proposal.creates else 'Change'} the stack {name}?", yes=yes)
    except (typer.Abort, UsageError):
        discard(cloud, proposal)
        raise
    steps = list(told(apply(cloud, proposal), quiet=quiet))
    state = describe(cloud, name)
    if state is None or not ended_well(state.status):
        failed(name, state.status if state else "DELETE_COMPLETE", steps)
        return False
    say(f"{name}: in place", quiet=quiet)
    return True


def fitted(cloud: Cloud, base: str, given: dict[str, str], *, quiet: bool) -> dict[str, str]:
    """What is given, with a reservation for the function that the account can hold.

    Raises:
        UsageError: the reservation was given by hand and does not fit.
    """
    from glacierflow.stack.existing import fit_reservation
    from glacierflow.stack.templates import stack_name

    fit = fit_reservation(cloud, base, given)
    if fit.note:
        say(f"{stack_name(base, 'lambda')}: {fit.note}", quiet=quiet)
    return {**given, **fit.parameters}


def show_changes(proposal: Proposal) -> None:
    """Each resource that would be made, changed or deleted."""
    typer.echo(f"{proposal.stack}: {'a new stack' if proposal.creates else 'changes'}", err=True)
    signs = {"Add": "+", "Modify": "~", "Remove": "-"}
    for one in proposal.changes:
        anew = ", made anew" if one.replaces else ""
        because = f" ({', '.join(one.because)}{anew})" if one.because or anew else ""
        typer.echo(f"  {signs.get(one.action, '?')} {one.logical_id}  {one.kind}{because}", err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless that is settled.

    Raises:
        UsageError: nobody is there to ask.
        Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to confirm", next_step="add --yes")
    if not typer.confirm(question, err=True):
        raise typer.Abort


def told(steps: Iterable[Step], *, quiet: bool) -> Iterable[Step]:
    """Each step, told as it comes."""
    try:
        for step in steps:
            if not step.status.endswith("_IN_PROGRESS"):
                words = step.status.replace("_", " ").lower()
                say(f"  {step.at:%H:%M:%S} {step.logical_id}: {words}", quiet=quiet)
            yield step
    except KeyboardInterrupt:
        say("\nglacierflow: stopped looking; AWS goes on. Look with: glacierflow stack status")
        raise


def failed(name: str, status: str, steps: Iterable[Step]) -> int:
    """Say how the stack stands now and why; the exit code."""
    from glacierflow.stack.messages import reasons, state_in_words

    say(f"glacierflow: the stack {name}: {state_in_words(status)} ({status})")
    for reason in reasons(steps):
        say(f"  {reason.logical_id}: {reason.sentence}")
        say(f"    next: {reason.next_step}")
    return 1


def states(cloud: Cloud, base: str) -> list[StackState]:
    """The stacks that are there, in the order of their deployment."""
    from glacierflow.stack.deploy import describe
    from glacierflow.stack.templates import stack_name, template_names

    found = [describe(cloud, stack_name(base, name)) for name in template_names()]
    return [one for one in found if one is not None]


def all_outputs(cloud: Cloud, base: str) -> dict[str, dict[str, str]]:
    """Outputs of every stack that is there, by its name."""
    return {one.name: dict(one.outputs) for one in states(cloud, base)}


def show_outputs(found: dict[str, dict[str, str]], *, as_json: bool) -> None:
    """The outputs, for a person or as JSON."""
    from glacierflow.cli.render import to_json

    if as_json:
        typer.echo(to_json(found))
        return
    for name, values in found.items():
        typer.echo(f"{name}:")
        for key, value in values.items():
            typer.echo(f"  {key:<18} {value}")
