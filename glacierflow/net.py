"""One request over the network, tried again: deadline, jitter, Retry-After, and what a failure means.

Used by everything that asks a server by itself (STAC APIs, image servers), and where botocore's own tries do
not reach (credentials, bodies of objects). Time passes on ``CLOCK``.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import json
import logging
import math
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from glacierflow.faults import Fault, Remedy
from glacierflow.outside import told

if TYPE_CHECKING:
    from requests import Response
    from urllib3 import BaseHTTPResponse


log = logging.getLogger("glacierflow")

_T = TypeVar("_T")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_PIECE_BYTES = 1 << 18
"""Bytes read between two looks at the deadline."""
_PACKED_BYTES = 1 << 14
"""The same of a body that is unpacked, to a thousand times as much."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from."""

    now: Callable[[], float] = time.monotonic
    """Seconds since any moment."""
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    """A number from 0 to 1."""


CLOCK = Clock()
"""The clock of all waits; tests put another in its place, so that nothing waits."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is sent, and until when."""

    attempts: int
    ends: float = math.inf
    """Moment of ``CLOCK`` after which nothing is tried again."""

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return max(0.0, self.ends - CLOCK.now())


def persist(
    work: Callable[[], _T], patience: Patience, what: str, renew: Callable[[], bool] | None = None
) -> _T:
    """Do some work until it succeeds or no further try is worth it.

    Args:
        work: one try; it raises ``Fault`` where it fails.
        patience: how often, until when.
        what: the object of the request, for the log.
        renew: gets fresh credentials; False where there can be no others.

    Raises:
        Fault: the last one; ``tries`` in it says how often was asked.
    """
    for tried in range(1, max(1, patience.attempts) + 1):
        try:
            return work()
        except Fault as fault:
            # Jitter, so that a thousand children do not come back at the same moment.
            longest = min(_FIRST_WAIT_S * 2 ** (tried - 1), _LONGEST_WAIT_S)
            pause = max(fault.wait_s, (0.5 + CLOCK.chance() / 2) * longest)
            fault.tries = tried
            if tried >= patience.attempts or pause > patience.left_s or not _is_worth_it(fault, tried, renew):
                raise
            log.info("%s: %s; asked again in %.1f s", told(what), fault, pause)
        CLOCK.sleep(pause)
    raise AssertionError("unreachable")


def _is_worth_it(fault: Fault, tried: int, renew: Callable[[], bool] | None) -> bool:
    if fault.was_tried:
        return False
    match fault.remedy:
        case Remedy.AGAIN:
            return True
        case Remedy.FRESH:
            return renew is not None and renew()
        case Remedy.SCENE | Remedy.NEVER:
            return fault.is_odd and tried == 1
        case Remedy.LESS:
            return False


def pieces(response: BaseHTTPResponse, most: int | None, ends: float, *, decode: bool) -> Iterator[bytes]:
    """The body of an answer as it comes, until a deadline.

    ``read1`` returns what has come; ``read`` would wait for all of it, past the deadline.

    Args:
        response: whose content was not read yet.
        most: bytes wanted; None: all.
        ends: moment of ``CLOCK`` by which it must have come.
        decode: whether compression is undone.

    Raises:
        Fault: the time is up. urllib3 raises what the connection does.
    """
    begun, have = CLOCK.now(), 0
    while most is None or have < most:
        longest = _PACKED_BYTES if decode else _PIECE_BYTES
        wanted = longest if most is None else min(longest, most - have)
        piece = response.read1(wanted, decode_content=decode)
        if not piece:
            return
        yield piece
        have += len(piece)
        if CLOCK.now() > ends:
            raise Fault(Remedy.AGAIN, f"not finished after {CLOCK.now() - begun:.0f} s")


def redirection(status: int, location: str | None, url: str, asked: str) -> str | None:
    """Where an answer sends its reader; None where it does not.

    Args:
        status: of the answer.
        location: its header.
        url: what was asked for.
        asked: the same before any redirect.

    Raises:
        Fault: to where nothing is read for that server.
    """
    if status not in _REDIRECTS or not location:
        return None
    target = urljoin(url, location)
    if not target.startswith(("http://", "https://")) or not may_open(target, asked):
        raise Fault(Remedy.SCENE, "it is sent on to a place that is not opened for it")
    return target


def follow(send: Callable[[str, str], Response], method: str, url: str) -> Response:
    """Send a request, and again to where it is sent on; the body of the answer is still to be read.

    Args:
        send: sends one request of a method to a URL.
        method: of the first.
        url: of the first.

    Raises:
        Fault: it is sent on without end, or to where nothing is read for that server.
    """
    asked = url
    for _ in range(MAX_REDIRECTS + 1):
        answer = send(method, url)
        target = redirection(answer.status_code, answer.headers.get("Location"), url, asked)
        if target is None:
            return answer
        # its body is not waited for
        answer.close()
        url = target
        method = method if answer.status_code in _KEEPING_THE_METHOD else "GET"
    raise Fault(Remedy.AGAIN, "too many redirects")


class TooLong(Exception):  # noqa: N818 - says what the answer is
    """An answer that nobody should have to hold in memory."""


def whole(response: BaseHTTPResponse, ends: float, most: int) -> bytes:
    """The whole body of an answer, uncompressed.

    Raises:
        Fault: the time is up.
        TooLong: it has more bytes than that.
    """
    said = bytearray()
    for piece in pieces(response, None, ends, decode=True):
        said += piece
        if len(said) > most:
            raise TooLong(f"its answer is longer than {most} bytes")
    return bytes(said)


class Reach(enum.IntEnum):
    """From where an address can be reached; a server may send its readers no further inwards than it is."""

    PUBLIC = 0
    PRIVATE = 1
    """A network of somebody's own."""
    LOOPBACK = 2
    """This machine."""
    LINK_LOCAL = 3
    """The machine's own wire, where clouds hand out credentials; never opened."""


MAX_REDIRECTS = 3
_KEEPING_THE_METHOD = frozenset({307, 308})
_REDIRECTS = _KEEPING_THE_METHOD | {301, 302, 303}
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_DEEPEST = 32
"""Levels of a page: items have eight."""
_METADATA = frozenset({"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"})
"""Where clouds answer like a link-local address, and are none."""


def reach_of(url: str) -> Reach:
    """The innermost of the addresses that a URL's host has; public where nobody knows the host.

    A path or a ``file:`` URL is on this machine.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return Reach.PUBLIC if parts.scheme == "s3" else Reach.LOOPBACK
    try:
        return _reach_of_host(parts.hostname or "localhost")
    except (OSError, UnicodeError):
        return Reach.PUBLIC


@functools.lru_cache(maxsize=1024)
def _reach_of_host(host: str) -> Reach:
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    return max((_reach_of_address(address) for address in found), default=Reach.PUBLIC)


def _reach_of_address(text: str) -> Reach:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_link_local or str(address) in _METADATA:
        return Reach.LINK_LOCAL
    if address.is_loopback or address.is_unspecified:
        return Reach.LOOPBACK
    return Reach.PRIVATE if address.is_private else Reach.PUBLIC


def may_open(url: str, asked: str) -> bool:
    """Whether what a server names may be opened: nothing further inwards than the server itself.

    Args:
        url: what it names: an image, or the target of a redirect.
        asked: the server's own URL.
    """
    wanted = reach_of(url)
    return wanted is Reach.PUBLIC or (wanted is not Reach.LINK_LOCAL and reach_of(asked) >= wanted)


def retry_after(header: str | None) -> float:
    """Seconds that a ``Retry-After`` header asks for, given as a number or a date; 0 without a proper one."""
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    try:
        return (Retry().parse_retry_after(header) or 0.0) if header else 0.0
    except InvalidHeader:
        return 0.0


def read_json(said: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """JSON whose numbers are finite; what is not becomes null.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(said, parse_constant=lambda _: None, parse_float=_finite)


def shallow(said: bytes) -> bytes:
    """JSON with null in the place of what is nested too deep: an odd field costs no more than itself."""
    return _cut(said) if _depth(said) > _DEEPEST else said


def _depth(said: bytes) -> int:
    """How deep brackets are nested at most; those within strings count, which only costs a second look."""
    import numpy as np

    steps = np.zeros(256, np.int8)
    steps[list(b"[{")], steps[list(b"]}")] = 1, -1
    depths = np.cumsum(steps[np.frombuffer(said, np.uint8)], dtype=np.int32)
    return int(depths.max(initial=0))


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _cut(said: bytes) -> bytes:
    parts: list[bytes] = []
    depth = kept = 0
    for found in _TOKEN.finditer(said):
        if found[0] in b"[{":
            depth += 1
            if depth == _DEEPEST + 1:
                parts.append(said[kept : found.start()] + b"null")
        elif found[0] in b"]}":
            if depth == _DEEPEST + 1:
                kept = found.end()
            depth -= 1
    return b"".join(parts) + (said[kept:] if depth <= _DEEPEST else b"")
