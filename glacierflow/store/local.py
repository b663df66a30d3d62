"""A directory as a store."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from glacierflow.errors import StoreError, UsageError
from glacierflow.store.protocol import Entry, inside

_OLD_S = 24 * 3600.0
"""Seconds after which a file that is written aside belongs to nobody: no put takes a day."""


class LocalStore:
    """A directory."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def uri(self, key: str) -> str:
        """Path of the object."""
        return str(self.root / key)

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return self._path(key).is_file()

    def get(self, key: str) -> bytes | None:
        """Bytes of the file, or None."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def get_head(self, key: str, size: int) -> bytes | None:
        """First bytes of the file, or None."""
        try:
            with self._path(key).open("rb") as stream:
                return stream.read(size)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write aside, then rename (or link, which refuses to replace)."""
        target = self._path(key)
        with self._aside(target) as aside:
            aside.write_bytes(data)
            return self._move(aside, target, if_absent=if_absent)

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """Bytes of the file and their hash, or None."""
        data = self.get(key)
        return None if data is None else (data, hashlib.sha256(data).hexdigest())

    def replace(self, key: str, data: bytes, tag: str) -> bool:
        """Compare and write, under a lock of this machine."""
        with self._locked(key):
            there = self.get(key)
            same = there is not None and hashlib.sha256(there).hexdigest() == tag
            return same and self.put(key, data)

    def put_file(self, key: str, path: Path) -> None:
        """Copy aside, then rename."""
        target = self._path(key)
        with self._aside(target) as aside:
            shutil.copyfile(path, aside)
            self._move(aside, target, if_absent=False)

    def sha256(self, key: str) -> str | None:
        """Hash of the file."""
        if not self.exists(key):
            return None
        try:
            with self._path(key).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise StoreError(f"{self.uri(key)} cannot be read: {error.strerror}") from error

    def recorded_sha256(self, key: str) -> None:
        """None: a directory keeps no hashes."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below, in key order."""
        folder = self._path(prefix.rpartition("/")[0])
        found = []
        for path in folder.rglob("*"):
            key = path.relative_to(self.root).as_posix()
            if key.startswith(prefix) and not path.name.startswith(".part-"):
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file():
                        found.append(Entry(key, path.stat().st_size))
        yield from sorted(found, key=lambda entry: entry.key)

    def folders(self, prefix: str) -> Iterator[str]:
        """Directories directly below."""
        folder = self._path(prefix)
        if folder.is_dir():
            yield from sorted(path.name for path in folder.iterdir() if path.is_dir())

    def check_writable(self) -> None:
        """Make the directory, write a file that leaves no trace, and remove what is old and half written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".part-"):
                pass
            self._sweep()
        except OSError as error:
            raise UsageError(
                f"base_dir = {self.root} cannot be written: {error.strerror}",
                next_step="name another directory with --base-dir, or change its permissions",
            ) from error

    def _sweep(self) -> None:
        """Remove what attempts that were killed have left half written, once nobody can be at it any more."""
        before = time.time() - _OLD_S
        for path in self.root.rglob(".part-*"):
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime < before and not path.name.endswith(".lock"):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _path(self, key: str) -> Path:
        return self.root / inside(key, str(self.root))

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        import fcntl

        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f".part-{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

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
