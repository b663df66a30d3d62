"""Requester-pays buckets, which moto does not know: 403 for whoever does not offer to pay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

__all__ = ["ALWAYS_REQUESTER_PAYS", "RequesterPays"]

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

ALWAYS_REQUESTER_PAYS = frozenset({"usgs-landsat"})
"""Real buckets that archives stand in for."""

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>embedded</RequestId></Error>"
)
_MAX_BODY = 4096


class RequesterPays:
    """WSGI middleware in front of S3; also answers Get- and PutBucketRequestPayment."""

    def __init__(self, app: WsgiApp, changed: Callable[[], None]) -> None:
        self._app = app
        self._changed = changed
        self.buckets: set[str] = set()
        """Buckets set to Requester by PutBucketRequestPayment."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer, refuse, or pass on."""
        bucket, _, key = environ.get("PATH_INFO", "").lstrip("/").partition("/")
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if bucket and not key and "requestPayment" in query and _is_s3(environ):
            return self._configuration(bucket, environ, start_response)
        if self._applies(bucket, key, environ) and not _offers_to_pay(environ, query):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [_DENIED]
        return self._app(environ, start_response)

    def _applies(self, bucket: str, key: str, environ: dict[str, Any]) -> bool:
        """Objects and listings are what is paid for; creating or inspecting the bucket is not."""
        if bucket not in ALWAYS_REQUESTER_PAYS | self.buckets or not _is_s3(environ):
            return False
        return bool(key) or environ["REQUEST_METHOD"] == "GET"

    def _configuration(
        self, bucket: str, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            size = min(int(environ.get("CONTENT_LENGTH") or 0), _MAX_BODY)
            payer = re.search(rb"<Payer>\s*(\w+)\s*</Payer>", environ["wsgi.input"].read(size))
            if payer and payer[1] == b"Requester":
                self.buckets.add(bucket)
            else:
                self.buckets.discard(bucket)
            self._changed()
            start_response("200 OK", [("Content-Length", "0")])
            return []
        payer_name = "Requester" if bucket in ALWAYS_REQUESTER_PAYS | self.buckets else "BucketOwner"
        body = (
            f'<RequestPaymentConfiguration xmlns="{_NAMESPACE}"><Payer>{payer_name}</Payer>'
            "</RequestPaymentConfiguration>"
        ).encode()
        start_response("200 OK", [("Content-Type", "application/xml")])
        return [body]


def _is_s3(environ: dict[str, Any]) -> bool:
    """Signed for S3, or not signed at all, which moto also takes for S3."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    return not authorization or "/s3/aws4_request" in authorization


def _offers_to_pay(environ: dict[str, Any], query: dict[str, list[str]]) -> bool:
    in_query = query.get("x-amz-request-payer", [""])[0]
    return "requester" in (environ.get("HTTP_X_AMZ_REQUEST_PAYER"), in_query)
