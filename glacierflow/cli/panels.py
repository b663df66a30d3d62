"""Help in panels, and the right line for a verb that was typed wrongly or in the wrong place.

Typer's own panels need rich, which costs more at start-up than the help itself; these are plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from glacierflow.errors import UsageError

Verb = TypeVar("Verb", bound=Callable[..., Any])

RUNS, PRODUCTS, SET_UP, THIS_MACHINE = "Runs", "Products", "Set-up", "This machine"
_PANEL_OF_VERB = {
    **dict.fromkeys(("check", "compare", "clean", "regions", "velocity"), PRODUCTS),
    **dict.fromkeys(("stack", "doctor", "config", "container", "lambda", "sync", "prices"), SET_UP),
    **dict.fromkeys(("run", "local"), THIS_MACHINE),
}
"""By the verb's name at the top; verbs of runs are registered as such."""

_PANELS = ("What", "When", "Limits", "Where", "More")
_PANEL_OF_OPTION = {
    **dict.fromkeys(
        (
            *("satellite", "start_end_index", "regions", "regions_file", "region", "slot", "attempt"),
            *("by", "pack", "order", "missing", "only", "reprocess", "receipts", "quick", "read"),
        ),
        "What",
    ),
    **dict.fromkeys(("date1", "date2", "wait", "follow", "fetch", "auto_retry", "notify"), "When"),
    **dict.fromkeys(
        ("dry_run", "price", "max_usd", "allow_egress", "canary", "measured_by_run", "limit", "lines"),
        "Limits",
    ),
    **dict.fromkeys(
        (
            "service",
            "via",
            "local",
            "s3_bucket",
            "profile",
            "aws_region",
            "base_dir",
            "to",
            "out",
            "manifest",
        ),
        "Where",
    ),
}
"""By the name of the parameter; every other option stands under More."""

_FEW_OPTIONS = 6
"""So many are easier to read without panels."""
_MOST_LINES = 3
"""Lines that an answer to a mistyped verb offers."""


_WHICH = "name the regions you want with --regions or --start-end-index"
_GONE = {
    "--instance-type": "set instance_types of [BATCH] in aws_config.ini, then run"
    " `glacierflow stack deploy --yes`",
    "--spot-instances": "set use_spot_instances of [COST_OPTIMIZATION] in aws_config.ini to 1 or 0",
    "--email": "set email of [SETTINGS] and email_notifications = 1, then run"
    " `glacierflow stack deploy --yes`; for one run add --notify",
    "--setup": "run `glacierflow stack deploy --yes` once: it makes bucket, roles, queues and logs",
    "--min-area": f"`glacierflow regions list` shows areas; {_WHICH}",
    "--max-area": f"`glacierflow regions list` shows areas; {_WHICH}",
    "--ignore-regions": f"`glacierflow regions list` shows all; {_WHICH}",
    "--test-run": "add --dry-run to see what would be done, or --canary to try three units first",
}
"""What to use instead of the predecessor's options, by their name with hyphens."""


def instead_of(option: str) -> str | None:
    """What to use now for an option that the predecessor had; None for any other."""
    return _GONE.get(f"--{option.lstrip('-').replace('_', '-')}")


class PanelCommand(TyperCommand):
    """A command whose options stand in panels: what, when, limits, where, and the rest last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own are private
        """Write arguments, then options by panel."""
        arguments, panels = [], dict[str, list[tuple[str, str]]]()
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                arguments.append(record)
            else:
                panels.setdefault(_PANEL_OF_OPTION.get(str(parameter.name), _PANELS[-1]), []).append(record)
        if sum(map(len, panels.values())) <= _FEW_OPTIONS:
            panels = {"Options": [record for name in _PANELS for record in panels.get(name, ())]}
        _write(formatter, {"Arguments": arguments} | {name: panels[name] for name in panels_in_order(panels)})


def panels_in_order(panels: dict[str, list[tuple[str, str]]]) -> list[str]:
    """Names of panels, in the order in which they are shown."""
    return sorted(panels, key=lambda name: _PANELS.index(name) if name in _PANELS else -1)


class PanelGroup(TyperGroup):
    """A group whose verbs stand in panels, and which answers a wrong verb with the right line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - as above
        """Write the verbs by panel, those of runs first."""
        panels: dict[str, list[Any]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if not command.hidden:
                at_top = ctx.parent is None
                panel = getattr(command, "rich_help_panel", None) or _PANEL_OF_VERB.get(name)
                panels.setdefault((at_top and panel) or "Commands", []).append((name, command))
        order = (RUNS, PRODUCTS, SET_UP, THIS_MACHINE, "Commands")
        longest = max(len(name) for commands in panels.values() for name, _ in commands)
        room = formatter.width - 6 - longest
        rows = {
            panel: [
                (name.ljust(longest), command.get_short_help_str(room)) for name, command in panels[panel]
            ]
            for panel in sorted(panels, key=order.index)
        }
        _write(formatter, rows)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - as above
        """Find the verb.

        Raises:
            UsageError: there is none of this name here; the next step is the right line.
        """
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            _refuse(ctx, args[0])
        return super().resolve_command(ctx, args)


class Verbs(typer.Typer):
    """A Typer app whose help stands in panels and which answers a wrong verb with the right line."""

    def __init__(self, *, help: str, **more: Any) -> None:  # noqa: A002, ANN401 - typer's own names
        super().__init__(help=help, cls=PanelGroup, no_args_is_help=True, rich_markup_mode=None, **more)

    def command(
        self,
        name: str | None = None,
        *,
        cls: type[TyperCommand] | None = None,
        **more: Any,  # noqa: ANN401 - whatever typer takes
    ) -> Callable[[Verb], Verb]:
        """Register a verb, as typer does."""
        return super().command(name, cls=cls or PanelCommand, **more)


def _write(formatter: Any, sections: dict[str, list[tuple[str, str]]]) -> None:  # noqa: ANN401
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _refuse(ctx: Any, typed: str) -> NoReturn:  # noqa: ANN401 - typer's own is private
    here = ctx.command_path
    lines = [" ".join(("glacierflow", *path)) for path in _meant(ctx.find_root().command, ctx.command, typed)]
    raise UsageError(
        f"there is no command `{here} {typed}`",
        next_step=f"did you mean {' or '.join(f'`{line}`' for line in lines[:_MOST_LINES])}?"
        if lines
        else f"see `{here} --help`",
    )


def _meant(root: PanelGroup, here: Any, typed: str) -> list[tuple[str, ...]]:  # noqa: ANN401 - as above
    """Paths of the verbs that may have been meant: of this name elsewhere, or spelled nearly so."""
    paths = list(_paths(root))
    at = next((path for path, command in paths if command is here), ())
    named = [path for path, _ in paths if path[-1] == typed]
    if named:
        # verbs of runs are the same at the top
        return [path for path in named if path[0] != "batch" or (typed,) not in named]
    near = [name for name in getattr(here, "commands", {}) if name in _close(typed, here.commands)]
    if near:
        return [(*at, name) for name in near]
    close = _close(typed, {path[-1] for path, _ in paths})
    return [path for name in close for path, _ in paths if path[-1] == name]


def _close(typed: str, names: Any) -> list[str]:  # noqa: ANN401 - any collection of words
    return get_close_matches(typed, list(names), n=_MOST_LINES, cutoff=0.7)


def _paths(group: Any, *before: str) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - as above
    """Every verb and group with its path, those at the top first."""
    for name, command in group.commands.items():
        if not command.hidden:
            yield (*before, name), command
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _paths(command, *before, name)
