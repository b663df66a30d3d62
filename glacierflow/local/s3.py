"""moto's S3 with its objects in files, read in part, and archive files that appear as objects.

moto keeps an object's bytes in a temporary file behind a small file-like interface; the classes here take its
place, so that large objects cost no memory, survive the server, and can be read in part.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import threading
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import moto.s3.models as moto_s3
from moto.s3.responses import S3Response

from glacierflow.local import moto_private
from glacierflow.local.options import ACCOUNT_ID

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


class Vault:
    """The directory of all object files, and those of it no object needs any more."""

    root: Path = Path()
    _lock = threading.Lock()
    _trash: list[Path] = []  # noqa: RUF012 - one per process, like the root

    @classmethod
    def path(cls, name: str) -> Path:
        """Where an object's file lies."""
        return cls.root / name[:2] / name

    @classmethod
    def discard(cls, path: Path) -> None:
        """Remember a file to remove once the snapshot that still names it is replaced."""
        with cls._lock:
            cls._trash.append(path)

    @classmethod
    def take_trash(cls) -> list[Path]:
        """The files to remove after the next snapshot; the list starts anew."""
        with cls._lock:
            taken = cls._trash.copy()
            cls._trash.clear()
            return taken

    @classmethod
    def give_back(cls, paths: list[Path]) -> None:
        """The inverse of :meth:`take_trash`, for a snapshot that did not succeed."""
        with cls._lock:
            cls._trash.extend(paths)


class ObjectFile:
    """The part of the file interface that moto uses, on a file made at the first write."""

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._position = 0

    @property
    def path(self) -> Path | None:
        """The file, if anything was written."""
        return Vault.path(self._name) if self._name else None

    @property
    def present(self) -> bool:
        """False where the file this object was saved with is gone."""
        return self.path is None or self.path.is_file()

    def seek(self, position: int) -> None:
        """Move, in bytes from the start."""
        self._position = position

    def read(self, size: int = -1) -> bytes:
        """Bytes from the position on."""
        data = self.read_at(self._position, size)
        self._position += len(data)
        return data

    def read_at(self, position: int, size: int) -> bytes:
        """Bytes from a place of the file, without moving."""
        if self.path is None:
            return b""
        with self.path.open("rb") as stream:
            stream.seek(position)
            return stream.read(size)

    def write(self, data: bytes) -> None:
        """Replace everything by the bytes, in a new file."""
        self.truncate()
        self._name = uuid.uuid4().hex
        target = Vault.path(self._name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        self._position = len(data)

    def truncate(self) -> None:
        """Forget the bytes."""
        self.close()
        self._name = None

    def close(self) -> None:
        """The object is gone, or has other bytes now."""
        if self.path is not None:
            Vault.discard(self.path)

    def __deepcopy__(self, memo: dict[int, Any]) -> ObjectFile:
        copied = ObjectFile()
        if self.path is not None:
            copied._name = uuid.uuid4().hex
            target = Vault.path(copied._name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.path, target)
        return copied


class MountedFile(ObjectFile):
    """A file that belongs to somebody else: read, never written, never removed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._mounted = path

    @property
    def path(self) -> Path:
        """The file itself."""
        return self._mounted

    @property
    def present(self) -> bool:
        """Never kept over a restart: archives are mounted anew."""
        return False

    def truncate(self) -> None:
        """Nothing: what is mounted stays as it is."""

    def close(self) -> None:
        """Nothing: what is mounted stays as it is."""

    def write(self, data: bytes) -> None:
        """Refuse."""
        msg = f"{self._mounted} is mounted read-only: {len(data)} bytes refused"
        raise PermissionError(msg)

    def __deepcopy__(self, memo: dict[int, Any]) -> MountedFile:
        return MountedFile(self._mounted)


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
