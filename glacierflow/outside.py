"""What text from outside may become: part of a path, a kept address, a line on a terminal, a cell of a table.

Outside are STAC items, answers of servers, keys of objects, tags of images, and records that others may have
written. They are checked or cleaned at the door, so that nothing behind it has to distrust them.
"""

from __future__ import annotations

import re
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

_T = TypeVar("_T")

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
"""A file's or folder's name: letters, digits, ``.``, ``_`` and ``-``, a letter or digit first."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`]+")
_SIGNED = re.compile(
    r"(?:^|[&;])(?:x-(?:amz|goog)-[^=&]*|awsaccesskeyid|signature|policy|key-pair-id|sig|sv|se|"
    r"[^=&]*(?:token|secret|password|passwd|apikey|api_key|api-key|credential)[^=&]*)=",
    re.IGNORECASE,
)
"""Parameters of signed addresses: Amazon S3, CloudFront, Google, Azure, and what servers call their keys."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Control characters other than tab and line feed, and those that turn or break the direction of text."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that begins with one of these is run by spreadsheets (OWASP, "CSV Injection")."""
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def leaves_root(key: str) -> bool:
    """Whether a key below a bucket or directory names something outside of it, or cannot be a path at all."""
    return key.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", key) or bool(_UNPRINTABLE.search(key))


def without_secrets(text: str) -> str:
    """A text whose addresses have neither ``user:password@`` nor a signature."""
    return _URL.sub(lambda found: _bare(found[0]), text) if "://" in text else text


def has_secret(url: str) -> bool:
    """Whether an address has ``user:password@`` or a signature, which must not be kept."""
    return without_secrets(url) != url


def printable(text: str) -> str:
    """A text that cannot steer a terminal: control characters are written as their numbers, e.g. 0x1b."""
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0]), text)


def told(text: str) -> str:
    """A text from outside as it is kept and shown: printable, and without secrets."""
    return printable(without_secrets(text))


def cell(value: _T) -> _T | str:
    """A value for a CSV that people open in a spreadsheet: text that would be run as a formula is quoted."""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # what cannot be taken apart is not kept
        return f"{url.partition('://')[0]}://(not an address)"
    query = "" if _SIGNED.search(parts.query) else parts.query
    host = parts.netloc.rpartition("@")[2]
    if (query, host) == (parts.query, parts.netloc):
        return url
    return urlunsplit((parts.scheme, host, parts.path, query, parts.fragment))


def _escaped(mark: str) -> str:
    return f"\\x{ord(mark):02x}" if ord(mark) <= 0xFF else f"\\u{ord(mark):04x}"
