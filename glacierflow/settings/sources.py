"""What each source says, from weak to strong: the two files, the environment, the command line."""

from __future__ import annotations

import configparser
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glacierflow.errors import SettingsError
from glacierflow.model.manifest import SettingsSource
from glacierflow.settings.fields import nearest
from glacierflow.settings.models import iter_fields

Key = tuple[str, str]
"""(section, key), e.g. ("DATES", "date1")."""

COMMAND_LINE = "command line"
EVENT = "the event"

_KEYS = [(section, key) for section, key, _ in iter_fields()]
_SECTIONS = list(dict.fromkeys(section for section, _ in _KEYS))
_IN_CONFIG_INI = ("REGIONS", "DATES", "PATHS", "FLAGS", "SETTINGS", "IMAGERY")

_SPELLED: dict[Key, Key] = {("BATCH", "spot"): ("COST_OPTIMIZATION", "use_spot_instances")}
"""Keys of files that say what another says."""

_PREFIX = "GLACIERFLOW_"
_NOT_SETTINGS = (
    *("CONFIG", "AWS_CONFIG", "HOME", "MANIFEST", "INDEX", "SLOT_OFFSET", "RUN_ID", "EMBEDDED"),
    *("BASE_IMAGE", "ENGINE_HOME", "COMPILED", "SCHEDULE_SERVICE", "TESTS_WITHOUT_DATA"),
)
_NOT_SETTINGS_PREFIX = "IMAGERY_AWS_"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from: a file's name, a variable's name, or ``command line``."""

    kind: str
    """``file``, ``environment`` or ``command line``."""
    name: str


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written."""

    value: Any
    source: Source


Layer = dict[Key, Given]


def files(config: Path | IniFile | None, aws_config: Path | IniFile | None, notices: list[str]) -> Layer:
    """Both files as one layer. A section counts in either file; the file where it belongs wins.

    Args:
        config: path of config.ini, or its content where it came from elsewhere; None takes the one in the
            working directory, if there is one.
        aws_config: the same for aws_config.ini.
        notices: what the user should be told is appended here.

    Raises:
        SettingsError: a named file is missing, or a file cannot be read.
    """
    main = _known(_read(config, "config.ini", notices), notices)
    aws = _known(_read(aws_config, "aws_config.ini", notices), notices)
    layer: Layer = {}
    for key in main | aws:
        home, away = (main, aws) if key[0] in _IN_CONFIG_INI else (aws, main)
        layer[key] = home.get(key) or away[key]
        if key in home and key in away:
            notices.append(
                f"[{key[0]}] {key[1]} is in {away[key].source.name} and in {home[key].source.name}; "
                f"the one in {home[key].source.name} counts"
            )
    return layer


def environment(environ: Mapping[str, str], notices: list[str]) -> Layer:
    """``GLACIERFLOW_<KEY>`` and ``GLACIERFLOW_<SECTION>_<KEY>``; the longer one wins, empty is not given."""
    layer: Layer = {}
    known: set[str] = set()
    for section, key in _KEYS:
        # Keys are unique over all sections, so the short name is never ambiguous.
        for variable in (f"{_PREFIX}{key.upper()}", f"{_PREFIX}{section}_{key.upper()}"):
            known.add(variable)
            if environ.get(variable, "").strip():
                layer[section, key] = Given(environ[variable].strip(), Source("environment", variable))
    for variable in sorted(environ):
        name = variable.removeprefix(_PREFIX)
        if name == variable or variable in known or name in _NOT_SETTINGS:
            continue
        if not name.startswith(_NOT_SETTINGS_PREFIX):
            notices.append(f"the environment variable {variable} is no setting{nearest(variable, known)}")
    return layer


def command_line(overrides: Mapping[str, str | bool | int | None], said_by: str = COMMAND_LINE) -> Layer:
    """Options by ``SECTION.key``; None is an option that was not given.

    Args:
        overrides: the options.
        said_by: who gave them, for messages: the event, where a function is asked.

    Raises:
        SettingsError: there is no such setting.
    """
    layer: Layer = {}
    for name, value in overrides.items():
        section, _, key = name.partition(".")
        section = section.upper()
        if (section, key) not in _KEYS:
            raise SettingsError(f"there is no setting {name}{nearest(name, ['.'.join(k) for k in _KEYS])}")
        if value is not None:
            layer[section, key] = Given(value, Source(COMMAND_LINE, said_by))
    return layer


def _read(path: Path | IniFile | None, usual: str, notices: list[str]) -> IniFile | None:
    if isinstance(path, IniFile):
        return path
    if path is None:
        if not Path(usual).exists():
            notices.append(f"there is no {usual} in this directory; its keys have their defaults")
            return None
        path = Path(usual)
    return read_ini(path)


def _known(file: IniFile | None, notices: list[str]) -> Layer:
    """The file's values that are settings; of the rest, a notice."""
    layer: Layer = {}
    if file is None:
        return layer
    for section, values in file.sections.items():
        if section not in _SECTIONS:
            hint = nearest(section, _SECTIONS)
            notices.append(f"{file.name}: there is no section [{section}]; it has no effect{hint}")
            continue
        for key, value in values.items():
            if (section, key) in _KEYS:
                layer[section, key] = Given(value, Source("file", file.name))
            elif (section, key) in _SPELLED:
                of, meant = _SPELLED[section, key]
                if meant not in file.sections.get(of, {}):
                    layer[of, meant] = Given(value, Source("file", file.name))
                notices.append(f"{file.name}: [{section}] {key} is taken as {meant} of [{of}], which counts")
            else:
                hint = _nearest_key(section, key)
                notices.append(f"{file.name}: [{section}] has no key {key}; it has no effect{hint}")
    return layer


def _nearest_key(section: str, key: str) -> str:
    """A key spelled right but in the wrong section is named with its section."""
    for of, known in _KEYS:
        if known == key:
            return f"; it belongs in [{of}]"
    return nearest(key, [known for of, known in _KEYS if of == section])


@dataclass(frozen=True, slots=True)
class IniFile:
    """What one file says; keys in lower case, empty values left out."""

    name: str
    sections: dict[str, dict[str, str]]


def read_ini(path: Path) -> IniFile:
    """Read an ini file without interpolation, inline comments stripped.

    Raises:
        SettingsError: the file is missing, unreadable, not text, or not INI.
    """
    return parse_ini(_read_text(path), str(path))


def parse_ini(text: str, name: str) -> IniFile:
    """The same from text that came from elsewhere, under the name it has there.

    Raises:
        SettingsError: it is not INI.
    """
    if "\0" in text:
        raise SettingsError(f"{name} is not a text file", next_step="name an INI file")
    # The default section would copy its keys into every other; here [DEFAULT] is a section like any.
    parser = configparser.ConfigParser(
        interpolation=None,
        inline_comment_prefixes=("#", ";"),
        empty_lines_in_values=False,
        default_section="\0",
    )
    try:
        parser.read_string(text, source=name)
    except configparser.Error as error:
        raise SettingsError(
            f"{name} is not an INI file: {_where(error)}",
            next_step="write [SECTION] lines and `key = value` lines, each section and key once",
        ) from error
    sections = {
        section: {key: value for key, value in parser[section].items() if value}
        for section in parser.sections()
    }
    return IniFile(name, sections)


def settings_of_object(
    uri: str, content: bytes, version_id: str | None = None
) -> tuple[IniFile, SettingsSource]:
    """What an object in S3 says, and which one it was, for the manifest.

    Raises:
        SettingsError: it is not text, or not INI.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{uri} is not a text file in UTF-8", next_step="upload it as UTF-8") from error
    source = SettingsSource(uri=uri, sha256=hashlib.sha256(content).hexdigest(), version_id=version_id)
    return parse_ini(text, uri), source


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SettingsError(
            f"there is no file {path}", next_step="check the path given with --config or --aws-config"
        ) from error
    except IsADirectoryError as error:
        raise SettingsError(
            f"{path} is a directory, not an INI file", next_step="name the file in it"
        ) from error
    except PermissionError as error:
        raise SettingsError(f"{path} may not be read", next_step=f"chmod u+r {path}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is not a text file in UTF-8", next_step="save it as UTF-8 text"
        ) from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error


def _where(error: configparser.Error) -> str:
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno} gives {error.option} of [{error.section}] a second time"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno} opens [{error.section}] a second time"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before the first [SECTION]"
    if isinstance(error, configparser.ParsingError) and error.errors:
        return f"line {error.errors[0][0]} is neither a [SECTION] nor `key = value`"
    return error.message
