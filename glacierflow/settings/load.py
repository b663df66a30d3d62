"""Settings from all sources, in order of precedence, each with where it came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from glacierflow.errors import SettingsError
from glacierflow.model.manifest import SettingsSource
from glacierflow.outside import told
from glacierflow.settings.fields import Ignored, MappedValues
from glacierflow.settings.models import Section, Settings, iter_fields, section_attribute
from glacierflow.settings.sources import (
    COMMAND_LINE,
    Given,
    IniFile,
    Key,
    Layer,
    Source,
    command_line,
    environment,
    files,
)

DEFAULT = "default"

_CHOSEN_TOGETHER = ("REGIONS", "PATHS")
"""Sections whose keys exclude each other: the strongest source that gives one replaces all of them."""

_PLACEHOLDERS = ("123456789012", "YOUR_ACCOUNT_ID")
"""The account of AWS's own examples, and what the predecessor's file has in its place."""

_Marker = TypeVar("_Marker", Ignored, MappedValues)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, and what there is to say about them."""

    settings: Settings
    origins: dict[str, str]
    """``SECTION.key`` -> ``default``, a file, ``environment NAME``, ``command line`` or ``the event``."""
    notices: tuple[str, ...]
    """Sentences for the user: what was ignored, mapped or unknown."""
    source: SettingsSource | None = None
    """The config.ini in S3 they were taken from, where they were."""


@dataclass(frozen=True, slots=True)
class Examination:
    """As ``LoadedSettings``, also where values are refused: ``problems`` has one sentence each."""

    settings: Settings | None
    origins: dict[str, str]
    notices: tuple[str, ...]
    problems: tuple[str, ...]


def load_settings(
    *,
    config: Path | IniFile | None = None,
    aws_config: Path | IniFile | None = None,
    overrides: Mapping[str, str | bool | int | None] | None = None,
    said_by: str = COMMAND_LINE,
    environ: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """Settings by precedence: overrides, environment, files, defaults.

    Args:
        config: path of config.ini, or its content where it came from elsewhere; None takes ``./config.ini``
            where it exists, else the defaults.
        aws_config: the same for aws_config.ini.
        overrides: command-line options by ``SECTION.key``; None means not given.
        said_by: who gave the overrides where it was not the command line, for messages.
        environ: the environment; None takes the process's own.

    Raises:
        SettingsError: a file cannot be read, or values are refused; all of them are named.
    """
    found = examine_settings(
        config=config, aws_config=aws_config, overrides=overrides, said_by=said_by, environ=environ
    )
    if found.settings is None:
        several = len(found.problems) > 1
        message = "\n  ".join([f"{len(found.problems)} settings are refused:", *found.problems])
        raise SettingsError(
            message if several else found.problems[0],
            next_step="every key is in docs/reference/configuration.md; then run `glacierflow config check`",
        )
    return LoadedSettings(found.settings, found.origins, found.notices)


def examine_settings(
    *,
    config: Path | IniFile | None = None,
    aws_config: Path | IniFile | None = None,
    overrides: Mapping[str, str | bool | int | None] | None = None,
    said_by: str = COMMAND_LINE,
    environ: Mapping[str, str] | None = None,
) -> Examination:
    """As ``load_settings``, but refused values are reported instead of raised.

    Raises:
        SettingsError: a file cannot be read at all.
    """
    notices: list[str] = []
    given = _strongest(
        files(config, aws_config, notices),
        environment(os.environ if environ is None else environ, notices),
        command_line(overrides or {}, said_by),
    )
    given = _mapped(_without_placeholders(given, notices), notices)
    origins = {f"{section}.{key}": _origin(given.get((section, key))) for section, key, _ in iter_fields()}
    sections: dict[str, Section] = {}
    problems: list[str] = []
    for attribute, field in Settings.model_fields.items():
        section = attribute.rstrip("_").upper()
        values = {key: item for (of, key), item in given.items() if of == section}
        model: Any = field.annotation
        try:
            sections[attribute] = model(**{key: item.value for key, item in values.items()})
        except ValidationError as error:
            problems += _problems(section, values, error)
    if problems:
        return Examination(None, origins, tuple(notices), tuple(problems))
    settings = Settings.model_validate(sections)
    notices += _ignored(settings, given)
    return Examination(settings, origins, tuple(notices), ())


def _strongest(*weak_to_strong: Layer) -> Layer:
    merged: Layer = {}
    for layer in weak_to_strong:
        replaced = {section for section, _ in layer if section in _CHOSEN_TOGETHER}
        merged = {key: item for key, item in merged.items() if key[0] not in replaced} | layer
    return merged


def _without_placeholders(given: Layer, notices: list[str]) -> Layer:
    found: dict[str, list[str]] = {}
    for (_, key), item in given.items():
        if _is_placeholder(item):
            found.setdefault(item.source.name, []).append(key)
    for name, keys in found.items():
        notices.append(
            f"{name}: {', '.join(keys)} {_has(keys)} the example's account number and count as not given"
        )
    return {key: item for key, item in given.items() if not _is_placeholder(item)}


def _has(keys: list[str]) -> str:
    return "has" if len(keys) == 1 else "have"


def _is_placeholder(item: Given) -> bool:
    return isinstance(item.value, str) and any(mark in item.value for mark in _PLACEHOLDERS)


def _mapped(given: Layer, notices: list[str]) -> Layer:
    mapped = dict(given)
    for key, marker in _marked(MappedValues):
        item = given.get(key)
        new = marker.values.get(str(item.value).lower()) if item else None
        if item and new:
            mapped[key] = Given(new, item.source)
            notices.append(
                f"{item.source.name}: [{key[0]}] {key[1]} = {item.value} is taken as {new}: {marker.why}"
            )
    return mapped


def _ignored(settings: Settings, given: Layer) -> Iterator[str]:
    """One sentence a source, section and reason for keys that are set to something and have no effect."""
    defaults = Settings()
    groups: dict[tuple[Source, str, str], list[str]] = {}
    for (section, key), marker in _marked(Ignored):
        item, attribute = given.get((section, key)), section_attribute(section)
        if item and getattr(getattr(settings, attribute), key) != getattr(getattr(defaults, attribute), key):
            groups.setdefault((item.source, section, marker.why), []).append(key)
    for (source, section, why), keys in groups.items():
        yield f"{source.name}: [{section}] {', '.join(keys)}: read and ignored, {why}"


def _marked(kind: type[_Marker]) -> Iterator[tuple[Key, _Marker]]:
    for section, key, field in iter_fields():
        for mark in field.metadata:
            if isinstance(mark, kind):
                yield (section, key), mark


def _problems(section: str, values: dict[str, Given], error: ValidationError) -> Iterator[str]:
    seen = set()
    for detail in error.errors():
        # `X | None` also reports that the value is not None; the other half says what is wrong.
        if detail["type"] != "value_error" or detail["loc"][:1] in seen:
            continue
        seen.add(detail["loc"][:1])
        yield _sentence(section, values, detail)


def _sentence(section: str, values: dict[str, Given], detail: ErrorDetails) -> str:
    accepted = detail["ctx"]["error"]
    if not detail["loc"]:
        names = sorted({item.source.name for item in values.values()})
        return f"{' and '.join(names)}: [{section}] {accepted}"
    key = str(detail["loc"][0])
    item = values[key]
    return told(f"{item.source.name}: [{section}] {key} = {item.value} is refused: {accepted}")


def _origin(item: Given | None) -> str:
    if item is None:
        return DEFAULT
    return f"environment {item.source.name}" if item.source.kind == "environment" else item.source.name
