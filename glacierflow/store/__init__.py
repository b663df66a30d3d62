"""Where outputs go: a bucket or a directory, behind one small protocol.

Writes are whole or not at all: S3 puts are atomic, local files are written aside and renamed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glacierflow.errors import UsageError
from glacierflow.store.local import LocalStore
from glacierflow.store.protocol import Entry, Store
from glacierflow.store.s3 import S3Store

if TYPE_CHECKING:
    from glacierflow.cloud import Cloud

__all__ = ["Entry", "LocalStore", "S3Store", "Store", "open_store", "split_s3_uri"]


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
