"""Byte ranges of images on https, s3 and disk: retried, with a deadline each, counted, never mixed up.

Connections are kept and reused. Every answer is checked to be the range that was asked for, whole, and of the
same version of the file as the answers before it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from glacierflow.errors import CredentialsError, DataError, GlacierflowError, UnavailableError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from glacierflow.aws import Cloud
    from glacierflow.model import StepSettings

__all__ = ["Changed", "Ranges", "Version"]

CONNECTIONS = 16
"""Kept open to each host."""
_CONNECT_TIMEOUT_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 20.0
_PIECE = 1 << 18
"""Bytes read between two looks at the deadline."""
_OK, _PARTIAL, _BEYOND_END, _TOO_MANY = 200, 206, 416, 429
_REFUSED = {401, 403}
_BUSY = {408, 425, _TOO_MANY, 500, 502, 503, 504}


class _Again(Exception):  # noqa: N818 - not an error yet
    """One try failed in a way that another may not."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Changed(DataError):  # noqa: N818 - says what the file did
    """The file is another one than when its header was read."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which file the bytes came from."""

    size: int
    """Bytes of the whole file."""
    etag: str | None


@dataclass
class Ranges:
    """Fetches ranges with the credentials of a cloud; safe to share between threads."""

    cloud: Cloud
    settings: StepSettings
    bytes_read: int = 0
    """Bytes of bodies received, those of failed tries included."""
    requests: int = 0
    """Requests sent, retries included."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def fetch(
        self, href: str, first: int, length: int, *, requester_pays: bool = False, same: Version | None = None
    ) -> tuple[bytes | bytearray, Version]:
        """A range of a file; shorter only where the file ends before.

        Args:
            href: https://, http://, s3://, file:// or a path.
            first: offset of the first byte.
            length: bytes wanted.
            requester_pays: whether the bucket's owner wants the reader to pay.
            same: version that the answer must come from.

        Raises:
            Changed: the file is not the version that was asked for.
            DataError: there is no such file, or the answer is not a range of it.
            CredentialsError: access was refused.
            UnavailableError: no answer after all tries.
        """
        if not href.startswith(("https://", "http://", "s3://")):
            data, version = self._from_disk(href, first, length)
        else:
            data, version = self._with_retries(href, first, length, requester_pays=requester_pays)
        if same is not None and not _is_same(version, same):
            raise Changed(f"{href} could not be read: it changed on the server while it was read")
        return data, version

    def _from_disk(self, href: str, first: int, length: int) -> tuple[bytes | bytearray, Version]:
        try:
            with Path(href.removeprefix("file://")).open("rb") as stream:
                state = os.fstat(stream.fileno())
                data = os.pread(stream.fileno(), length, first)
        except OSError as error:
            raise DataError(f"{href} could not be read: {error.strerror}") from error
        self._count(len(data), 1)
        return data, Version(state.st_size, f"{state.st_mtime_ns}-{state.st_ino}")

    def _with_retries(
        self, href: str, first: int, length: int, *, requester_pays: bool
    ) -> tuple[bytes | bytearray, Version]:
        tries = max(1, self.settings.request_attempts)
        for number in range(tries):
            try:
                return self._once(href, first, length, requester_pays=requester_pays)
            except _Again as failed:
                if number + 1 == tries:
                    raise UnavailableError(
                        f"{href} could not be read: {failed} ({tries} {'try' if tries == 1 else 'tries'})"
                    ) from failed
                # full jitter, so that many children do not come back at the same moment
                longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**number)
                time.sleep(max(failed.wait_s, random.uniform(0, longest)))  # noqa: S311 - no secret
        raise AssertionError("unreachable")

    def _once(
        self, href: str, first: int, length: int, *, requester_pays: bool
    ) -> tuple[bytes | bytearray, Version]:
        import urllib3
        from urllib3.exceptions import HTTPError

        deadline = time.monotonic() + self.settings.request_timeout_s
        url, headers = self._request(href, first, length, requester_pays=requester_pays)
        timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=self.settings.request_timeout_s)
        self._count(0, 1)
        try:
            response = _pool(urlsplit(url).scheme, _proxy(url)).request(
                "GET", url, headers=headers, timeout=timeout, preload_content=False, decode_content=False,
                # tries are counted by who calls; a total would also forbid what redirect allows
                retries=urllib3.Retry(None, connect=0, read=0, redirect=3, other=0, raise_on_status=False),
            )  # fmt: skip
            with _released(response):
                return self._body(response, href, first, length, deadline)
        except HTTPError as error:
            raise _Again(_words(error)) from error

    def _body(
        self, response: BaseHTTPResponse, href: str, first: int, length: int, deadline: float
    ) -> tuple[bytes | bytearray, Version]:
        """The range an answer holds, checked against what was asked for.

        Raises:
            _Again, DataError, CredentialsError: it holds no such range.
        """
        if response.status not in (_OK, _PARTIAL):
            raise self._refusal(response, href, first)
        start, size = _content_range(response)
        if response.status == _OK or start is None or size is None:
            if first:
                raise DataError(f"{href} could not be read: its server does not answer with ranges")
            size = int(response.headers.get("Content-Length", "0"))
        elif start != first:
            raise _Again(f"asked for byte {first}, the answer starts at {start}")
        expected = max(0, min(length, size - first))
        data = bytearray(expected)
        view, have = memoryview(data), 0
        while have < expected:
            # read1 returns what has come; read and readinto would wait for all of it, past the deadline
            piece = response.read1(min(_PIECE, expected - have))
            if not piece:
                raise _Again(f"the answer ended after {have} of {expected} bytes")
            self._count(len(piece), 0)
            view[have : have + len(piece)] = piece
            have += len(piece)
            if time.monotonic() > deadline:
                raise _Again(f"not finished after {self.settings.request_timeout_s:g} s")
        return data, Version(size, response.headers.get("ETag"))

    def _refusal(self, response: BaseHTTPResponse, href: str, first: int) -> GlacierflowError | _Again:
        """What an answer without the range means."""
        said = response.read(4096)
        self._count(len(said), 0)
        status = response.status
        # S3 answers 400 where a session has ended
        if status in _REFUSED or b"<Code>ExpiredToken<" in said:
            return CredentialsError(
                f"{href} could not be read: access was refused (HTTP {status}){_code_in(said)}",
                next_step="check that the credentials are valid and may read it (Landsat is requester-pays)",
            )
        if status in _BUSY or b"SlowDown" in said:
            return _Again(f"HTTP {status}{_code_in(said)}", _retry_after(response))
        region = response.headers.get("x-amz-bucket-region")
        if region is not None and region != self.settings.imagery_region:
            return DataError(
                f"{href} could not be read: its bucket is in {region}, not {self.settings.imagery_region}",
                next_step=f"set imagery_region = {region}",
            )
        if status == _BEYOND_END:
            return DataError(f"{href} could not be read: it has no byte {first}, it is cut short or empty")
        return DataError(f"{href} could not be read: HTTP {status}{_code_in(said)}")

    def _request(
        self, href: str, first: int, length: int, *, requester_pays: bool
    ) -> tuple[str, dict[str, str]]:
        """URL and headers, signed for s3 where there are credentials; public buckets need none."""
        headers = {"Range": f"bytes={first}-{first + length - 1}", "Accept-Encoding": "identity"}
        if not href.startswith("s3://"):
            return href, headers
        url = _s3_url(href, self.settings.imagery_s3_endpoint, self.settings.imagery_region)
        if requester_pays:
            headers["x-amz-request-payer"] = "requester"
        credentials = self._credentials
        if credentials is None:
            return url, headers
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest("GET", url, headers=headers)
        # frozen anew each time: a role's credentials are renewed on the way
        frozen = credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self.settings.imagery_region).add_auth(request)
        return url, dict(request.headers.items())

    @functools.cached_property
    def _credentials(self) -> Any:  # noqa: ANN401 - botocore's credentials, plain or renewing
        return self.cloud.imagery_credentials(self.settings.imagery_s3_endpoint)

    def _count(self, received: int, requests: int) -> None:
        with self._lock:
            self.bytes_read += received
            self.requests += requests


def _is_same(one: Version, other: Version) -> bool:
    return one.size == other.size and (one.etag is None or other.etag is None or one.etag == other.etag)


def _s3_url(href: str, endpoint: str | None, region: str) -> str:
    bucket, _, key = href.removeprefix("s3://").partition("/")
    path = quote(key, safe="/~")
    if endpoint is not None:
        return f"{endpoint.rstrip('/')}/{bucket}/{path}"
    if "." in bucket:
        return f"https://s3.{region}.amazonaws.com/{bucket}/{path}"
    return f"https://{bucket}.s3.{region}.amazonaws.com/{path}"


def _content_range(response: BaseHTTPResponse) -> tuple[int | None, int | None]:
    """First byte and size of the whole file, from ``Content-Range: bytes 0-99/1000``."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, size = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdecimal() or not size.isdecimal():
        return None, None
    return int(first), int(size)


def _retry_after(response: BaseHTTPResponse) -> float:
    said = response.headers.get("Retry-After", "")
    return min(float(said), _LONGEST_WAIT_S) if said.isdecimal() else 0.0


def _code_in(said: bytes) -> str:
    """The error code in an S3 answer, as `` SlowDown``."""
    _, found, rest = said.partition(b"<Code>")
    return f" {rest.partition(b'<')[0].decode('ascii', 'replace')}" if found else ""


def _words(error: Exception) -> str:
    """The innermost reason of a failed connection."""
    inner = getattr(error, "reason", None) or error
    return f"{type(inner).__name__}: {inner}" if str(inner) else type(inner).__name__


@contextlib.contextmanager
def _released(response: BaseHTTPResponse) -> Iterator[None]:
    """Give the connection back where the body was read to its end, else close it."""
    try:
        yield
    except BaseException:
        response.close()
        raise
    finally:
        response.release_conn()


@functools.lru_cache(maxsize=8)
def _pool(scheme: str, proxy: str | None) -> Any:  # noqa: ANN401 - either kind of urllib3's managers
    import certifi
    import urllib3

    options: dict[str, Any] = {"maxsize": CONNECTIONS, "block": False}
    if scheme == "https":
        options["ca_certs"] = os.environ.get("SSL_CERT_FILE") or certifi.where()
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy is None or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxy
