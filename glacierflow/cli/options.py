"""The options that verbs share, each spelled once, and the ``CommandLine`` that holds the common ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from glacierflow.cli.context import CommandLine
from glacierflow.cli.panels import PanelCommand
from glacierflow.errors import UsageError


def complete_runs(incomplete: str) -> list[str]:
    """Names of runs that were submitted from this machine, newest first; nobody is asked on Tab."""
    from glacierflow.local.control import default_home
    from glacierflow.runs.history import logged_names

    names = ("latest", *logged_names(default_home().parent))
    return [name for name in names if name.startswith(incomplete)]


def complete_regions(incomplete: str) -> list[str]:
    """Names of the packaged regions; of several with commas between them, the last is completed."""
    from glacierflow.regions import load_catalogue

    before, comma, last = incomplete.rpartition(",")
    names = (region.name for region in load_catalogue(None).regions)
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def complete_runs_and_regions(incomplete: str) -> list[str]:
    """Either."""
    return [*complete_runs(incomplete), *complete_regions(incomplete)]


ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="GLACIERFLOW_CONFIG",
        help="Settings file instead of config.ini; also s3://bucket/key.",
    ),
]
AwsConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--aws-config",
        metavar="FILE",
        envvar="GLACIERFLOW_AWS_CONFIG",
        help="Settings file instead of aws_config.ini.",
    ),
]
ProfileOption = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="AWS profile.")]
AwsRegionOption = Annotated[str | None, typer.Option("--aws-region", metavar="NAME", help="AWS region.")]
BucketOption = Annotated[
    str | None, typer.Option("--s3-bucket", metavar="NAME", help="Bucket for all outputs.")
]
LocalOption = Annotated[
    bool, typer.Option("--local", help="Use the embedded cloud on this machine instead of AWS.")
]
ArchiveOption = Annotated[
    Path | None,
    typer.Option("--archive", metavar="DIR", help="With --local: images to serve; default a made-up sample."),
]
LiveImageryOption = Annotated[
    bool, typer.Option("--live-imagery", help="With --local: keep the real STAC endpoints and images.")
]
RegionsOption = Annotated[
    str | None,
    typer.Option(
        "--regions",
        "--region",
        metavar="A,B",
        help="Names of regions, separated by commas.",
        autocompletion=complete_regions,
    ),
]
IndexRangeOption = Annotated[
    str | None,
    typer.Option(
        "--start-end-index",
        "--start_end_index",
        metavar="A:B",
        help="Slice of the regions sorted by name, e.g. 0:23, 65: or :10.",
    ),
]
RegionsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--regions-file", metavar="FILE", help="Another catalogue: CSV, GeoPackage, GeoJSON, Shapefile."
    ),
]
SatelliteOption = Annotated[
    str | None, typer.Option("--satellite", metavar="NAME", help="sentinel2 or landsat.")
]
Date1Option = Annotated[
    str | None, typer.Option("--date1", metavar="YYYY-MM-DD", help="First day, included.")
]
Date2Option = Annotated[str | None, typer.Option("--date2", metavar="YYYY-MM-DD", help="Last day, included.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, everything else on stderr.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices.")]
AllOption = Annotated[
    bool,
    typer.Option("--all", "--yes", "-y", help="If no region is named, process all without asking."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[
    bool | None,
    typer.Option(
        "--dry-run/--no-dry-run",
        help="Show what would be done; needs neither network nor credentials, except for --missing and "
        "--price. Also takes true or false.",
        show_default=False,
    ),
]
ReprocessOption = Annotated[
    bool, typer.Option("--reprocess", help="Replace products made from other sources or settings.")
]

_DRY_RUN_WORDS = {
    **dict.fromkeys(("true", "1", "yes"), "--dry-run"),
    **dict.fromkeys(("false", "0", "no"), "--no-dry-run"),
}

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = {
    "satellite": SatelliteOption,
    "regions": RegionsOption,
    "start_end_index": IndexRangeOption,
    "regions_file": RegionsFileOption,
    "date1": Date1Option,
    "date2": Date2Option,
    "accept_all": AllOption,
    "dry_run": DryRunOption,
    "reprocess": ReprocessOption,
    "local": LocalOption,
    "archive": ArchiveOption,
    "live_imagery": LiveImageryOption,
    "config": ConfigOption,
    "aws_config": AwsConfigOption,
    "profile": ProfileOption,
    "aws_region": AwsRegionOption,
    "s3_bucket": BucketOption,
    "quiet": QuietOption,
}
REGIONS = ("satellite", "start_end_index", "regions", "regions_file")
DATES = ("date1", "date2")
CONNECTION = ("local", "config", "aws_config", "profile", "aws_region", "quiet")


class DryRunCommand(PanelCommand):
    """A command whose ``--dry-run`` is a flag that also takes ``true`` or ``false``, as users type it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own is private
        """Turn ``--dry-run false`` and ``--dry-run=false`` into ``--no-dry-run``, then parse."""
        return super().parse_args(ctx, _plain_dry_run(args))


def _plain_dry_run(args: list[str]) -> list[str]:
    plain: list[str] = []
    for word in args:
        name, equals, value = word.partition("=")
        if plain and plain[-1] == "--dry-run" and word.lower() in _DRY_RUN_WORDS:
            plain[-1] = _DRY_RUN_WORDS[word.lower()]
        elif equals and name == "--dry-run" and value.lower() in _DRY_RUN_WORDS:
            plain.append(_DRY_RUN_WORDS[value.lower()])
        elif equals and name == "--dry-run":
            msg = f"--dry-run = {value} is not accepted"
            raise UsageError(msg, next_step="write --dry-run, --dry-run true or --dry-run false")
        else:
            plain.append(word)
    return plain


def collects(
    *names: str, first: tuple[str, ...] = ()
) -> Callable[[Callable[Concatenate[CommandLine, P], R]], Callable[..., R]]:
    """Give a verb these options, which it receives as its first parameter, a ``CommandLine``.

    The options are fields of ``CommandLine``; in ``--help`` those of ``first`` stand before the verb's own,
    the others after them.
    """
    unset = {field.name: field.default for field in fields(CommandLine)}

    def shared(name: str) -> inspect.Parameter:
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=unset[name], annotation=_OPTIONS[name]
        )

    def decorate(verb: Callable[Concatenate[CommandLine, P], R]) -> Callable[..., R]:
        @functools.wraps(verb)
        def typed(**said: object) -> R:
            line = {name: said.pop(name) for name in (*first, *names)}
            return verb(CommandLine(**line), **said)  # type: ignore[arg-type,call-arg]

        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
        ]
        parameters = [*map(shared, first), *own, *map(shared, names)]
        # what typer reads to know a verb's options
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        typed.__annotations__ = {one.name: one.annotation for one in parameters}
        return typed

    return decorate
