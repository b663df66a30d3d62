"""What a store can do; everything above speaks to this and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glacierflow.errors import UsageError
from glacierflow.outside import leaves_root


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing."""

    key: str
    size: int
    """Bytes."""
    etag: str | None = None
    """S3's entity tag, another with every write of other bytes; a directory has none."""


def inside(key: str, root: str) -> str:
    """The key itself, where it stays below its bucket or directory.

    Raises:
        UsageError: it does not; whoever made it is not to be followed.
    """
    if leaves_root(key):
        raise UsageError(
            f"the key {key} leaves {root}, so nothing is read or written there",
            next_step="find out who wrote the record or item that names it",
        )
    return key


class Store(Protocol):
    """Objects under keys such as ``runs/x/manifest.json``."""

    remote: bool
    """Whether each read is a request: thousands of small objects are then better told of by their names."""

    def uri(self, key: str) -> str:
        """How a person or GDAL's user would name the object."""

    def exists(self, key: str) -> bool:
        """Whether the object is there, whole."""

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None where there is none."""

    def get_head(self, key: str, size: int) -> bytes | None:
        """The object's first bytes, or None where there is none, or none that is whole."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write the object whole; with ``if_absent`` only where there is none. True if written."""

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """The object's bytes and the tag of this version of it, or None where there is none."""

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """Write the object whole where it still is the version with this tag. True if written."""

    def put_file(self, key: str, path: Path) -> str | None:
        """Write the object whole from a file; returns its entity tag, where the store has such."""

    def sha256(self, key: str) -> str | None:
        """Hash of the object's bytes as read now, or None; DataError where S3 sees that they changed."""

    def recorded_sha256(self, key: str) -> str | None:
        """Hash that the store itself keeps with the object since it was written, or None."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects whose key starts with the prefix, in key order."""

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders directly below a prefix that ends with a slash, in order."""

    def check_writable(self) -> None:
        """Make sure outputs can be written, before anything is spent.

        Raises:
            UsageError: the bucket or directory is missing, or may not be written.
        """
