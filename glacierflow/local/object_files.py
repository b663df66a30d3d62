"""Bytes of S3 objects as files: a file each under the home directory, or one mounted from elsewhere.

moto keeps an object's bytes in a temporary file behind a small file-like interface; the classes here take its
place, so that large objects cost no memory, survive the server, and can be read in part.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from pathlib import Path
from typing import Any

__all__ = ["MountedFile", "ObjectFile", "Vault"]


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
