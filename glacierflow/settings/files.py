"""Reading an ini file into plain (section, key) -> text, with clear refusals."""

from __future__ import annotations

import configparser
import hashlib
from dataclasses import dataclass
from pathlib import Path

from glacierflow.errors import SettingsError
from glacierflow.manifest import SettingsSource

__all__ = ["IniFile", "parse_ini", "read_ini", "settings_of_object"]


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
