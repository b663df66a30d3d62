"""The options that many verbs have, written once and handed to a verb as one ``CommandLine``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Concatenate, ParamSpec, TypeVar

from glacierflow.cli import options as o
from glacierflow.cli.context import CommandLine

__all__ = ["CONNECTION", "DATES", "REGIONS", "collects"]

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = {
    "satellite": o.SatelliteOption,
    "regions": o.RegionsOption,
    "start_end_index": o.IndexRangeOption,
    "regions_file": o.RegionsFileOption,
    "date1": o.Date1Option,
    "date2": o.Date2Option,
    "accept_all": o.AllOption,
    "dry_run": o.DryRunOption,
    "reprocess": o.ReprocessOption,
    "local": o.LocalOption,
    "archive": o.ArchiveOption,
    "live_imagery": o.LiveImageryOption,
    "config": o.ConfigOption,
    "aws_config": o.AwsConfigOption,
    "profile": o.ProfileOption,
    "aws_region": o.AwsRegionOption,
    "s3_bucket": o.BucketOption,
    "quiet": o.QuietOption,
}
REGIONS = ("satellite", "start_end_index", "regions", "regions_file")
DATES = ("date1", "date2")
CONNECTION = ("local", "config", "aws_config", "profile", "aws_region", "quiet")


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
