"""Byte ranges of images on https, s3 and disk: tried again, with a deadline each, counted, never mixed up.

Connections are kept and reused. Every answer is checked to be the range that was asked for, whole, and of the
same version of the file as the answers before it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from glacierflow import net
from glacierflow.errors import CredentialsError, DataError, GlacierflowError, UnavailableError
from glacierflow.faults import Fault, Remedy, fault_of_aws, fault_of_status, reason_of

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from urllib3 import BaseHTTPResponse

    from glacierflow.cloud import Cloud
    from glacierflow.model.records import StepSettings


CONNECTIONS = 16
"""Kept open to each host."""
_CONNECT_TIMEOUT_S = 10.0
_OK, _PARTIAL, _BEYOND_END = 200, 206, 416
_REFUSAL_BYTES = 4096
_COUNT = re.compile(r"[0-9]{1,18}")


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
        credentials: Credentials | None = None

        def once() -> tuple[bytes | bytearray, Version]:
            nonlocal credentials
            credentials = self._credentials() if href.startswith("s3://") else None
            return self._once(href, first, length, credentials, requester_pays=requester_pays)

        attempts = self.settings.request_attempts
        patience = net.Patience(attempts, net.CLOCK.now() + attempts * self.settings.request_timeout_s)
        try:
            return net.persist(once, patience, href, lambda: self.cloud.renew(credentials))
        except Fault as fault:
            raise _error_of(fault, href, renews=self.cloud.renews(credentials)) from fault

    def _once(
        self, href: str, first: int, length: int, credentials: Credentials | None, *, requester_pays: bool
    ) -> tuple[bytes | bytearray, Version]:
        import urllib3
        from urllib3.exceptions import HTTPError

        deadline = net.CLOCK.now() + self.settings.request_timeout_s
        url, headers = self._request(href, first, length, credentials, requester_pays=requester_pays)
        timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=self.settings.request_timeout_s)
        self._count(0, 1)
        try:
            asked = url
            if not net.may_open(url, url):
                raise Fault(Remedy.SCENE, f"it is at {urlsplit(url).hostname}, which is not opened")
            for _ in range(net.MAX_REDIRECTS + 1):
                response = _pool(urlsplit(url).scheme, _proxy(url)).request(
                    "GET", url, headers=headers, timeout=timeout, preload_content=False, decode_content=False,
                    # tries are counted by who calls, and redirects looked at before they are followed
                    retries=False, redirect=False,
                )  # fmt: skip
                with _released(response):
                    location = response.headers.get("Location")
                    target = net.redirection(response.status, location, url, asked)
                    if target is None:
                        return self._body(response, first, length, deadline)
                    # its body is not waited for
                    response.close()
                if urlsplit(target).netloc != urlsplit(url).netloc:
                    headers = {name: headers[name] for name in ("Range", "Accept-Encoding")}
                url = target
            raise Fault(Remedy.AGAIN, "too many redirects")
        except HTTPError as error:
            raise Fault(Remedy.AGAIN, reason_of(error)) from error

    def _body(
        self, response: BaseHTTPResponse, first: int, length: int, deadline: float
    ) -> tuple[bytes | bytearray, Version]:
        """The range an answer holds, checked against what was asked for.

        Raises:
            Fault: it holds no such range.
        """
        if response.status not in (_OK, _PARTIAL):
            raise self._refusal(response, first, deadline)
        start, size = _content_range(response)
        if response.status == _OK or start is None or size is None:
            if first:
                raise Fault(Remedy.SCENE, "its server does not answer with ranges", is_odd=True)
            told = response.headers.get("Content-Length", "0")
            size = int(told) if _COUNT.fullmatch(told) else 0
        elif start != first:
            raise Fault(Remedy.AGAIN, f"asked for byte {first}, the answer starts at {start}")
        expected = max(0, min(length, size - first))
        data, have = bytearray(expected), 0
        for piece in net.pieces(response, expected, deadline, decode=False):
            self._count(len(piece), 0)
            data[have : have + len(piece)] = piece
            have += len(piece)
        if have < expected:
            raise Fault(Remedy.AGAIN, f"the answer ended after {have} of {expected} bytes")
        return data, Version(size, response.headers.get("ETag"))

    def _refusal(self, response: BaseHTTPResponse, first: int, deadline: float) -> Fault:
        """What an answer without the range means."""
        said = b"".join(net.pieces(response, _REFUSAL_BYTES, deadline, decode=False))
        self._count(len(said), 0)
        region = response.headers.get("x-amz-bucket-region")
        if region is not None and region != self.settings.imagery_region:
            reason = f"its bucket is in {region}, not {self.settings.imagery_region}"
            return Fault(Remedy.SCENE, reason, next_step=f"set imagery_region = {region}")
        if response.status == _BEYOND_END:
            return Fault(Remedy.SCENE, f"it has no byte {first}, it is cut short or empty")
        wait_s = net.retry_after(response.headers.get("Retry-After"))
        return fault_of_status(response.status, said, wait_s=wait_s)

    def _request(
        self, href: str, first: int, length: int, credentials: Credentials | None, *, requester_pays: bool
    ) -> tuple[str, dict[str, str]]:
        """URL and headers, signed for s3 where there are credentials; public buckets need none."""
        headers = {"Range": f"bytes={first}-{first + length - 1}", "Accept-Encoding": "identity"}
        if not href.startswith("s3://"):
            return href, headers
        url = _s3_url(href, self.settings.imagery_s3_endpoint, self.settings.imagery_region)
        if requester_pays:
            headers["x-amz-request-payer"] = "requester"
        if credentials is None:
            return url, headers
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError, ClientError

        request = AWSRequest("GET", url, headers=headers)
        try:
            # frozen anew each time: a role's credentials are renewed on the way
            frozen = credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, ValueError) as error:
            raise fault_of_aws(error) from error
        S3SigV4Auth(frozen, "s3", self.settings.imagery_region).add_auth(request)
        return url, dict(request.headers.items())

    def _credentials(self) -> Credentials | None:
        """What signs requests now; None where there is nothing.

        Raises:
            Fault: they cannot be had.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found: Credentials | None = self.cloud.imagery_credentials(self.settings.imagery_s3_endpoint)
        except (BotoCoreError, ClientError, ValueError) as error:
            raise fault_of_aws(error) from error
        return found

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
    if unit != "bytes" or not _COUNT.fullmatch(first) or not _COUNT.fullmatch(size):
        return None, None
    return int(first), int(size)


def _error_of(fault: Fault, href: str, *, renews: bool) -> GlacierflowError:
    """What is left of a request that failed for the last time."""
    what = f"{href} could not be read: "
    if fault.remedy is Remedy.NEVER or (fault.remedy is Remedy.FRESH and not renews):
        return CredentialsError(
            f"{what}access was refused ({fault})",
            next_step="check that the credentials are valid and may read it (Landsat is requester-pays)",
        )
    if fault.passes:
        tries = "1 try" if fault.tries == 1 else f"{fault.tries} tries"
        return UnavailableError(f"{what}{fault} ({tries})")
    return DataError(f"{what}{fault}", next_step=fault.next_step)


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
