"""``glacierflow config`` and ``doctor``: which settings hold, and is everything there that a run needs?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from glacierflow.cli import options as o
from glacierflow.cli.context import CommandLine, cloud_for, load_line, settings_file
from glacierflow.cli.options import CONNECTION, AwsConfigOption, ConfigOption, JsonOption, collects
from glacierflow.cli.panels import Verbs
from glacierflow.cli.render import show_findings
from glacierflow.errors import GlacierflowError

if TYPE_CHECKING:
    from glacierflow.settings import LoadedSettings


app = Verbs(help="Show and check the settings.")


@app.command("show", epilog="Example: glacierflow config show --json")
def show_command(
    config: ConfigOption = None,
    aws_config: AwsConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print every setting, its value, and where the value came from."""
    loaded = load_line(CommandLine(config=config, aws_config=aws_config))
    if json:
        _print_json(loaded)
        return
    rows = _rows(loaded)
    key_width = max(len(key) for _, key, _, _ in rows)
    value_width = min(60, max(len(value) for _, _, value, _ in rows))
    section = ""
    for of, key, value, origin in rows:
        if of != section:
            typer.echo(f"\n[{of}]" if section else f"[{of}]")
            section = of
        typer.echo(f"{key:<{key_width}}  {value:<{value_width}}  {origin}")


@app.command("check", epilog="Example: glacierflow config check")
def check_command(config: ConfigOption = None, aws_config: AwsConfigOption = None) -> None:
    """Check both files and the environment; name everything that is refused, ignored or unknown."""
    from glacierflow.errors import SettingsError
    from glacierflow.settings import examine_settings

    content, _ = settings_file(CommandLine(config=config, aws_config=aws_config))
    found = examine_settings(config=content, aws_config=aws_config)
    for notice in found.notices:
        typer.echo(f"notice: {notice}")
    for problem in found.problems:
        typer.echo(f"refused: {problem}")
    if found.problems:
        count = len(found.problems)
        raise SettingsError(
            f"{count} {'setting is' if count == 1 else 'settings are'} refused",
            next_step="docs/reference/configuration.md has every key and what it accepts",
        )
    typer.echo("the settings are sound")


def _rows(loaded: LoadedSettings) -> list[tuple[str, str, str, str]]:
    """(section, key, value as one would write it, origin)."""
    from glacierflow.settings import iter_fields, section_attribute

    rows = []
    for section, key, _ in iter_fields():
        value = getattr(getattr(loaded.settings, section_attribute(section)), key)
        rows.append((section, key, _written(value), loaded.origins[f"{section}.{key}"]))
    return rows


def _written(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _print_json(loaded: LoadedSettings) -> None:
    from json import dumps

    from glacierflow.settings import iter_fields, section_attribute

    values = loaded.settings.model_dump(mode="json")
    shown: dict[str, dict[str, dict[str, object]]] = {}
    for section, key, _ in iter_fields():
        shown.setdefault(section, {})[key] = {
            "value": values[section_attribute(section)][key],
            "origin": loaded.origins[f"{section}.{key}"],
        }
    typer.echo(dumps({"settings": shown, "notices": loaded.notices}, indent=2))


@collects(*CONNECTION, "s3_bucket")
def doctor_command(
    line: CommandLine,
    as_json: o.JsonOption = False,
) -> int:
    """Check that everything a run needs is there.

    Credentials, bucket, queues, roles, image, network, quotas and data access, each with its fix.

    Exit code 0: all is well; 1: a problem; 2: something could not be checked.
    """
    from glacierflow.aws.names import find_places
    from glacierflow.doctor import examine
    from glacierflow.doctor.patient import Patient

    loaded = load_line(line)
    cloud, step = cloud_for(loaded, line)
    try:
        places = find_places(loaded, cloud)
    except GlacierflowError:
        # that AWS does not answer is a finding of the first check, not the end of all of them
        places = find_places(loaded, None)
    patient = Patient(loaded, step, cloud, places)
    return show_findings(list(examine(patient)), as_json=as_json)
