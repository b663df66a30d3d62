"""Objects of a bucket as sync sees them: with what is known of their content without reading it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.errors import StoreError, UsageError

if TYPE_CHECKING:
    from hashlib import _Hash

    from glacierflow.cloud import Cloud


_SHA256 = "sha256"
"""Key of the checksum among an object's own metadata."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One object of a listing."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """MD5 of the content where it was put in one piece without KMS; else only a version mark."""


class Bucket:
    """A bucket by its S3 client; errors are sentences."""

    def __init__(self, name: str, cloud: Cloud) -> None:
        self.name = name
        self._client = cloud.client("s3")

    def list(self, prefix: str) -> Iterator[RemoteFile]:
        """All objects with the prefix, page by page, in key order; not a console's markers of folders."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            for page in pages:
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        yield RemoteFile(item["Key"], int(item["Size"]), str(item["ETag"]).strip('"'))

    def holds(self, remote: RemoteFile, path: Path) -> bool:
        """Whether the object's content is surely that of a file.

        By MD5 where the ETag is one (it is not after KMS encryption or an upload in parts), else by the
        SHA-256 that S3 or the uploader keeps with the object; where there is none, they count as different.
        """
        return self._compare(remote, path) is True

    def _compare(self, remote: RemoteFile, path: Path) -> bool | None:
        """Whether the contents are the same; None where the object says too little of its own."""
        if remote.size != path.stat().st_size:
            return False
        if remote.etag == _digest(path, hashlib.md5(usedforsecurity=False)).hex():
            return True
        with self._errors(remote.key):
            head = self._client.head_object(Bucket=self.name, Key=remote.key, ChecksumMode="ENABLED")
        sha256 = _digest(path, hashlib.sha256())
        by_uploader, by_s3 = head.get("Metadata", {}).get(_SHA256), head.get("ChecksumSHA256")
        if sha256.hex() == by_uploader or base64.b64encode(sha256).decode() == by_s3:
            return True
        # of an upload in parts, S3 keeps a checksum of the parts' checksums, which ends in their number
        return False if by_uploader or (by_s3 and "-" not in by_s3) else None

    def put(self, key: str, content: bytes) -> None:
        """Write one object whole, its SHA-256 with it."""
        digest = hashlib.sha256(content).hexdigest()
        with self._errors(key):
            self._client.put_object(Bucket=self.name, Key=key, Body=content, Metadata={_SHA256: digest})

    def delete(self, key: str) -> None:
        """Remove one object; a versioned bucket keeps the old version behind a delete marker."""
        with self._errors(key):
            self._client.delete_object(Bucket=self.name, Key=key)

    def download(self, remote: RemoteFile, aside: Path) -> None:
        """Write the object's content to a file.

        Raises:
            StoreError: it could not be read, or what arrived is not what the listing promised.
        """
        with self._errors(remote.key):
            self._client.download_file(self.name, remote.key, str(aside))
        where, size = f"s3://{self.name}/{remote.key}", aside.stat().st_size
        again = "run the same command again; what is complete is not fetched twice"
        if size != remote.size:
            raise StoreError(f"{where}: {size} bytes arrived, {remote.size} were expected", next_step=again)
        if self._compare(remote, aside) is False:
            raise StoreError(f"{where}: what arrived has another SHA-256 than the object", next_step=again)

    def get(self, key: str) -> tuple[bytes, str | None]:
        """Content and version of one object; the version is None where the bucket has none.

        Raises:
            UsageError: there is no such object, or it may not be read.
        """
        with self._errors(key):
            answer = self._client.get_object(Bucket=self.name, Key=key)
            version = answer.get("VersionId")
            return answer["Body"].read(), None if version in {None, "null"} else str(version)

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"s3://{self.name}/{key}"
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in {"404", "NoSuchKey", "NotFound"}:
                raise UsageError(f"there is no {where}", next_step="check bucket and path") from error
            if code in {"AccessDenied", "403", "NoSuchBucket", "InvalidBucketName"}:
                raise UsageError(
                    f"{where}: S3 answers {code}",
                    next_step="check that the bucket exists and that your role or profile may use it",
                ) from error
            raise StoreError(f"{where}: S3 answers {code}", next_step="try again") from error
        except (BotoCoreError, S3UploadFailedError) as error:
            next_step = "check the network and your credentials"
            raise StoreError(f"{where}: {error}", next_step=next_step) from error


def _digest(path: Path, algorithm: _Hash) -> bytes:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            algorithm.update(chunk)
    return algorithm.digest()
