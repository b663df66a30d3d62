"""A bucket as a store."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacierflow.errors import CredentialsError, DataError, StoreError, UsageError
from glacierflow.store.protocol import Entry

if TYPE_CHECKING:
    from glacierflow.aws import Cloud

__all__ = ["S3Store"]

_CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404"}
_ABSENT = {"404", "NoSuchKey", "NotFound", "InvalidRange"}
"""Codes for an object that is not there, or, by a range from its first byte on, has no byte."""


class S3Store:
    """A bucket."""

    remote = True

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
        """First bytes of the object by one ranged GET, or None, also where S3's checksum of it does not hold.

        A range that holds the whole of a small object comes with its checksum, which botocore compares.
        """
        from botocore.exceptions import FlexibleChecksumError

        with self._errors(key, absent_is_none=True), contextlib.suppress(FlexibleChecksumError):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes=0-{size - 1}")
            body: bytes = answer["Body"].read()
            return body
        return None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """One PutObject, conditional with ``if_absent``."""
        return self._put(key, data, {"IfNoneMatch": "*"} if if_absent else {})

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """Bytes of the object and its entity tag, or None."""
        with self._errors(key, absent_is_none=True):
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            return answer["Body"].read(), str(answer["ETag"])
        return None

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """One conditional PutObject."""
        return self._put(key, data, {"IfMatch": tag})

    def _put(self, key: str, data: bytes, condition: dict[str, Any]) -> bool:
        from botocore.exceptions import ClientError

        with self._errors(key):
            try:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=data, **condition)
            except ClientError as error:
                if condition and error.response["Error"]["Code"] in _CONDITION_FAILED:
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

    def folders(self, prefix: str) -> Iterator[str]:
        """Common prefixes: a call a thousand, however much lies in them."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                for item in page.get("CommonPrefixes", []):
                    yield item["Prefix"][len(prefix) : -1]

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
            if absent_is_none and code in _ABSENT:
                return
            if code in {"AccessDenied", "403", "NoSuchBucket"}:
                raise UsageError(
                    f"{self.uri(key)}: S3 answers {code}",
                    next_step="check that the bucket exists and that the role or profile may use it",
                ) from error
            raise StoreError(f"{self.uri(key)}: S3 answers {code}") from error
        except BotoCoreError as error:
            raise StoreError(f"{self.uri(key)}: {error}") from error
