"""S3 in memory for thousands of objects: a thousand keys a page, conditional puts, every call counted."""

from __future__ import annotations

import bisect
import hashlib
import io
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from refusals import refusal

_PAGE = 1000


class S3Fake:
    """A boto3 client for one bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.denied: set[str] = set()
        """Operations that answer AccessDenied."""
        self._lock = threading.Lock()

    def head_bucket(self, **_: Any) -> dict[str, Any]:
        self._count("HeadBucket")
        return {}

    def put_object(
        self,
        *,
        Key: str,  # noqa: N803 - boto3's names
        Body: Any,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        self._count("PutObject")
        data = Body if isinstance(Body, bytes) else Body.read()
        with self._lock:
            there = self.objects.get(Key)
            if IfNoneMatch == "*" and there is not None:
                raise refusal("PutObject", "PreconditionFailed", 412)
            if IfMatch is not None and (there is None or _etag(there) != IfMatch):
                raise refusal("PutObject", "PreconditionFailed" if there else "NoSuchKey", 412)
            self.objects[Key] = data
        return {"ETag": _etag(data)}

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self._count("GetObject")
        if Key not in self.objects:
            raise refusal("GetObject", "NoSuchKey", 404)
        data = self.objects[Key]
        return {"Body": io.BytesIO(data), "ETag": _etag(data)}

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self._count("HeadObject")
        if Key not in self.objects:
            raise refusal("HeadObject", "404", 404)
        return {"ContentLength": len(self.objects[Key])}

    def get_paginator(self, name: str) -> S3Fake:
        assert name == "list_objects_v2"
        return self

    def paginate(
        self,
        *,
        Prefix: str = "",  # noqa: N803
        Delimiter: str | None = None,  # noqa: N803
        **_: Any,
    ) -> Iterator[dict[str, Any]]:
        keys = sorted(self.objects)
        keys = keys[bisect.bisect_left(keys, Prefix) :]
        found: list[tuple[str, bool]] = []
        for key in keys:
            if not key.startswith(Prefix):
                break
            cut = key.find(Delimiter, len(Prefix)) if Delimiter else -1
            entry = (key[: cut + 1], True) if cut >= 0 else (key, False)
            if not found or found[-1] != entry:
                found.append(entry)
        for first in range(0, max(1, len(found)), _PAGE):
            self._count("ListObjectsV2")
            page = found[first : first + _PAGE]
            yield {
                "Contents": [
                    {"Key": key, "Size": len(self.objects[key]), "ETag": _etag(self.objects[key])}
                    for key, is_prefix in page
                    if not is_prefix
                ],
                "CommonPrefixes": [{"Prefix": key} for key, is_prefix in page if is_prefix],
            }

    def _count(self, operation: str) -> None:
        with self._lock:
            self.calls[operation] += 1
        if operation in self.denied:
            raise refusal(operation, "AccessDenied", 403)


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
