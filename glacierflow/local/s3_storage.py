"""moto's S3 with its objects in files: quick ranged reads, and archive files that appear as objects."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import moto.s3.models as moto_s3
from moto.s3.responses import S3Response

from glacierflow.local import moto_private
from glacierflow.local.object_files import MountedFile, ObjectFile, Vault
from glacierflow.local.options import ACCOUNT_ID

__all__ = ["drop_missing_objects", "install", "mount_object", "s3_backend"]

# Any: members of moto's classes are replaced
_models: Any = moto_s3
_response: Any = S3Response
FakeKey: Any = moto_s3.FakeKey

_CONTENT_TYPES = {
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".json": "application/json",
    ".xml": "text/xml",
}
_BUCKET_REGION = "us-west-2"


def s3_backend() -> moto_s3.S3Backend:
    """The S3 of the one account there is."""
    return moto_s3.s3_backends[ACCOUNT_ID]["aws"]


def mount_object(bucket: str, key: str, path: Path) -> None:
    """Make a file appear as ``s3://bucket/key`` without copying it; the bucket is made where there is none.

    Args:
        bucket: bucket name.
        key: object key.
        path: an existing file that will not change while it is mounted.
    """
    backend = s3_backend()
    if bucket not in backend.buckets:
        backend.create_bucket(bucket, _BUCKET_REGION)
    facts = path.stat()
    etag = hashlib.sha256(f"{path}:{facts.st_size}:{facts.st_mtime_ns}".encode()).hexdigest()[:32]
    mounted = FakeKey(
        key, b"", account_id=ACCOUNT_ID, region_name=_BUCKET_REGION, bucket_name=bucket, etag=etag
    )
    moto_private.buffer_of(mounted).close()
    moto_private.set_buffer(mounted, MountedFile(path.resolve()))
    mounted.contentsize = facts.st_size
    # moto wants naive UTC
    mounted.last_modified = dt.datetime.fromtimestamp(facts.st_mtime, dt.UTC).replace(tzinfo=None)
    mounted.set_metadata({"Content-Type": _CONTENT_TYPES.get(path.suffix.lower(), "binary/octet-stream")})
    backend.buckets[bucket].keys.setlist(key, [mounted])


def drop_missing_objects(backend: moto_s3.S3Backend) -> None:
    """Forget objects whose bytes did not survive, and mounted ones."""
    for bucket in backend.buckets.values():
        for key in list(bucket.keys):
            versions = bucket.keys.getlist(key)
            kept = [
                one for one in versions if not isinstance(one, FakeKey) or moto_private.buffer_of(one).present
            ]
            if not kept:
                bucket.keys.pop(key)
            elif len(kept) < len(versions):
                bucket.keys.setlist(key, kept)


def _is_present(key: Any) -> bool:  # noqa: ANN401 - a FakeKey
    present: bool = moto_private.buffer_of(key).present
    return present


class _Part:
    """An object's value of which only a slice will be asked for: read just that."""

    def __init__(self, key: Any) -> None:  # noqa: ANN401 - a FakeKey
        self._key = key

    def __len__(self) -> int:
        size: int = self._key.size
        return size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        data: bytes = moto_private.buffer_of(self._key).read_at(start, stop - start)
        return data


class _Request(threading.local):
    ranged = False


_request = _Request()
_whole_value = FakeKey.value
_moto_get_object = _response.get_object
_moto_range = moto_private.range_of(_response)


def _value(self: Any) -> Any:  # noqa: ANN401 - bytes, or what can be sliced like them
    return _Part(self) if _request.ranged else _whole_value.fget(self)


def _get_object(self: S3Response) -> Any:  # noqa: ANN401 - moto's own triple
    asked = self.headers.get("range", "")
    _request.ranged = self.method == "GET" and asked.startswith("bytes=") and "," not in asked
    try:
        return _moto_get_object(self)
    finally:
        _request.ranged = False


def _handle_range(self: S3Response, request: Any, headers: dict[str, Any], content: Any) -> Any:  # noqa: ANN401
    status, headers, body = _moto_range(self, request, headers, content)
    return status, headers, body[:] if isinstance(body, _Part) else body


def _getstate(self: Any) -> dict[str, Any]:  # noqa: ANN401 - a FakeKey
    return {name: value for name, value in self.__dict__.items() if name != "lock"}


def _setstate(self: Any, state: dict[str, Any]) -> None:  # noqa: ANN401 - a FakeKey
    self.__dict__.update(state)
    self.lock = threading.Lock()


def _new_buffer(*_: Any, **__: Any) -> ObjectFile:  # noqa: ANN401 - called as moto calls tempfile
    return ObjectFile()


def install(root: Path) -> None:
    """Let moto keep its objects below ``root``, before it keeps the first one."""
    Vault.root = root
    _models.tempfile = SimpleNamespace(SpooledTemporaryFile=_new_buffer)
    FakeKey.value = property(_value, _whole_value.fset)
    FakeKey.__getstate__ = _getstate
    FakeKey.__setstate__ = _setstate
    _response.get_object = _get_object
    moto_private.replace_range(_response, _handle_range)
