"""Where outputs go: a bucket or a directory, behind one small protocol.

Writes are whole or not at all: S3 puts are atomic, local files are written aside and renamed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from glacierflow.errors import CredentialsError, DataError, StoreError, UsageError

if TYPE_CHECKING:
    from glacierflow.aws import Cloud

__all__ = ["Entry", "LocalStore", "S3Store", "Store", "open_store", "split_s3_uri"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing."""

    key: str
    size: int
    """Bytes."""
    etag: str | None = None
    """S3's entity tag, another with every write of other bytes; a directory has none."""


class Store(Protocol):
    """Objects under keys such as ``runs/x/manifest.json``."""

    def uri(self, key: str) -> str:
        """How a person or GDAL's user would name the object."""

    def exists(self, key: str) -> bool:
        """Whether the object is there, whole."""

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None where there is none."""

    def get_head(self, key: str, size: int) -> bytes | None:
        """The object's first bytes, or None where there is none."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write the object whole; with ``if_absent`` only where there is none. True if written."""

    def put_file(self, key: str, path: Path) -> str | None:
        """Write the object whole from a file; returns its entity tag, where the store has such."""

    def sha256(self, key: str) -> str | None:
        """Hash of the object's bytes as read now, or None; DataError where S3 sees that they changed."""

    def recorded_sha256(self, key: str) -> str | None:
        """Hash that the store itself keeps with the object since it was written, or None."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects whose key starts with the prefix, in key order."""

    def check_writable(self) -> None:
        """Make sure outputs can be written, before anything is spent.

        Raises:
            UsageError: the bucket or directory is missing, or may not be written.
        """


class LocalStore:
    """A directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def uri(self, key: str) -> str:
        """Path of the object."""
        return str(self.root / key)

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return (self.root / key).is_file()

    def get(self, key: str) -> bytes | None:
        """Bytes of the file, or None."""
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def get_head(self, key: str, size: int) -> bytes | None:
        """First bytes of the file, or None."""
        try:
            with (self.root / key).open("rb") as stream:
                return stream.read(size)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write aside, then rename (or link, which refuses to replace)."""
        target = self.root / key
        with self._aside(target) as aside:
            aside.write_bytes(data)
            return self._move(aside, target, if_absent=if_absent)

    def put_file(self, key: str, path: Path) -> None:
        """Copy aside, then rename."""
        import shutil

        target = self.root / key
        with self._aside(target) as aside:
            shutil.copyfile(path, aside)
            self._move(aside, target, if_absent=False)

    def sha256(self, key: str) -> str | None:
        """Hash of the file."""
        if not self.exists(key):
            return None
        try:
            with (self.root / key).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise StoreError(f"{self.uri(key)} cannot be read: {error.strerror}") from error

    def recorded_sha256(self, key: str) -> None:
        """None: a directory keeps no hashes."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, in key order."""
        folder = self.root / prefix.rpartition("/")[0]
        found = []
        for path in folder.rglob("*"):
            key = path.relative_to(self.root).as_posix()
            if key.startswith(prefix) and not path.name.startswith(".part-"):
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file():
                        found.append(Entry(key, path.stat().st_size))
        yield from sorted(found, key=lambda entry: entry.key)

    def check_writable(self) -> None:
        """Make the directory and write a file that leaves no trace."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".part-"):
                pass
        except OSError as error:
            raise UsageError(
                f"base_dir = {self.root} cannot be written: {error.strerror}",
                next_step="name another directory with --base-dir, or change its permissions",
            ) from error

    @contextlib.contextmanager
    def _aside(self, target: Path) -> Iterator[Path]:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
            os.close(handle)
            os.chmod(name, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp makes private files
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror}") from error
        aside = Path(name)
        try:
            yield aside
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror}") from error
        finally:
            aside.unlink(missing_ok=True)

    @staticmethod
    def _move(aside: Path, target: Path, *, if_absent: bool) -> bool:
        if not if_absent:
            aside.replace(target)
            return True
        try:
            target.hardlink_to(aside)
        except FileExistsError:
            return False
        except OSError:
            # a file system without hard links: not in one step, but still never over another's file
            try:
                with target.open("xb") as stream:
                    stream.write(aside.read_bytes())
            except FileExistsError:
                return False
        return True


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


class S3Store:
    """A bucket."""

    def __init__(self, bucket: str, cloud: Cloud) -> None:
        self.bucket = bucket
        self._client = cloud.client("s3")

    def uri(self, key: str) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{key}"

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        with self._errors(key, absent_is_none=True):
            self._client.head_object(Bucket=self.bucket, Key=key)
            return True
        return False

    def get(self, key: str) -> bytes | None:
        """Bytes of the object, or None."""
        with self._errors(key, absent_is_none=True):
            body: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            return body
        return None

    def get_head(self, key: str, size: int) -> bytes | None:
        """First bytes of the object by one ranged GET, or None."""
        with self._errors(key, absent_is_none=True):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes=0-{size - 1}")
            body: bytes = answer["Body"].read()
            return body
        return None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """One PutObject, conditional with ``if_absent``."""
        from botocore.exceptions import ClientError

        extra: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        with self._errors(key):
            try:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=data, **extra)
            except ClientError as error:
                if if_absent and error.response["Error"]["Code"] in {
                    "PreconditionFailed",
                    "ConditionalRequestConflict",
                }:
                    return False
                raise
        return True

    def put_file(self, key: str, path: Path) -> str | None:
        """One PutObject, whose SHA-256 S3 checks and keeps: products are far below its limit of 5 GB."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
            stream.seek(0)
            checksum = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64.b64encode(digest).decode()}
            with self._errors(key):
                answer = self._client.put_object(Bucket=self.bucket, Key=key, Body=stream, **checksum)
        return str(answer["ETag"])

    def sha256(self, key: str) -> str | None:
        """Hash of the object, read in pieces; what S3 kept of it is compared on the way."""
        from botocore.exceptions import FlexibleChecksumError

        digest = hashlib.sha256()
        with self._errors(key, absent_is_none=True):
            try:
                body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
                for piece in body.iter_chunks(1 << 20):
                    digest.update(piece)
            except FlexibleChecksumError as error:
                raise DataError(f"{self.uri(key)} is not what was put: its bytes changed") from error
            return digest.hexdigest()
        return None

    def recorded_sha256(self, key: str) -> str | None:
        """The checksum S3 was given and verified at the put; one with a dash is of the parts of a whole."""
        with self._errors(key, absent_is_none=True):
            answer = self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            found = answer.get("ChecksumSHA256", "")
            return None if not found or "-" in found else base64.b64decode(found).hex()
        return None

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects with the prefix, page by page."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                for item in page.get("Contents", []):
                    yield Entry(item["Key"], item["Size"], item.get("ETag"))

    def check_writable(self) -> None:
        """HeadBucket: it exists and is ours to use."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            why = {"404": "does not exist", "NoSuchBucket": "does not exist", "403": "is not yours to use"}
            raise UsageError(
                f"s3_bucket = {self.bucket} {why.get(code, f'answers {code}')}",
                next_step="create it, or name another with --s3-bucket or s3_bucket in aws_config.ini",
            ) from error
        except BotoCoreError as error:
            raise UsageError(
                f"s3_bucket = {self.bucket} cannot be asked for: {error}",
                next_step="check your AWS credentials and network, or add --local",
            ) from error

    @contextlib.contextmanager
    def _errors(self, key: str, *, absent_is_none: bool = False) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            raise CredentialsError(
                f"{self.uri(key)} needs AWS credentials and none were found",
                next_step="configure an AWS profile (`aws configure`), or add --local for the embedded cloud",
            ) from error
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if absent_is_none and code in {"404", "NoSuchKey", "NotFound"}:
                return
            if code in {"AccessDenied", "403", "NoSuchBucket"}:
                raise UsageError(
                    f"{self.uri(key)}: S3 answers {code}",
                    next_step="check that the bucket exists and that the role or profile may use it",
                ) from error
            raise StoreError(f"{self.uri(key)}: S3 answers {code}") from error
        except BotoCoreError as error:
            raise StoreError(f"{self.uri(key)}: {error}") from error


def split_s3_uri(uri: str) -> tuple[str, str]:
    """``s3://bucket/a/b`` -> (``bucket``, ``a/b``).

    Raises:
        UsageError: not an s3:// URI with a bucket.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise UsageError(f"{uri} is not of the form s3://bucket/key")
    return bucket, key


def open_store(where: str, cloud: Cloud) -> Store:
    """The store at ``s3://bucket`` or at a directory."""
    if where.startswith("s3://"):
        return S3Store(split_s3_uri(where)[0], cloud)
    return LocalStore(Path(where))
