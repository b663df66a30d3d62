"""The kinds of value a setting can have, each with a refusal that says what is accepted.

A validator's ``ValueError`` is completed by the loader with file, section, key and value, so the texts here
say only what is accepted.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from glacierflow.outside import has_secret


@dataclass(frozen=True, slots=True)
class Ignored:
    """Marks a key that is read, so that old files work, and has no effect."""

    why: str


@dataclass(frozen=True, slots=True)
class MappedValues:
    """Marks a key some of whose old values mean nothing to AWS; they are replaced, with a notice."""

    values: dict[str, str]
    why: str


_FLAGS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_MEMORY = re.compile(r"(?P<number>\d+)(?P<unit>[KMGT]?)B?", re.IGNORECASE)
_MB_PER_UNIT = {"K": 1 / 1024, "M": 1, "": 1, "G": 1024, "T": 1024 * 1024}


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean a or b?`` for the known words close to ``word``, else an empty string."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = [by_lower[found] for found in difflib.get_close_matches(word.lower(), by_lower, n=2)]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _flag(value: Any) -> bool:  # noqa: ANN401 - whatever was written
    if isinstance(value, bool):
        return value
    try:
        return _FLAGS[str(value).lower()]
    except KeyError:
        raise ValueError("accepted are 1, true, yes, on and 0, false, no, off") from None


def _day(value: Any) -> dt.date:  # noqa: ANN401
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    # fromisoformat also takes 20240701 and 2024-W27, which nobody here means.
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value), re.ASCII):
        try:
            return dt.date.fromisoformat(str(value))
        except ValueError:
            raise ValueError("there is no such day; write a date as YYYY-MM-DD, e.g. 2024-07-01") from None
    raise ValueError("write a date as YYYY-MM-DD, e.g. 2024-07-01")


def _names(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    words = [value] if isinstance(value, str) else list(value)
    names = tuple(name for word in words for name in re.split(r"[,\s]+", word) if name)
    if not names:
        raise ValueError("name at least one, separated by commas")
    return names


def _index_range(value: Any) -> str:  # noqa: ANN401
    text = re.sub(r"\s", "", str(value))
    if not re.fullmatch(r"-?\d*:-?\d*", text, re.ASCII):
        raise ValueError("write an index range as A:B, 65: or :10 (a Python slice of the regions, by name)")
    return text


def _memory(value: Any) -> str:  # noqa: ANN401
    text = str(value)
    if not _MEMORY.fullmatch(text) or memory_in_mb(text) < 1:
        raise ValueError("write memory as a number and a unit, e.g. 60G or 4096M")
    return text


def memory_in_mb(memory: str) -> int:
    """``60G`` in MB of 2**20 bytes; a bare number is MB, as SLURM has it."""
    match = _MEMORY.fullmatch(memory)
    if match is None:
        msg = f"{memory!r} is not an amount of memory"
        raise ValueError(msg)
    return int(int(match["number"]) * _MB_PER_UNIT[match["unit"].upper()])


def _whole(value: Any) -> int:  # noqa: ANN401
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d+", text, re.ASCII) or int(text) < 1:
        raise ValueError("write a whole number, 1 or more")
    return int(text)


def _number(value: Any) -> float:  # noqa: ANN401
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", str(value), re.ASCII):
        raise ValueError("write a number, 0 or more, e.g. 100 or 0.5")
    return float(value)


def _share(value: Any) -> float:  # noqa: ANN401
    try:
        share = _number(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError("write a share between 0 and 1, e.g. 0.5")
    return share


def _text(value: Any) -> str:  # noqa: ANN401
    text = str(value).strip()
    if not text:
        raise ValueError("write something")
    return text


def _url(value: Any) -> str:  # noqa: ANN401
    if not re.fullmatch(r"https?://[^\s/]+\S*", str(value)):
        raise ValueError("write an address that starts with https:// or http://")
    if has_secret(str(value)):
        raise ValueError(
            "write the address without user, password and signature: it is kept in the manifest of each run"
        )
    return str(value)


def _key_prefix(value: Any) -> str:  # noqa: ANN401
    text = str(value).strip("/")
    if not re.fullmatch(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*", text) or ".." in text.split("/"):
        raise ValueError("write a path below the bucket of letters, digits, - _ . and /, without ..")
    return text


def _account_id(value: Any) -> str:  # noqa: ANN401
    if not re.fullmatch(r"\d{12}", str(value), re.ASCII):
        raise ValueError("an AWS account id has 12 digits")
    return str(value)


def one_of(*accepted: str) -> BeforeValidator:
    """Exactly one of these words, in any case."""
    by_lower = {word.lower(): word for word in accepted}

    def check(value: Any) -> str:  # noqa: ANN401
        try:
            return by_lower[str(value).lower()]
        except KeyError:
            raise ValueError(f"accepted: {', '.join(accepted)}{nearest(str(value), accepted)}") from None

    return BeforeValidator(check)


def some_of(*accepted: str) -> BeforeValidator:
    """One or more of these words, separated by commas or spaces."""

    def check(value: Any) -> tuple[str, ...]:  # noqa: ANN401
        chosen = _names(value)
        for word in chosen:
            if word not in accepted:
                raise ValueError(f"accepted, one or more: {', '.join(accepted)}{nearest(word, accepted)}")
        return chosen

    return BeforeValidator(check)


Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Day = Annotated[dt.date, BeforeValidator(_day)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
IndexRange = Annotated[str, BeforeValidator(_index_range)]
Memory = Annotated[str, BeforeValidator(_memory)]
Whole = Annotated[int, BeforeValidator(_whole)]
Amount = Annotated[float, BeforeValidator(_number)]
Share = Annotated[float, BeforeValidator(_share)]
Url = Annotated[str, BeforeValidator(_url)]
KeyPrefix = Annotated[str, BeforeValidator(_key_prefix)]
AccountId = Annotated[str, BeforeValidator(_account_id)]
Folder = Annotated[Path, BeforeValidator(lambda value: Path(_text(value)).expanduser())]
