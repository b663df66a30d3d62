"""``glacierflow stack``: everything on AWS that runs need, made, changed, looked at and deleted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glacierflow.cli import options as o
from glacierflow.cli.context import CommandLine, cloud_for, load_line, say
from glacierflow.cli.options import CONNECTION, collects
from glacierflow.cli.panels import Verbs
from glacierflow.cli.stack_steps import (
    all_outputs,
    confirm,
    deploy_one,
    failed,
    fitted,
    show_changes,
    show_outputs,
    states,
    told,
)
from glacierflow.errors import UsageError

if TYPE_CHECKING:
    from glacierflow.cloud import Cloud
    from glacierflow.settings import LoadedSettings
    from glacierflow.stack.templates import Template


app = Verbs(help="What runs need on AWS: deploy it, look at it, delete it.")

StackOption = Annotated[
    str | None, typer.Option("--stack", metavar="NAME", help="Name of the stack, default glacierflow.")
]
WithOption = Annotated[
    str | None,
    typer.Option(
        "--with", metavar="A,B", help="Also these templates of batch/, each as its own stack, e.g. network."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of a template; may be repeated."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command(
    epilog="Example: glacierflow stack deploy --with network --set MaxVcpus=512 --set Image=URI@sha256:..."
)
@collects(*CONNECTION, "s3_bucket")
def deploy(
    line: CommandLine,
    stack: StackOption = None,
    extras: WithOption = None,
    sets: SetOption = None,
    yes: YesOption = False,
    as_json: o.JsonOption = False,
) -> int:
    """Make the stack or bring it up to date: shows what would change, asks, and tells how it goes."""
    from glacierflow.functions.package import check_code
    from glacierflow.stack.parameters import check_new_names, choose_parameters
    from glacierflow.stack.templates import MAIN

    templates, given, cloud, base = _given(line, stack, extras, sets)
    check_new_names(templates, cloud, base, given)
    if "lambda" in {template.name for template in templates}:
        given = fitted(cloud, base, given, quiet=line.quiet)
    for template in templates:
        parameters = choose_parameters(template, cloud, base, given)
        if not deploy_one(cloud, base, template, parameters, yes=yes, quiet=line.quiet):
            return 1
        if template.name == MAIN:
            # only now there are bucket and repository to look into
            check_code(templates, cloud, base, given)
    show_outputs(all_outputs(cloud, base), as_json=as_json)
    return 0


@app.command(epilog="Example: glacierflow stack diff --set MaxVcpus=512")
@collects(*CONNECTION, "s3_bucket")
def diff(
    line: CommandLine,
    stack: StackOption = None,
    extras: WithOption = None,
    sets: SetOption = None,
    as_json: o.JsonOption = False,
) -> int:
    """Show what `stack deploy` would change, and change nothing."""
    from glacierflow.cli.render import to_json
    from glacierflow.stack.deploy import discard, propose
    from glacierflow.stack.parameters import choose_parameters
    from glacierflow.stack.templates import stack_name

    templates, given, cloud, base = _given(line, stack, extras, sets)
    found: dict[str, list[dict[str, object]]] = {}
    for template in templates:
        name = stack_name(base, template.name)
        proposal = propose(cloud, name, template, choose_parameters(template, cloud, base, given))
        changes = proposal.changes if proposal else ()
        found[name] = [
            {"action": one.action, "resource": one.logical_id, "type": one.kind, "replaces": one.replaces}
            for one in changes
        ]
        if proposal is None:
            say(f"{name}: nothing would change", quiet=as_json)
            continue
        if not as_json:
            show_changes(proposal)
        discard(cloud, proposal)
    if as_json:
        typer.echo(to_json(found))
    return 0


@app.command(epilog="Example: glacierflow stack status --json")
@collects(*CONNECTION)
def status(
    line: CommandLine,
    stack: StackOption = None,
    as_json: o.JsonOption = False,
) -> int:
    """Say how the stacks stand, in plain words; exit code 1 where one is missing or not well."""
    from glacierflow.cli.render import to_json
    from glacierflow.stack.messages import ended_well, state_in_words

    _, cloud, base = _open(line, stack)
    stacks = states(cloud, base)
    if as_json:
        found = [
            {"stack": one.name, "status": one.status, "reason": one.reason, "changed": str(one.updated_at)}
            for one in stacks
        ]
        typer.echo(to_json(found))
    for one in [] if as_json else stacks:
        typer.echo(f"{one.name}: {state_in_words(one.status)} ({one.status}), changed {one.updated_at}")
    if base not in {one.name for one in stacks}:
        say(
            f"there is no stack {base} in {cloud.region}; make it with `glacierflow stack deploy`",
            quiet=as_json,
        )
        return 1
    return 0 if all(ended_well(one.status) for one in stacks) else 1


@app.command(epilog="Example: glacierflow stack outputs --json")
@collects(*CONNECTION)
def outputs(
    line: CommandLine,
    stack: StackOption = None,
    as_json: o.JsonOption = False,
) -> int:
    """Print what the stacks put out: names of queues, job definitions, bucket, repository and more."""
    _, cloud, base = _open(line, stack)
    found = all_outputs(cloud, base)
    if not found:
        raise UsageError(
            f"there is no stack {base} in {cloud.region}", next_step="make it with `glacierflow stack deploy`"
        )
    show_outputs(found, as_json=as_json)
    return 0


@app.command(epilog="Example: glacierflow stack delete --yes")
@collects(*CONNECTION)
def delete(
    line: CommandLine,
    stack: StackOption = None,
    yes: YesOption = False,
) -> int:
    """Delete the stacks; the bucket with all products and records stays, and so do the images."""
    from glacierflow.stack.deploy import delete as delete_stack
    from glacierflow.stack.existing import options_for

    _, cloud, base = _open(line, stack)
    stacks = states(cloud, base)[::-1]
    if not stacks:
        say(f"there is no stack {base} in {cloud.region}: nothing to delete")
        return 0
    kept = next((one.outputs for one in stacks if one.name == base), {})
    confirm(f"Delete {', '.join(one.name for one in stacks)}?", yes=yes)
    for state in stacks:
        steps = list(told(delete_stack(cloud, state), quiet=line.quiet))
        if not any(step.is_stack and step.status == "DELETE_COMPLETE" for step in steps):
            return failed(state.name, "DELETE_FAILED", steps)
        typer.echo(f"{state.name}: deleted")
    if "Bucket" in kept:
        own = f" --stack {base}" if stack else ""
        typer.echo(f"kept: the bucket {kept['Bucket']} with everything in it, and the images in the")
        typer.echo(f"      repository {kept['RepositoryName']}. To use both again:")
        typer.echo(f"glacierflow stack deploy{own}{line.again()}{options_for(kept)}")
    return 0


@app.command(epilog="Example: glacierflow stack policies ./policies --account 111122223333")
@collects(*CONNECTION, "s3_bucket")
def policies(
    line: CommandLine,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write to.")],
    account: Annotated[
        str | None, typer.Option("--account", metavar="ID", help="Account id, if AWS cannot be asked.")
    ] = None,
    stack: StackOption = None,
    extras: WithOption = None,
    sets: SetOption = None,
) -> int:
    """Write each role's trust and policy as JSON, for an administrator who makes the roles by hand."""
    from glacierflow.stack.existing import account_of
    from glacierflow.stack.parameters import check_names, check_values, from_settings, repository_named
    from glacierflow.stack.policies import policy_files, write_policies
    from glacierflow.stack.resolve import Account

    templates = _templates(extras)
    typed = _typed(sets)
    check_names(typed, templates)
    loaded = load_line(line)
    settings = loaded.settings
    given = from_settings(loaded) | repository_named(loaded) | typed
    check_values(given, templates)
    number = account or settings.aws_account.account_id or account_of(cloud_for(loaded, line)[0])
    where = Account(number, settings.aws_account.aws_region, stack or settings.batch.stack)
    for path in write_policies(policy_files(templates, where, given), folder):
        say(str(path), quiet=line.quiet)
    return 0


def _open(line: CommandLine, stack: str | None) -> tuple[LoadedSettings, Cloud, str]:
    loaded = load_line(line)
    cloud, _ = cloud_for(loaded, line)
    return loaded, cloud, stack or loaded.settings.batch.stack


def _given(
    line: CommandLine, stack: str | None, extras: str | None, sets: list[str] | None
) -> tuple[list[Template], dict[str, str], Cloud, str]:
    """The templates named, their parameters as given and checked, the cloud, and the main stack's name."""
    from glacierflow.stack.parameters import check_names, check_values, from_settings, repository_named

    templates = _templates(extras)
    typed = _typed(sets)
    check_names(typed, templates)
    loaded = load_line(line)
    _without_counterpart(loaded, templates, quiet=line.quiet)
    given, named = from_settings(loaded) | typed, repository_named(loaded)
    check_values(named | given, templates)
    cloud, _ = cloud_for(loaded, line)
    base = stack or loaded.settings.batch.stack
    if named and not typed.keys() & {"RepositoryName", "ExistingRepository"}:
        given |= _first_repository(named, cloud, base, quiet=line.quiet)
    return templates, given, cloud, base


def _without_counterpart(loaded: LoadedSettings, templates: list[Template], *, quiet: bool) -> None:
    """Say what is set, and is about a stack that is not named or lacks an address."""
    settings, names = loaded.settings, {template.name for template in templates}
    limit = settings.cost_optimization.budget_limit
    if limit and "observability" not in names:
        say(f"budget_limit = {limit:g} makes a budget only with `--with observability`", quiet=quiet)
    if settings.notifications.email_notifications and not settings.settings.email:
        say("email_notifications = 1 tells nobody: there is no email in [SETTINGS]", quiet=quiet)


def _first_repository(named: dict[str, str], cloud: Cloud, base: str, *, quiet: bool) -> dict[str, str]:
    """The repository as aws_config.ini names it, unless the stack has one, with its images, already."""
    from glacierflow.stack.deploy import describe

    state, wanted = describe(cloud, base), named["RepositoryName"]
    kept = state.outputs.get("RepositoryName") if state else None
    if kept is None:
        return named
    if kept != wanted:
        say(
            f"{base}: keeps its image repository {kept};"
            f" ecr_repository = {wanted} is for a stack that is yet to be made",
            quiet=quiet,
        )
    return {}


def _templates(extras: str | None) -> list[Template]:
    """The main template and the others that are named, in the order of their deployment."""
    from glacierflow.stack.templates import MAIN, load_template, template_names

    wanted = {MAIN, *(name.strip() for name in (extras or "").split(",") if name.strip())}
    found = [load_template(name) for name in sorted(wanted - set(template_names()))]
    return found + [load_template(name) for name in template_names() if name in wanted]


def _typed(sets: list[str] | None) -> dict[str, str]:
    typed = {}
    for word in sets or []:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {word} is not NAME=VALUE", next_step="write, say, --set MaxVcpus=512")
        typed[name] = value
    return typed
