"""A bucket as a store."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from glacierflow.errors import CredentialsError, DataError, GlacierflowError, StoreError, UsageError
from glacierflow.faults import Fault, Remedy, fault_of_aws
from glacierflow.net import Patience, persist
from glacierflow.outside import leaves_root, told
from glacierflow.store.protocol import Entry, inside

if TYPE_CHECKING:
    from glacierflow.cloud import Cloud


_T = TypeVar("_T")
_log = logging.getLogger("glacierflow")

_MARK = "glacierflow-put"
"""Key among an object's own metadata."""
_TRIES = 5
"""Of what botocore does not try again by itself."""
_CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404"}
_ABSENT = {"404", "NoSuchKey", "NotFound", "InvalidRange"}
"""Codes for an object that is not there, or, by a range from its first byte on, has no byte."""


_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
}
"""A browser shows these only as what S3 says they are."""


def _type_of(key: str) -> dict[str, str]:
    found = _TYPES.get(f".{key.rpartition('.')[2]}")
    return {} if found is None else {"ContentType": found}


class S3Store:
    """A bucket."""

    remote = True

    def __init__(self, bucket: str, cloud: Cloud) -> None:
        self.bucket = bucket
        self._cloud = cloud
        self._client  # noqa: B018 - what is wrong with the credentials is said now

    @property
    def _client(self) -> Any:  # noqa: ANN401 - the cloud's, which may have been made anew
        return self._cloud.client("s3")

    def uri(self, key: str) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{key}"

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._ask(key, lambda: self._client.head_object(Bucket=self.bucket, Key=key)) is not None

    def get(self, key: str) -> bytes | None:
        """Bytes of the object, or None."""

        def read() -> bytes:
            body: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            return body

        return self._ask(key, read)

    def get_head(self, key: str, size: int) -> bytes | None:
        """First bytes of the object by one ranged GET, or None, also where S3's checksum of it does not hold.

        A range that holds the whole of a small object comes with its checksum, which botocore compares.
        """

        def read() -> bytes:
            answer = self._client.get_object(Bucket=self.bucket, Key=key, Range=f"bytes=0-{size - 1}")
            body: bytes = answer["Body"].read()
            return body

        try:
            return self._ask(key, read)
        except DataError:
            return None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """One PutObject, conditional with ``if_absent``."""
        return self._put(key, data, {"IfNoneMatch": "*"} if if_absent else {})

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """Bytes of the object and its entity tag, or None."""

        def read() -> tuple[bytes, str]:
            answer = self._client.get_object(Bucket=self.bucket, Key=key)
            return answer["Body"].read(), str(answer["ETag"])

        return self._ask(key, read)

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """One conditional PutObject."""
        return self._put(key, data, {"IfMatch": tag})

    def _put(self, key: str, data: bytes, condition: dict[str, Any]) -> bool:
        from botocore.exceptions import ClientError

        # by a mark of its own, a put whose answer was lost is told from the same put of somebody else
        mark = {_MARK: uuid.uuid4().hex} if condition else {}
        more = {**_type_of(key), **condition, **({"Metadata": mark} if mark else {})}
        tries = 0

        def write() -> bool:
            nonlocal tries
            tries += 1
            try:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=data, **more)
            except ClientError as error:
                if condition and error.response["Error"]["Code"] in _CONDITION_FAILED:
                    again = (
                        tries > 1 or error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
                    )
                    return again and self._marks(key).get(_MARK) == mark[_MARK]
                raise
            return True

        return bool(self._ask(key, write, is_read=False))

    def _marks(self, key: str) -> dict[str, str]:
        """An object's own metadata; none where there is no object."""

        def read() -> dict[str, str]:
            found: dict[str, str] = self._client.head_object(Bucket=self.bucket, Key=key).get("Metadata", {})
            return found

        return self._ask(key, read) or {}

    def put_file(self, key: str, path: Path) -> str | None:
        """One PutObject, whose SHA-256 S3 checks and keeps: products are far below its limit of 5 GB."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
            checksum = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64.b64encode(digest).decode()}

            def write() -> str:
                stream.seek(0)
                answer = self._client.put_object(Bucket=self.bucket, Key=key, Body=stream, **checksum)
                return str(answer["ETag"])

            return self._ask(key, write, is_read=False)

    def sha256(self, key: str) -> str | None:
        """Hash of the object, read in pieces; what S3 kept of it is compared on the way."""

        def read() -> str:
            digest = hashlib.sha256()
            body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
            for piece in body.iter_chunks(1 << 20):
                digest.update(piece)
            return digest.hexdigest()

        return self._ask(key, read)

    def recorded_sha256(self, key: str) -> str | None:
        """The checksum S3 was given and verified at the put; one with a dash is of the parts of a whole."""

        def read() -> str:
            answer = self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
            return str(answer.get("ChecksumSHA256", ""))

        found = self._ask(key, read)
        return None if not found or "-" in found else base64.b64decode(found).hex()

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects with the prefix, page by page."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                for item in page.get("Contents", []):
                    if leaves_root(item["Key"]):
                        _log.warning(
                            "left out, because its key is not a path: %s", told(self.uri(item["Key"]))
                        )
                    else:
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

    def _ask(self, key: str, work: Callable[[], _T], *, is_read: bool = True) -> _T | None:
        """Do some work on an object, again where its body broke or credentials ended; None if it is absent.

        Raises:
            DataError: the object's bytes are not those that were put.
            StoreError, UsageError, CredentialsError: as ``_error_of``.
        """
        from botocore.exceptions import ClientError, FlexibleChecksumError

        inside(key, f"s3://{self.bucket}")

        def once() -> _T | None:
            try:
                with _faults():
                    return work()
            except Fault as fault:
                cause = fault.__cause__
                if is_read and isinstance(cause, ClientError) and cause.response["Error"]["Code"] in _ABSENT:
                    return None
                raise

        try:
            return persist(once, Patience(_TRIES), self.uri(key), self._renew)
        except Fault as fault:
            if isinstance(fault.__cause__, FlexibleChecksumError):
                raise DataError(f"{self.uri(key)} is not what was put: its bytes changed") from fault
            raise self._error_of(key, fault) from fault

    def _renew(self) -> bool:
        return self._cloud.renew(self._cloud.credentials())

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            with _faults():
                yield
        except Fault as fault:
            raise self._error_of(key, fault) from fault

    def _error_of(self, key: str, fault: Fault) -> GlacierflowError:
        """What is left where no further try is worth it: StoreError if time may heal it."""
        from botocore.exceptions import ClientError, NoCredentialsError

        if isinstance(fault.__cause__, NoCredentialsError):
            return CredentialsError(
                f"{self.uri(key)} needs AWS credentials and none were found",
                next_step="configure an AWS profile (`aws configure`), or add --local for the embedded cloud",
            )
        said = f"S3 answers {fault}" if isinstance(fault.__cause__, ClientError) else str(fault)
        if fault.remedy is Remedy.FRESH and not self._cloud.renews(self._cloud.credentials()):
            return CredentialsError(f"{self.uri(key)}: {said}", next_step="log in again")
        if fault.passes:
            return StoreError(f"{self.uri(key)}: {said}")
        return UsageError(
            f"{self.uri(key)}: {said}",
            next_step="check that the bucket exists and that the role or profile may use it",
        )


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """What botocore raises, and what breaks below it inside a body, as faults."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (BotoCoreError, ClientError, HTTPError, OSError) as error:
        raise fault_of_aws(error) from error
